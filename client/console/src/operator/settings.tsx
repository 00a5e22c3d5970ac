import type { ReactNode } from "react";
import { Failure, MissingNodes, Table } from "./parts.tsx";
import { useLoaded } from "./poll.ts";
import type { Settings } from "./types.ts";

export function SettingsPage(): ReactNode {
  const { data, error } = useLoaded<Settings>("/v1/settings", 60_000);
  return (
    <>
      <Failure error={error} />
      {data && (
        <>
          <MissingNodes missing={data.missing} />
          <Table
            caption="Settings that are not the default"
            empty="All are the default."
            rows={data.settings}
            keyOf={(s) => `${s.node} ${s.name}`}
            columns={[
              { name: "Setting", cell: (s) => <code>{s.name}</code> },
              { name: "Value", cell: (s) => (s.secret ? `${s.value} (the rest is secret)` : s.value) },
              { name: "Default", cell: (s) => s.default || "–" },
              { name: "Node", cell: (s) => s.node },
            ]}
          />
        </>
      )}
    </>
  );
}
