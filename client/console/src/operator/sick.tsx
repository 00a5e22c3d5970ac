import type { ReactNode } from "react";
import { bytes, count, span, timeOf, unacked } from "./format.ts";
import { Failure, MissingNodes, Table, UserLink } from "./parts.tsx";
import { useLoaded } from "./poll.ts";
import type { RefusedLogin, Sick } from "./types.ts";

export function SickPage(): ReactNode {
  const { data, error } = useLoaded<Sick>("/v1/sick?limit=50");
  return (
    <>
      <Failure error={error} />
      {data && (
        <>
          <MissingNodes missing={data.missing} />
          <Table
            caption="Behind: their ack is late"
            empty="No session is behind."
            rows={data.behind}
            keyOf={(s) => `${s.node} ${s.user} ${s.session}`}
            columns={[
              { name: "User", cell: (s) => <UserLink user={s.user} /> },
              { name: "Device", cell: (s) => s.device },
              { name: "Unacked", numeric: true, cell: unacked },
              { name: "To be written", numeric: true, cell: (s) => bytes(s.bufferedBytes) },
              { name: "Silent", numeric: true, cell: (s) => span(s.silentMs) },
              { name: "Node", cell: (s) => s.node },
              { name: "Address", cell: (s) => s.address },
            ]}
          />
          <Table
            caption="Closed of late: slow (4413), too fast (4429), silent (4408)"
            empty="No connection was closed for these."
            rows={data.closed.map((c, i) => ({ ...c, i }))}
            keyOf={(c) => c.i}
            columns={[
              { name: "Time", cell: (c) => timeOf(c.time) },
              { name: "Code", numeric: true, cell: (c) => c.code },
              { name: "Reason", cell: (c) => c.reason },
              { name: "User", cell: (c) => <UserLink user={c.user} /> },
              { name: "Device", cell: (c) => c.device || "–" },
              { name: "Lasted", numeric: true, cell: (c) => span(c.lastedMs) },
              { name: "Unacked", numeric: true, cell: (c) => bytes(c.unackedBytes) },
              { name: "Node", cell: (c) => c.node },
              { name: "Address", cell: (c) => c.address },
            ]}
          />
          <Table
            caption="Logging in again and again, in the last 10 to 20 minutes"
            empty="No device does."
            rows={data.reconnecting}
            keyOf={(r) => `${r.node} ${r.user} ${r.device}`}
            columns={[
              { name: "User", cell: (r) => <UserLink user={r.user} /> },
              { name: "Device", cell: (r) => r.device },
              { name: "Logins, at least", numeric: true, cell: (r) => count(r.logins) },
              { name: "Last", cell: (r) => timeOf(r.last) },
              { name: "Node", cell: (r) => r.node },
            ]}
          />
          <Table
            caption="Refused by rate limits, in the last 10 to 20 minutes"
            empty="Nobody was."
            rows={data.limited}
            keyOf={(l) => `${l.node} ${l.user} ${l.op}`}
            columns={[
              { name: "User", cell: (l) => <UserLink user={l.user} /> },
              { name: "Op", cell: (l) => l.op },
              { name: "Refused, at least", numeric: true, cell: (l) => count(l.refused) },
              { name: "Last", cell: (l) => timeOf(l.last) },
              { name: "Node", cell: (l) => l.node },
            ]}
          />
          <RefusedLogins caption="Refused at the login, in the last 10 to 20 minutes" empty="Nobody was." rows={data.refusedLogins} />
        </>
      )}
    </>
  );
}

/** Who could not log in, and why. A token whose signature is wrong has a name that anybody may have written, so none is shown. */
export function RefusedLogins({ caption, empty, rows }: { caption: string; empty: string; rows: readonly RefusedLogin[] }): ReactNode {
  return (
    <Table
      caption={caption}
      empty={empty}
      rows={rows}
      keyOf={(r) => `${r.user} ${r.reason}`}
      columns={[
        { name: "User", cell: (r) => <UserLink user={r.user} /> },
        { name: "Reason", cell: (r) => r.reason },
        { name: "Refused, at least", numeric: true, cell: (r) => count(r.refused) },
        { name: "Last", cell: (r) => timeOf(r.last) },
        { name: "Node", cell: (r) => r.node },
      ]}
    />
  );
}
