import type { Conversation, Message } from "@belfry/client";
import { useConversations } from "@belfry/client/react";
import { useEffect, useRef, useState, type JSX, type RefObject } from "react";
import { Avatar } from "./avatar.tsx";
import { useLabel, useOnline, type Opened } from "./chat.tsx";
import { openConversation, useModel } from "./context.ts";
import { filterConversations, isGroup, nameOf, textOf } from "./conv.ts";
import { useFormat } from "./format.ts";
import { useText } from "./i18n.ts";
import { Icon, Mark } from "./icons.tsx";
import { withLive } from "./model.ts";
import { useView } from "./state.ts";
import { StateLamp } from "./status.tsx";
import { Menu, rove } from "./ui.tsx";

/** How many found messages are shown. */
const foundLimit = 20;

interface Props {
  open: string | null;
  onOpen: (dialog: Opened) => void;
  filter: RefObject<HTMLInputElement | null>;
  /** It is all that is shown. */
  alone: boolean;
}

export function Sidebar({ open, onOpen, filter, alone }: Props): JSX.Element {
  const t = useText();
  const { client, live, label, groups } = useModel();
  const { list: stored } = useConversations(client);
  useView(groups);
  const list = withLive(stored, useView(live));
  const [text, setText] = useState("");
  const shown = filterConversations(list, text, label);
  const found = useFound(text);
  const items = useRef<HTMLUListElement>(null);
  const buttons = (): HTMLElement[] => [...(items.current?.querySelectorAll<HTMLElement>("button") ?? [])];
  return (
    <nav className="sidebar" aria-label={t.conversations}>
      <header className="sidebar-head">
        <Mark />
        {alone ? <h1 className="wordmark">Belfry</h1> : <span className="wordmark">Belfry</span>}
        <Menu
          icon="chat"
          label={t.newChat}
          entries={[
            { label: t.newChat, action: () => onOpen("newChat") },
            { label: t.newGroup, action: () => onOpen("newGroup") },
            { label: t.joinGroup, action: () => onOpen("joinGroup") },
          ]}
        />
      </header>
      <div className="filter">
        <Icon name="search" />
        <input
          ref={filter}
          type="search"
          aria-label={t.filter}
          placeholder={t.filterHint}
          value={text}
          onChange={(e) => setText(e.target.value)}
          onKeyDown={(e) => {
            if (e.key === "ArrowDown") rove(e, buttons());
            if (e.key === "Escape" && text !== "") {
              e.preventDefault();
              setText("");
            }
          }}
        />
      </div>
      <div className="sidebar-scroll">
        {list.length === 0 && (
          <div className="sidebar-empty">
            <p>{t.noConversations}</p>
            <p>{t.noConversationsHint}</p>
          </div>
        )}
        {list.length > 0 && shown.length === 0 && <p className="sidebar-empty">{t.noMatch}</p>}
        <ul ref={items} className="conversations" onKeyDown={(e) => rove(e, buttons())}>
          {shown.map((c, i) => (
            <Entry key={c.conv} conversation={c} open={c.conv === open} tabbable={c.conv === open || (i === 0 && !shown.some((one) => one.conv === open))} />
          ))}
        </ul>
        {found.length > 0 && (
          <section aria-label={t.inMessages}>
            <h2 className="sidebar-section">{t.inMessages}</h2>
            <ul className="conversations">
              {found.map((message) => (
                <Found key={message.id} message={message} />
              ))}
            </ul>
          </section>
        )}
      </div>
      <StateLamp onOpen={() => onOpen("state")} onAccount={() => onOpen("account")} />
    </nav>
  );
}

/** Messages of the local store with the words of the filter. */
function useFound(text: string): readonly Message[] {
  const { client } = useModel();
  const [found, setFound] = useState<readonly Message[]>([]);
  const wanted = text.trim();
  useEffect(() => {
    if (wanted.length < 2) return setFound([]);
    let over = false;
    const timer = setTimeout(() => {
      client.searchLocal(wanted, { limit: foundLimit }).then((messages) => !over && setFound(messages), () => undefined);
    }, 150);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [client, wanted]);
  return found;
}

function Found({ message }: { message: Message }): JSX.Element {
  const format = useFormat();
  const label = useLabel(message.conv);
  return (
    <li>
      <button type="button" className="entry" onClick={() => openConversation(message.conv)}>
        <Avatar conv={message.conv} label={label} />
        <span className="entry-main">
          <span className="entry-top">
            <span className="entry-name" dir="auto">
              {label}
            </span>
            <time dateTime={new Date(message.time).toISOString()}>{format.short(message.time)}</time>
          </span>
          <span className="entry-bottom">
            <span className="entry-last" dir="auto">
              {textOf(message.body)}
            </span>
          </span>
        </span>
      </button>
    </li>
  );
}

function Entry({ conversation: c, open, tabbable }: { conversation: Conversation; open: boolean; tabbable: boolean }): JSX.Element {
  const t = useText();
  const format = useFormat();
  const { user } = useModel();
  const label = useLabel(c.conv);
  const online = useOnline(c.conv);
  const unread = c.unread > 0 || c.markedUnread;
  const self = c.conv === `u:${user}`;
  return (
    <li>
      <button
        type="button"
        className={`entry ${open ? "open" : ""} ${unread ? "unread" : ""} ${c.muted ? "hushed" : ""}`}
        aria-current={open ? "page" : undefined}
        tabIndex={tabbable ? 0 : -1}
        onClick={() => openConversation(c.conv)}
      >
        <Avatar conv={c.conv} label={label} online={online} />
        <span className="entry-main">
          <span className="entry-top">
            <span className="entry-name" dir="auto">
              {self ? t.note : label}
            </span>
            {online && <span className="sr-only">{t.online}</span>}
            {c.muted && <State icon="muted" label={t.muted} />}
            {c.pinned && <State icon="pin" label={t.pinned} />}
            {c.time > 0 && <time dateTime={new Date(c.time).toISOString()}>{format.short(c.time)}</time>}
          </span>
          <span className="entry-bottom">
            <LastLine conversation={c} />
            {unread && (
              <span className="badge">
                <span aria-hidden="true">{c.unread > 0 ? (c.unread > 999 ? "999+" : c.unread) : ""}</span>
                <span className="sr-only">{c.unread > 0 ? t.unread(c.unread) : t.markedUnread}</span>
              </span>
            )}
          </span>
        </span>
      </button>
    </li>
  );
}

function State({ icon, label }: { icon: "muted" | "pin"; label: string }): JSX.Element {
  return (
    <span className="entry-state" title={label}>
      <Icon name={icon} />
      <span className="sr-only">{label}</span>
    </span>
  );
}

/** What was said last, or who is typing, or what was begun to be written. */
function LastLine({ conversation: c }: { conversation: Conversation }): JSX.Element {
  const t = useText();
  const { user, typing, drafts } = useModel();
  const typists = useView(typing).get(c.conv) ?? [];
  const draft = drafts.get(c.conv);
  if (typists.length > 0) return <span className="entry-last typing">{typists.length === 1 ? t.typingOne(typists[0]!) : t.typingMany}</span>;
  if (draft !== undefined && draft.trim() !== "") {
    return (
      <span className="entry-last" dir="auto">
        <em>{t.draft}:</em> {draft}
      </span>
    );
  }
  if (!c.last) return <span className="entry-last" />;
  const from = c.last.from === user ? `${t.you}: ` : isGroup(c.conv) ? `${c.last.from}: ` : "";
  return (
    <span className="entry-last" dir="auto">
      {nameOf(c.conv) === user ? "" : from}
      {textOf(c.last.body) ?? t.notText}
    </span>
  );
}
