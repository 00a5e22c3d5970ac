import type { GroupDetails, Message } from "@belfry/client";
import { Fragment, useState, type JSX, type ReactNode } from "react";
import { Avatar } from "./avatar.tsx";
import { useModel } from "./context.ts";
import { isGroup, mentioned, pieces, sourceOf, textOf } from "./conv.ts";
import { useFormat } from "./format.ts";
import { useText } from "./i18n.ts";
import { Icon } from "./icons.tsx";
import type { Item, MessageItem, PendingItem } from "./timeline.ts";
import { Dialog, Menu } from "./ui.tsx";

/** A text with its links and mentions, or the source of a body that is none. */
function Body({ message, user }: { message: Pick<Message, "body" | "mentions">; user: string }): JSX.Element {
  const text = textOf(message.body);
  if (text === null) return <pre className="source">{sourceOf(message.body)}</pre>;
  const parts: ReactNode[] = pieces(text, message.mentions).map((piece, i) => {
    if (piece.href !== undefined) {
      return (
        <a key={i} href={piece.href} target="_blank" rel="noreferrer noopener">
          {piece.text}
        </a>
      );
    }
    if (piece.mention !== undefined) {
      return (
        <mark key={i} className={piece.mention === user ? "mention me" : "mention"}>
          {piece.text}
        </mark>
      );
    }
    return <Fragment key={i}>{piece.text}</Fragment>;
  });
  return (
    <div className="text" dir="auto">
      {parts}
    </div>
  );
}

const classes = (...names: (string | false)[]): string => names.filter((n) => n !== false).join(" ");

export function MessageRow({ item, conv, group, known }: { item: MessageItem; conv: string; group: GroupDetails | null; known: readonly string[] }): JSX.Element {
  const t = useText();
  const format = useFormat();
  const { user, client, act } = useModel();
  const [details, setDetails] = useState(false);
  const { message, own } = item;
  const text = textOf(message.body);
  const stored = message.ephemeral !== true;
  const mayRecall = stored && (own || group?.role === "owner" || group?.role === "admin");
  const entries = [
    text !== null && { label: t.copy, action: () => void act(navigator.clipboard.writeText(text)) },
    !own && isGroup(conv) && known.includes(message.from) && { label: t.mention(message.from), action: () => dispatchEvent(new CustomEvent("belfry-mention", { detail: message.from })) },
    mayRecall && { label: t.recall, danger: true, action: () => void act(client.recall(conv, message.seq)) },
    stored && { label: t.deleteMine, danger: true, action: () => void act(client.deleteMessages(conv, [message.seq])) },
    { label: t.details, action: () => setDetails(true) },
  ];
  return (
    <li
      className={classes("message", own ? "own" : "theirs", item.first && "first", item.last && "last", item.big && "big", isGroup(conv) && "in-group", message.mentions?.includes(user) === true && "for-me")}
      data-key={item.key}
      data-seq={message.seq}
    >
      {!own && isGroup(conv) && item.last && <Avatar conv={`u:${message.from}`} />}
      <div className="row-focus" tabIndex={-1}>
        {!own && item.first && isGroup(conv) && <p className="from">{message.from}</p>}
        {(own || !isGroup(conv) || !item.first) && <span className="sr-only">{own ? t.you : message.from}: </span>}
        <div className="bubble">
          <Body message={message} user={user} />
          <span className="meta">
            {!stored && <span>{t.ephemeral}</span>}
            <time dateTime={new Date(message.time).toISOString()} title={format.full(message.time)}>
              {format.clock(message.time)}
            </time>
            {own && stored && !isGroup(conv) && (
              <span className={item.read ? "receipt read" : "receipt"} title={item.read ? t.read : t.stored}>
                <Icon name={item.read ? "checks" : "check"} />
                <span className="sr-only">{item.read ? t.read : t.stored}</span>
              </span>
            )}
          </span>
        </div>
        <Menu label={t.messageMenu(own ? t.you : message.from)} className="row-menu icon-button" entries={entries} />
      </div>
      {details && <MessageDetails message={message} onClose={() => setDetails(false)} />}
    </li>
  );
}

function MessageDetails({ message, onClose }: { message: Message; onClose: () => void }): JSX.Element {
  const t = useText();
  const format = useFormat();
  return (
    <Dialog title={t.messageDetails} onClose={onClose}>
      <dl className="facts">
        <dt>from</dt>
        <dd>{message.from}</dd>
        <dt>time</dt>
        <dd>{format.full(message.time)}</dd>
        <dt>seq</dt>
        <dd>{message.seq}</dd>
        <dt>id</dt>
        <dd className="source">{message.id}</dd>
        <dt>body</dt>
        <dd>
          <pre className="source">{sourceOf(message.body)}</pre>
        </dd>
      </dl>
    </Dialog>
  );
}

/** A message that the server has not stored: it waits, or was refused. */
export function PendingRow({ item, conv, known }: { item: PendingItem; conv: string; known: readonly string[] }): JSX.Element {
  const t = useText();
  const { client, act, user } = useModel();
  const { row } = item;
  const text = textOf(row.body);
  const mentions = text === null ? [] : mentioned(text, known);
  const again = async (): Promise<void> => {
    if (await client.cancel(conv, row.cid)) await client.send(conv, row.body, { mentions });
  };
  const refused = row.state === "refused";
  return (
    <li className={classes("message", "own", "pending", refused && "refused", item.first && "first", item.last && "last", item.big && "big")} data-key={item.key}>
      <div className="row-focus" tabIndex={-1}>
        <span className="sr-only">{t.you}: </span>
        <div className="bubble">
          <Body message={{ body: row.body, mentions }} user={user} />
          <span className="meta">
            <span className="receipt" title={refused ? undefined : t.queued}>
              <Icon name={refused ? "warn" : "clock"} />
              <span className={refused ? "" : "sr-only"}>{refused ? t.refused(t.codes[row.code ?? "internal"]) : t.queued}</span>
            </span>
          </span>
        </div>
        <Menu
          label={t.messageMenu(t.you)}
          className="row-menu icon-button"
          entries={[
            refused && { label: t.sendAgain, action: () => void act(again()) },
            { label: t.cancelSend, danger: true, action: () => void act(client.cancel(conv, row.cid)) },
            text !== null && { label: t.copy, action: () => void act(navigator.clipboard.writeText(text)) },
          ]}
        />
      </div>
    </li>
  );
}

/** Seqs without a message, with the reason in words. */
export function GapRow({ item, conv }: { item: Extract<Item, { kind: "gap" }>; conv: string }): JSX.Element {
  const t = useText();
  const { client, act } = useModel();
  const { from, to, reason } = item.gap;
  const missing = reason === "lost" || reason === "unknown";
  return (
    <li className={`gap ${missing ? "missing" : ""}`} data-key={item.key}>
      <span>{t[reason](to - from + 1)}</span>
      {missing && (
        <button type="button" className="link" onClick={() => void act(client.getMessages(conv, { range: [from, to], limit: 100 }))}>
          {t.fetch}
        </button>
      )}
    </li>
  );
}
