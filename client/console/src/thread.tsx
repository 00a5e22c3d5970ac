import type { Client, GroupDetails, Member } from "@belfry/client";
import { useMessages, useStatus } from "@belfry/client/react";
import { useCallback, useEffect, useState, type JSX } from "react";
import { Avatar } from "./avatar.tsx";
import { useLabel, useOnline } from "./chat.tsx";
import { Composer } from "./composer.tsx";
import { openConversation, useModel } from "./context.ts";
import { isGroup, nameOf } from "./conv.ts";
import { useFormat } from "./format.ts";
import { useText } from "./i18n.ts";
import { Mark } from "./icons.tsx";
import { Messages } from "./messages.tsx";
import { useView } from "./state.ts";
import { Banner } from "./status.tsx";
import { IconButton } from "./ui.tsx";

/** With more unread messages than this the conversation opens at the first of them. */
const manyUnread = 30;

export function EmptyThread(): JSX.Element {
  const t = useText();
  return (
    <div className="empty">
      <Mark />
      <h1>{t.pick}</h1>
      <p>{t.pickHint}</p>
    </div>
  );
}

/** Where reading was when a conversation was opened. */
interface Start {
  readonly window: { readonly at?: number };
  /** Unread messages are above this seq; null: there were none. */
  readonly unreadAbove: number | null;
}

function startOf(client: Client, conv: string): Start {
  const entry = client.conversations().getSnapshot().list.find((c) => c.conv === conv);
  if (!entry || entry.unread === 0) return { window: {}, unreadAbove: null };
  return { window: entry.unread > manyUnread ? { at: entry.readSeq + 1 } : {}, unreadAbove: entry.readSeq };
}

/** One conversation: what it is, its messages, and the line to write. */
export function Thread({ conv, details, onDetails }: { conv: string; details: boolean; onDetails: () => void }): JSX.Element {
  const { client, watch, user } = useModel();
  const [start] = useState(() => startOf(client, conv));
  const messages = useMessages(client, conv, start.window);
  const group = useGroup(conv);
  const members = useMembers(group);
  const { synced } = useStatus(client);

  useEffect(() => {
    if (synced && !isGroup(conv)) watch([nameOf(conv)]);
  }, [watch, conv, synced]);

  const known = isGroup(conv) ? members.map((m) => m.user).filter((u) => u !== user) : [nameOf(conv)];
  return (
    <>
      <Header conv={conv} group={group} details={details} onDetails={onDetails} />
      <Banner />
      {group?.ownerOffered === user && <OwnerOffer group={group.group} />}
      <Messages conv={conv} messages={messages} unreadAbove={start.unreadAbove} group={group} known={known} />
      <Composer conv={conv} known={known} live={group?.kind === "live"} />
    </>
  );
}

function OwnerOffer({ group }: { group: string }): JSX.Element {
  const t = useText();
  const { client, act } = useModel();
  const answer = (accept: boolean): void => void act(client.request("answerOwner", { group, accept }));
  return (
    <div className="banner">
      {t.offeredYou}
      <button type="button" className="button small" onClick={() => answer(true)}>
        {t.acceptOwner}
      </button>
      <button type="button" className="button small" onClick={() => answer(false)}>
        {t.reject}
      </button>
    </div>
  );
}

/** What the server says of a group, anew after each change; null for a conversation with a user, or while it is not known. */
export function useGroup(conv: string): GroupDetails | null {
  const { client, learn, live } = useModel();
  const [details, setDetails] = useState<GroupDetails | null>(null);
  const { connection, synced } = useStatus(client);
  const joined = useView(live);
  const load = useCallback(() => {
    if (!isGroup(conv) || connection !== "online" || !synced) return;
    client.request("getGroup", { group: nameOf(conv) }).then(
      (group) => {
        setDetails(group);
        learn(group);
      },
      () => undefined,
    );
  }, [client, learn, conv, connection, synced]);
  useEffect(load, [load, joined]);
  useEffect(() => client.on("groupEvent", (event) => event.group === nameOf(conv) && load()), [client, conv, load]);
  return details;
}

/** The first members of a group: for mentions. */
function useMembers(group: GroupDetails | null): readonly Member[] {
  const { client } = useModel();
  const [members, setMembers] = useState<readonly Member[]>([]);
  useEffect(() => {
    if (!group || group.role === undefined) return;
    client.request("getMembers", { group: group.group, limit: 100 }).then((reply) => setMembers(reply.members), () => undefined);
  }, [client, group]);
  return members;
}

function Header({ conv, group, details, onDetails }: { conv: string; group: GroupDetails | null; details: boolean; onDetails: () => void }): JSX.Element {
  const t = useText();
  const { user } = useModel();
  const label = useLabel(conv);
  const online = useOnline(conv);
  return (
    <header className="thread-head">
      <IconButton icon="back" label={t.back} className="only-phone" onClick={() => openConversation(null)} />
      <Avatar conv={conv} label={label} online={online} />
      <div className="thread-title">
        <h1 dir="auto">{conv === `u:${user}` ? t.note : label}</h1>
        <p>
          <Subtitle conv={conv} group={group} />
        </p>
      </div>
      <IconButton icon="info" label={t.about} pressed={details} onClick={onDetails} />
    </header>
  );
}

function Subtitle({ conv, group }: { conv: string; group: GroupDetails | null }): JSX.Element {
  const t = useText();
  const format = useFormat();
  const model = useModel();
  const typists = useView(model.typing).get(conv) ?? [];
  const presence = useView(model.presence).get(nameOf(conv));
  if (typists.length > 0) return <span className="typing">{typists.length === 1 ? t.typingOne(typists[0]!) : t.typingMany}</span>;
  if (isGroup(conv)) return <>{group && `${t.kinds[group.kind]} · ${t.members(group.memberCount)}`}</>;
  if (!presence) return <>{nameOf(conv)}</>;
  if (presence.online) return <>{t.online}</>;
  return <>{presence.lastSeen > 0 ? t.lastSeen(format.relative(presence.lastSeen - Date.now())) : t.offline}</>;
}
