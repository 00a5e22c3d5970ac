import type { Conversation } from "@belfry/client";
import { useConversations } from "@belfry/client/react";
import { useEffect, useRef, type JSX } from "react";
import { Avatar } from "./avatar.tsx";
import { useLabel, useOnline } from "./chat.tsx";
import { openConversation, useModel } from "./context.ts";
import { isGroup, nameOf } from "./conv.ts";
import { GroupPanel } from "./group.tsx";
import { useText } from "./i18n.ts";
import { useView } from "./state.ts";
import { useGroup } from "./thread.tsx";
import { IconButton, useConfirm } from "./ui.tsx";

/** What is to be known of a conversation, and what can be done about it. */
export function Details({ conv, onClose }: { conv: string; onClose: () => void }): JSX.Element {
  const t = useText();
  const { client, user } = useModel();
  const label = useLabel(conv);
  const online = useOnline(conv);
  const group = useGroup(conv);
  const { list } = useConversations(client);
  const entry = list.find((c) => c.conv === conv);
  const panel = useRef<HTMLElement>(null);
  useEffect(() => panel.current?.querySelector<HTMLElement>("button")?.focus(), []);
  return (
    <aside ref={panel} className="details" aria-label={t.about}>
      <header className="details-head">
        <IconButton icon="close" label={t.close} onClick={onClose} />
      </header>
      <div className="details-scroll">
        <div className="details-name">
          <Avatar conv={conv} label={label} online={online} />
          <h2 dir="auto">{conv === `u:${user}` ? t.note : label}</h2>
          <p className="quiet">{nameOf(conv)}</p>
        </div>
        {entry && <Settings entry={entry} />}
        {!isGroup(conv) && conv !== `u:${user}` && <Block user={nameOf(conv)} />}
        {group && <GroupPanel group={group} />}
        {entry && <Removal conv={conv} onGone={onClose} />}
      </div>
    </aside>
  );
}

function Settings({ entry }: { entry: Conversation }): JSX.Element {
  const t = useText();
  const { client, act } = useModel();
  const set = (settings: { muted?: boolean; pinned?: boolean; unread?: boolean }): void => void act(client.setConversation(entry.conv, settings));
  const unread = entry.unread > 0 || entry.markedUnread;
  return (
    <div className="buttons">
      <button type="button" className="button" aria-pressed={entry.pinned} onClick={() => set({ pinned: !entry.pinned })}>
        {entry.pinned ? t.unpin : t.pin}
      </button>
      <button type="button" className="button" aria-pressed={entry.muted} onClick={() => set({ muted: !entry.muted })}>
        {entry.muted ? t.unmute : t.mute}
      </button>
      <button
        type="button"
        className="button"
        onClick={() => {
          if (unread) return void act(client.readReport(entry.conv, entry.lastSeq));
          set({ unread: true });
          openConversation(null);
        }}
      >
        {unread ? t.markRead : t.markUnread}
      </button>
    </div>
  );
}

function Block({ user }: { user: string }): JSX.Element {
  const t = useText();
  const { client, act, blocked } = useModel();
  const is = useView(blocked).has(user);
  const [dialog, confirm] = useConfirm();
  return (
    <div className="buttons">
      <button
        type="button"
        className={is ? "button" : "button danger"}
        onClick={() => {
          if (is) void act(client.request("unblock", { user }));
          else confirm({ title: `${t.block} ${user}`, hint: t.blockHint(user), yes: t.block, danger: true, action: () => void act(client.request("block", { user })) });
        }}
      >
        {is ? t.unblock : t.block}
      </button>
      {dialog}
    </div>
  );
}

function Removal({ conv, onGone }: { conv: string; onGone: () => void }): JSX.Element {
  const t = useText();
  const { client, act } = useModel();
  const [dialog, confirm] = useConfirm();
  const remove = async (messages: boolean): Promise<void> => {
    if (!(await act(client.deleteConversation(conv, { messages })))) return;
    onGone();
    openConversation(null);
  };
  return (
    <div className="buttons">
      <button type="button" className="button" onClick={() => void remove(false)}>
        {t.removeConversation}
      </button>
      <button
        type="button"
        className="button danger"
        onClick={() => confirm({ title: t.eraseConversation, hint: t.eraseHint, yes: t.eraseConversation, danger: true, action: () => void remove(true) })}
      >
        {t.eraseConversation}
      </button>
      {dialog}
    </div>
  );
}
