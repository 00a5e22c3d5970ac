import { type ReactNode, useEffect, useState } from "react";
import { type ApiError, call, inPath, withQuery } from "./api.ts";
import { bytes, timeOf } from "./format.ts";
import { ConvLink, Failure, Table, UserLink } from "./parts.tsx";
import { asApiError, useLoaded } from "./poll.ts";
import type { Found, MessageView, Views } from "./types.ts";

/** A message of a conversation: as a user has it or, with user "", as a group has it. */
export function TracePage({ user, conv, seq }: { user: string; conv: string; seq: number }): ReactNode {
  const path = user === "" ? `/v1/groups/${inPath(conv.slice(2))}/messages/${seq}` : `/v1/users/${inPath(user)}/conversations/${encodeURIComponent(conv)}/messages/${seq}`;
  const { data, error } = useLoaded<Views>(path);
  return (
    <>
      <Failure error={error} />
      {data && <ViewsOf views={data.views} />}
    </>
  );
}

/** A message of which only the id is known: all users and groups are searched, a part with each call. */
export function MessagePage({ id }: { id: string }): ReactNode {
  const [views, setViews] = useState<MessageView[]>([]);
  const [searched, setSearched] = useState(0);
  const [error, setError] = useState<ApiError>();
  useEffect(() => {
    const gone = new AbortController();
    const search = async (): Promise<void> => {
      for (let after = 0, more = true; more; ) {
        const found = await call<Found>("GET", withQuery(`/v1/messages/${inPath(id)}`, { after }), gone.signal);
        setViews((before) => [...before, ...found.views]);
        ({ more, next: after } = found);
        setSearched(more ? after / found.all : 1);
      }
    };
    setViews([]);
    setSearched(0);
    setError(undefined);
    search().catch((cause: unknown) => {
      if (!gone.signal.aborted) setError(asApiError(cause));
    });
    return () => gone.abort();
  }, [id]);
  return (
    <>
      <Failure error={error} />
      <p role="status" className="quiet">
        {searched < 1 ? `${Math.round(searched * 100)} % of all users and groups are searched.` : views.length === 0 ? "No view holds it." : "All users and groups are searched."}
      </p>
      <ViewsOf views={views} />
    </>
  );
}

function ViewsOf({ views }: { views: readonly MessageView[] }): ReactNode {
  return (
    <Table
      caption="Where it is"
      empty="Nowhere."
      rows={views}
      keyOf={(v) => `${v.user ?? ""} ${v.conv}`}
      columns={[
        { name: "View of", cell: (v) => (v.user === undefined ? "the group" : <UserLink user={v.user} />) },
        { name: "Conversation", cell: (v) => <ConvLink conv={v.conv} /> },
        { name: "Seq", numeric: true, cell: (v) => v.seq },
        { name: "State", cell: (v) => (v.state === "visible" ? "visible" : <strong>{v.state}</strong>) },
        { name: "Unread", cell: (v) => (v.unread ? "yes" : "–") },
        { name: "Read to", numeric: true, cell: (v) => (v.user === undefined ? "–" : v.readSeq) },
        { name: "Peer read to", numeric: true, cell: (v) => (v.conv.startsWith("u:") ? v.peerReadSeq : "–") },
        { name: "From", cell: (v) => <UserLink user={v.from ?? ""} /> },
        { name: "Time", cell: (v) => timeOf(v.time ?? 0) },
        { name: "Size", numeric: true, cell: (v) => (v.bytes === undefined ? "–" : bytes(v.bytes)) },
        { name: "Log holds", cell: (v) => (v.first > v.last ? "nothing" : `${v.first}–${v.last}`) },
        { name: "Id", cell: (v) => v.id ?? "–" },
      ]}
    />
  );
}
