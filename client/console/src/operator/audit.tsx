import { type ReactNode, useState } from "react";
import { withQuery } from "./api.ts";
import { span, timeOf } from "./format.ts";
import { Failure, MissingNodes, Table } from "./parts.tsx";
import { useLoaded } from "./poll.ts";
import type { Changes } from "./types.ts";
import { Pager } from "./user.tsx";

export function AuditPage(): ReactNode {
  const [pages, setPages] = useState<string[]>([]);
  const { data, error } = useLoaded<Changes>(withQuery("/v1/audit", { after: pages.at(-1), limit: 50 }));
  return (
    <>
      <Failure error={error} />
      {data && (
        <>
          <MissingNodes missing={data.missing} />
          <Table
            caption="Changes by administration, the newest first"
            empty="None since the nodes were started."
            rows={data.changes}
            keyOf={(c) => `${c.node} ${c.number}`}
            columns={[
              { name: "Time", cell: (c) => timeOf(c.time) },
              { name: "Token", cell: (c) => <code>{c.token || "–"}</code> },
              { name: "Operation", cell: (c) => c.operation },
              { name: "Target", cell: (c) => c.target || "–" },
              { name: "Status", numeric: true, cell: (c) => (c.status < 400 ? c.status : <strong>{c.status}</strong>) },
              { name: "Outcome", cell: (c) => c.outcome || "–" },
              { name: "Took", numeric: true, cell: (c) => span(c.durationMs) },
              { name: "From", cell: (c) => c.remote },
              { name: "Node", cell: (c) => c.node },
            ]}
          />
          <Pager first={pages.length === 0} more={data.more} onBack={() => setPages(pages.slice(0, -1))} onNext={() => setPages([...pages, data.next])} />
        </>
      )}
    </>
  );
}
