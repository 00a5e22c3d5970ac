import { type FormEvent, type ReactNode, useState } from "react";
import { type ApiError, call, inPath, withQuery } from "./api.ts";
import { bytes, count, timeOf } from "./format.ts";
import { ChangeButton, Facts, Failure, Link, Table, UserLink } from "./parts.tsx";
import { asApiError, useLoaded } from "./poll.ts";
import type { Bans, Group, Members, Requests, Volume } from "./types.ts";
import { Pager } from "./user.tsx";

export function GroupPage({ group }: { group: string }): ReactNode {
  const path = `/v1/groups/${inPath(group)}`;
  const { data, error, refresh } = useLoaded<Group>(path, 15_000);
  return (
    <>
      <Failure error={error} />
      {data && (
        <>
          <Facts
            of={{
              Kind: data.kind,
              Name: data.name || "–",
              Owner: <UserLink user={data.owner} />,
              Members: count(data.memberCount),
              "Last seq": data.lastSeq === 0 ? "–" : <Link to={{ page: "trace", user: "", conv: `g:${group}`, seq: data.lastSeq }}>{data.lastSeq}</Link>,
              Stored: bytes(data.bytes),
              ...Object.fromEntries(Object.entries(data.settings).map(([name, value]) => [name, String(value)])),
            }}
          />
          <DeleteBySender group={group} path={path} onDeleted={refresh} />
          <MembersOf path={path} />
          <RequestsOf path={path} />
          <BansOf path={path} />
        </>
      )}
    </>
  );
}

/** Deletes what one sender wrote, once it has said how much that is. */
function DeleteBySender({ group, path, onDeleted }: { group: string; path: string; onDeleted(): void }): ReactNode {
  const [sender, setSender] = useState("");
  const [counted, setCounted] = useState<Volume & { sender: string }>();
  const [error, setError] = useState<ApiError>();
  const [told, tell] = useState("");
  const ask = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    tell("");
    setCounted(undefined);
    setError(undefined);
    try {
      setCounted({ ...(await call<Volume>("GET", `${path}/senders/${inPath(sender)}`)), sender });
    } catch (cause) {
      setError(asApiError(cause));
    }
  };
  return (
    <section>
      <h3>Messages of a sender</h3>
      <form className="line" onSubmit={(event) => void ask(event)}>
        <label htmlFor="sender">Sender</label>
        <input id="sender" required maxLength={64} autoComplete="off" spellCheck={false} value={sender} onChange={(event) => setSender(event.target.value)} />
        <button type="submit">Count</button>
      </form>
      <Failure error={error} />
      <p role="status">
        {told}
        {counted && `${counted.sender} has ${count(counted.messages)} messages in this group, ${bytes(counted.bytes)}.`}
      </p>
      {counted && (
        <div className="buttons">
          {counted.messages > 0 && (
            <ChangeButton<{ deleted: number }>
              label={`Delete ${count(counted.messages)} messages of ${counted.sender}`}
              question={`Delete all that ${counted.sender} sent to ${group}, ${count(counted.messages)} messages, for everybody? They cannot be brought back.`}
              path={withQuery(`${path}/messages`, { sender: counted.sender })}
              onDone={({ deleted }) => {
                tell(`${count(deleted)} messages of ${counted.sender} are deleted.`);
                setCounted(undefined);
                onDeleted();
              }}
            />
          )}
        </div>
      )}
    </section>
  );
}

function MembersOf({ path }: { path: string }): ReactNode {
  const [pages, setPages] = useState<string[]>([]);
  const { data, error } = useLoaded<Members>(withQuery(`${path}/members`, { after: pages.at(-1), limit: 50 }), 15_000);
  return (
    <section>
      <Failure error={error} />
      {data && (
        <Table
          caption="Members"
          empty="None."
          rows={data.members}
          keyOf={(m) => m.user}
          columns={[
            { name: "User", cell: (m) => <UserLink user={m.user} /> },
            { name: "Role", cell: (m) => m.role },
            { name: "Joined", cell: (m) => timeOf(m.joined) },
            { name: "Reads from", numeric: true, cell: (m) => m.from },
            { name: "Read to", numeric: true, cell: (m) => m.readSeq },
            { name: "Muted until", cell: (m) => timeOf(m.mutedUntil) },
          ]}
        />
      )}
      <Pager first={pages.length === 0} more={data?.more ?? false} onBack={() => setPages(pages.slice(0, -1))} onNext={() => setPages([...pages, data?.members.at(-1)?.user ?? ""])} />
    </section>
  );
}

function RequestsOf({ path }: { path: string }): ReactNode {
  const { data, error } = useLoaded<Requests>(`${path}/requests`, 15_000);
  return (
    <>
      <Failure error={error} />
      {data && (
        <Table
          caption="Requests to join"
          empty="None."
          rows={data.requests}
          keyOf={(r) => r.user}
          columns={[
            { name: "User", cell: (r) => <UserLink user={r.user} /> },
            { name: "Message", cell: (r) => r.message || "–" },
            { name: "Asked", cell: (r) => timeOf(r.time) },
          ]}
        />
      )}
    </>
  );
}

function BansOf({ path }: { path: string }): ReactNode {
  const [pages, setPages] = useState<string[]>([]);
  const { data, error } = useLoaded<Bans>(withQuery(`${path}/bans`, { after: pages.at(-1), limit: 50 }), 15_000);
  return (
    <section>
      <Failure error={error} />
      {data && (
        <Table
          caption="Bans"
          empty="None."
          rows={data.bans}
          keyOf={(b) => b.user}
          columns={[
            { name: "User", cell: (b) => <UserLink user={b.user} /> },
            { name: "Until", cell: (b) => timeOf(b.until) },
          ]}
        />
      )}
      <Pager first={pages.length === 0} more={data?.more ?? false} onBack={() => setPages(pages.slice(0, -1))} onNext={() => setPages([...pages, data?.bans.at(-1)?.user ?? ""])} />
    </section>
  );
}
