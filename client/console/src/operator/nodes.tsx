import { type ReactNode, useContext } from "react";
import { bytes, count, marks, micros, span, timeOf } from "./format.ts";
import { ConvLink, Facts, Failure, MissingNodes, Table } from "./parts.tsx";
import { useLoaded } from "./poll.ts";
import { RightsContext } from "./rights.ts";
import type { Cluster, Node, Nodes, Volume } from "./types.ts";

export function NodesPage(): ReactNode {
  const { data, error } = useLoaded<Nodes>("/v1/nodes?limit=20");
  const { cluster } = useContext(RightsContext);
  const nodes = data?.nodes ?? [];
  const replicas = nodes.flatMap((n) => n.replicas.map((r) => ({ ...r, node: n.node })));
  const losses = replicas.filter((r) => r.leads).flatMap((r) => r.losses.map((l) => ({ ...l, shard: r.shard })));
  return (
    <>
      {cluster && <ClusterOf />}
      <Failure error={error} />
      {data && (
        <>
          <MissingNodes missing={data.missing} />
          {nodes.map((n) => (
            <MemoryOf key={n.node} node={n} />
          ))}
          <Table
            caption="Replicas"
            empty="None."
            rows={replicas}
            keyOf={(r) => `${r.shard} ${r.node}`}
            columns={[
              { name: "Shard", numeric: true, cell: (r) => r.shard },
              { name: "Node", cell: (r) => r.node },
              { name: "State", cell: (r) => (r.problem !== "" ? <strong>{r.problem}</strong> : r.leads ? "leads" : "follows") },
              { name: "Term", numeric: true, cell: (r) => r.term },
              { name: "Applied", numeric: true, cell: (r) => count(r.applied) },
              { name: "To apply", numeric: true, cell: (r) => count(Math.max(0, r.last - r.applied)) },
              { name: "Followers lack", cell: (r) => r.followers.map((f) => (f.up ? `${count(f.lag)} (${span(f.behindMs)})` : "down")).join(", ") || "–" },
              { name: "Append p50", numeric: true, cell: (r) => micros(r.appendP50) },
              { name: "Append p99", numeric: true, cell: (r) => micros(r.appendP99) },
              { name: "State bytes", numeric: true, cell: (r) => bytes(r.bytes) },
              { name: "Keeps", numeric: true, cell: (r) => span(r.retentionMs) },
              { name: "Evicted to", cell: (r) => timeOf(r.cutoff) },
              { name: "Lost of queues", numeric: true, cell: (r) => volume(r.lost.queue) },
              { name: "Lost of history", numeric: true, cell: (r) => volume(r.lost.history) },
              { name: "Lost for memory", numeric: true, cell: (r) => volume(r.lost.memory) },
            ]}
          />
          <Table
            caption="From whom limits took of late"
            empty="From nobody."
            rows={losses}
            keyOf={(l) => `${l.shard} ${l.kind} ${l.of}`}
            columns={[
              { name: "User or group", cell: (l) => <ConvLink conv={l.of} /> },
              { name: "Limit", cell: (l) => l.kind },
              { name: "Messages", numeric: true, cell: (l) => count(l.messages) },
              { name: "Bytes", numeric: true, cell: (l) => bytes(l.bytes) },
              { name: "Since", cell: (l) => timeOf(l.first) },
              { name: "Last", cell: (l) => timeOf(l.last) },
              { name: "Shard", numeric: true, cell: (l) => l.shard },
            ]}
          />
        </>
      )}
    </>
  );
}

function volume(v: Volume): string {
  return v.messages === 0 ? "–" : `${count(v.messages)}, ${bytes(v.bytes)}`;
}

function MemoryOf({ node: { node, memory: m } }: { node: Node }): ReactNode {
  const parts: [string, number][] = [
    ["messages", m.messages],
    ["users", m.users],
    ["dedupe", m.dedupe],
    ["letters", m.letters],
    ["other", m.other],
    ["reserved and not used", Math.max(0, m.reserved - m.other)],
  ];
  const whole = Math.max(m.limit, parts.reduce((sum, [, n]) => sum + n, 0), 1);
  return (
    <section>
      <h3>Memory of {node}</h3>
      <svg className="bar" viewBox="0 0 1000 12" preserveAspectRatio="none" aria-hidden="true">
        {parts.map(([name, n], i) => (
          <rect key={name} className={`part-${i}`} x={(1000 * parts.slice(0, i).reduce((sum, [, before]) => sum + before, 0)) / whole} width={(1000 * n) / whole} height="12" />
        ))}
        {m.limit > 0 && <rect className="mark" x={(1000 * m.soft) / whole} width="3" height="12" />}
      </svg>
      <Facts
        of={{
          Used: bytes(m.used),
          Limit: m.limit === 0 ? "none" : `${bytes(m.limit)}, shorter retention from ${bytes(m.soft)}${m.reserved > 0 ? `, with all ${bytes(m.reserved)} that are reserved for other counted` : ""}`,
          Resident: bytes(m.resident),
          ...Object.fromEntries(parts.map(([name, n]) => [name, bytes(n)])),
          Disk: m.diskFree < 0 ? "unknown" : `${bytes(m.diskFree)} free${m.diskReserve > 0 ? `, ${bytes(m.diskReserve)} reserved` : ""}`,
          Refuses: marks({ "sends for memory": m.full, "sends for disk": m.diskLow }),
        }}
      />
    </section>
  );
}

function ClusterOf(): ReactNode {
  const { data, error } = useLoaded<Cluster>("/v1/cluster");
  return (
    <section>
      <Failure error={error} />
      {data && (
        <>
          <h3>Cluster</h3>
          <p className={data.level === 0 ? undefined : "warning"}>{data.verdict}</p>
          <ul className="plain">
            {[...data.problems, ...data.warnings].map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
          <Table
            caption="Nodes"
            empty="None."
            rows={data.nodes}
            keyOf={(n) => n.name}
            columns={[
              { name: "Node", cell: (n) => n.name },
              { name: "State", cell: (n) => n.state },
              { name: "Roles", cell: (n) => n.roles },
              { name: "Leads", numeric: true, cell: (n) => n.leads },
              { name: "Replicas", numeric: true, cell: (n) => n.replicas },
              { name: "Address", cell: (n) => n.address },
              { name: "Problems", cell: (n) => n.problems.join("; ") || "–" },
            ]}
          />
          <Table
            caption="Shards"
            empty="None."
            rows={data.shards}
            keyOf={(s) => s.shard}
            columns={[
              { name: "Shard", numeric: true, cell: (s) => s.shard },
              { name: "Leader", cell: (s) => s.leader || <strong>none</strong> },
              { name: "Slots", numeric: true, cell: (s) => count(s.slots) },
              { name: "Replicas", cell: (s) => s.replicas.map((r) => `${r.node}: ${r.problem ?? (r.up ? r.state : "down")}${r.lag > 0 ? `, lacks ${count(r.lag)}` : ""}`).join("; ") },
            ]}
          />
        </>
      )}
    </section>
  );
}
