import { type ReactNode, useState } from "react";
import { inPath, withQuery } from "./api.ts";
import { bytes, count, marks, momentOf, ranges, span, timeOf, unacked } from "./format.ts";
import { ChangeButton, ConvLink, Facts, Failure, Link, MissingNodes, Table, UserLink } from "./parts.tsx";
import { useLoaded } from "./poll.ts";
import { RefusedLogins } from "./sick.tsx";
import type { Blocked, Conversations, Frames, Sessions, User } from "./types.ts";

export function UserPage({ user }: { user: string }): ReactNode {
  const path = `/v1/users/${inPath(user)}`;
  const { data, error } = useLoaded<User>(path, 15_000);
  const unknown = error?.status === 404;
  return (
    <>
      {unknown ? <p role="alert">There is no user {user}: nobody has logged in by this name or written to it. Names are told apart by case.</p> : <Failure error={error} />}
      {data && (
        <Facts
          of={{
            "Has logged in": data.exists ? "yes" : "no",
            "Last seen": timeOf(data.lastSeen),
            Suspended: data.settings.suspended ? "yes" : "no",
            "Offline queue": `${count(data.queue.messages)} messages, ${bytes(data.queue.bytes)}`,
            History: `${count(data.stored.messages)} messages, ${bytes(data.stored.bytes)}`,
            Conversations: count(data.conversations),
            Unread: count(data.unreadTotal),
            Blocks: count(data.blocked),
            "Tokens from": timeOf(data.settings.tokensFrom),
          }}
        />
      )}
      <SessionsOf user={user} path={path} refusedAlone={data === undefined} />
      {data && (
        <>
          <Table
            caption="Unread"
            empty="Nothing is unread."
            rows={data.unread}
            keyOf={(u) => u.conv}
            columns={[
              { name: "Conversation", cell: (u) => <ConvLink conv={u.conv} /> },
              { name: "Unread", numeric: true, cell: (u) => count(u.unread) },
              { name: "Seqs", cell: (u) => ranges(u.seqs) },
            ]}
          />
          <Table
            caption="Groups"
            empty="In no group."
            rows={data.groups}
            keyOf={(g) => g.group}
            columns={[
              { name: "Group", cell: (g) => <Link to={{ page: "group", group: g.group }}>{g.group}</Link> },
              { name: "Owns it", cell: (g) => (g.owner ? "yes" : "–") },
            ]}
          />
        </>
      )}
      {data && data.blocked > 0 && <BlockedBy path={path} />}
      {data && <ConversationsOf user={user} path={path} />}
    </>
  );
}

/** The users whom a user has blocked. */
function BlockedBy({ path }: { path: string }): ReactNode {
  const [pages, setPages] = useState<string[]>([]);
  const { data, error } = useLoaded<Blocked>(withQuery(`${path}/blocked`, { after: pages.at(-1), limit: 50 }), 15_000);
  return (
    <section>
      <Failure error={error} />
      {data && <Table caption="Blocks: these cannot write to them" empty="Nobody." rows={data.users} keyOf={(u) => u} columns={[{ name: "User", cell: (u) => <UserLink user={u} /> }]} />}
      <Pager first={pages.length === 0} more={data?.more ?? false} onBack={() => setPages(pages.slice(0, -1))} onNext={() => data && setPages([...pages, data.users.at(-1) ?? ""])} />
    </section>
  );
}

/** A user's sessions and refused logins; with `refusedAlone` only the latter, which a user may have whom nothing else is known of. */
function SessionsOf({ user, path, refusedAlone }: { user: string; path: string; refusedAlone: boolean }): ReactNode {
  const { data, error, refresh } = useLoaded<Sessions>(`${path}/sessions`);
  const [chosen, choose] = useState<number>();
  const [told, tell] = useState("");
  const kicked = ({ kicked: n }: { kicked: number }): void => {
    tell(`${n === 1 ? "One session" : `${n} sessions`} ended`);
    refresh();
  };
  const refused = data && data.refusedLogins.length > 0 && <RefusedLogins caption="Refused at the login, in the last 10 to 20 minutes" empty="" rows={data.refusedLogins} />;
  if (refusedAlone) return refused;
  return (
    <section>
      <Failure error={error} />
      {data && (
        <>
          <MissingNodes missing={data.missing} />
          {refused}
          <Table
            caption="Sessions"
            empty="Not logged in anywhere."
            rows={data.sessions}
            keyOf={(s) => s.session}
            columns={[
              { name: "Session", numeric: true, cell: (s) => s.session },
              { name: "Device", cell: (s) => s.device },
              { name: "Platform", cell: (s) => s.platform || "–" },
              { name: "Node", cell: (s) => s.node || <strong>none</strong> },
              { name: "Since", cell: (s) => timeOf(s.since) },
              { name: "Unacked", numeric: true, cell: unacked },
              { name: "State", cell: (s) => marks({ background: s.background, stalled: s.stalled, "no auto-read": s.node !== "" && !s.autoRead }) },
              { name: "Silent", numeric: true, cell: (s) => (s.node === "" ? "–" : span(s.silentMs)) },
              { name: "Address", cell: (s) => s.address || "–" },
              {
                name: "Frames",
                cell: (s) => (
                  <button type="button" aria-expanded={chosen === s.session} onClick={() => choose(chosen === s.session ? undefined : s.session)}>
                    {chosen === s.session ? "Hide" : "Show"}
                    <span className="sr-only"> frames of session {s.session}</span>
                  </button>
                ),
              },
            ]}
          />
          {chosen !== undefined && <FramesOf path={`${path}/sessions/${chosen}/frames`} session={chosen} />}
          <p role="status" className="quiet">
            {told}
          </p>
          {data.sessions.length > 0 && (
            <div className="buttons">
              {[...new Set(data.sessions.map((s) => s.device))].map((device) => (
                <ChangeButton key={device} label={`Kick ${device}`} question={`End the session of ${user} on ${device}? It may log in again.`} path={withQuery(`${path}/sessions`, { device })} onDone={kicked} />
              ))}
              <ChangeButton label="Kick all" question={`End all sessions of ${user}? They may log in again.`} path={`${path}/sessions`} onDone={kicked} />
            </div>
          )}
        </>
      )}
    </section>
  );
}

function FramesOf({ path, session }: { path: string; session: number }): ReactNode {
  const { data, error } = useLoaded<Frames>(path, 2_000);
  return (
    <>
      <Failure error={error} />
      {data && (
        <Table
          caption={`Newest frames of session ${session} at ${data.node}, without what was in them`}
          empty="None yet."
          rows={data.frames.toReversed().map((frame, i) => ({ ...frame, i }))}
          keyOf={(f) => `${f.time} ${f.i}`}
          columns={[
            { name: "Time", cell: (f) => momentOf(f.time) },
            { name: "Direction", cell: (f) => (f.in ? "from the client" : "to the client") },
            { name: "Op", cell: (f) => f.op },
            { name: "Bytes", numeric: true, cell: (f) => count(f.bytes) },
          ]}
        />
      )}
    </>
  );
}

function ConversationsOf({ user, path }: { user: string; path: string }): ReactNode {
  const [pages, setPages] = useState<number[]>([]);
  const { data, error } = useLoaded<Conversations>(withQuery(`${path}/conversations`, { after: pages.at(-1), limit: 50 }), 15_000);
  return (
    <section>
      <Failure error={error} />
      {data && (
        <Table
          caption="Conversations, the newest first"
          empty="None."
          rows={data.conversations}
          keyOf={(c) => c.conv}
          columns={[
            { name: "Conversation", cell: (c) => <ConvLink conv={c.conv} /> },
            { name: "Last message", cell: (c) => timeOf(c.time) },
            {
              name: "Last seq",
              numeric: true,
              cell: (c) => (c.lastSeq === 0 ? "–" : <Link to={{ page: "trace", user, conv: c.conv, seq: c.lastSeq }}>{c.lastSeq}</Link>),
            },
            { name: "Read to", numeric: true, cell: (c) => c.readSeq },
            { name: "Peer read to", numeric: true, cell: (c) => c.peerReadSeq },
            { name: "Unread", numeric: true, cell: (c) => count(c.unread) },
            { name: "Settings", cell: (c) => marks({ muted: c.muted, pinned: c.pinned, "marked unread": c.markedUnread }) },
          ]}
        />
      )}
      <Pager first={pages.length === 0} more={data?.more ?? false} onBack={() => setPages(pages.slice(0, -1))} onNext={() => data && setPages([...pages, data.next])} />
    </section>
  );
}

/** Buttons for the pages of a list; nothing if there is one page. */
export function Pager({ first, more, onBack, onNext }: { first: boolean; more: boolean; onBack(): void; onNext(): void }): ReactNode {
  if (first && !more) return null;
  return (
    <div className="buttons">
      <button type="button" disabled={first} onClick={onBack}>
        Page before
      </button>
      <button type="button" disabled={!more} onClick={onNext}>
        Next page
      </button>
    </div>
  );
}
