import type { Gap, Message, Row, WindowState } from "@belfry/client";
import { isEmoji, textOf } from "./conv.ts";

/** A message of the same sender within this time stands in one group with the one before. */
const groupMs = 5 * 60_000;

export interface MessageItem {
  readonly kind: "message";
  readonly key: string;
  readonly message: Message;
  readonly own: boolean;
  /** First and last of its group. */
  readonly first: boolean;
  readonly last: boolean;
  readonly big: boolean;
  readonly read: boolean;
}

export interface PendingItem {
  readonly kind: "pending";
  readonly key: string;
  readonly row: Extract<Row, { kind: "pending" }>;
  readonly first: boolean;
  readonly last: boolean;
  readonly big: boolean;
}

/** What the list of a conversation shows, from the top. */
export type Item =
  | MessageItem
  | PendingItem
  | { readonly kind: "day"; readonly key: string; readonly time: number }
  | { readonly kind: "unread"; readonly key: string }
  | { readonly kind: "gap"; readonly key: string; readonly gap: Gap };

export interface TimelineOptions {
  readonly user: string;
  /** Messages of others above it are under a divider; null: there is none. */
  readonly unreadAbove: number | null;
  /** Messages that are stored nowhere, oldest first. */
  readonly ephemeral?: readonly Message[];
}

const dayOf = (time: number): string => new Date(time).toDateString();
const big = (body: Message["body"]): boolean => isEmoji(textOf(body) ?? "");

/** Turns the rows of a window into what is shown: with days, the unread divider and groups. */
export function timeline(rows: readonly Row[], options: TimelineOptions): Item[] {
  const items: Item[] = [];
  let day = "";
  let divided = options.unreadAbove === null;
  const addMessage = (message: Message, key: string, read: boolean): void => {
    const own = message.from === options.user;
    if (dayOf(message.time) !== day) {
      day = dayOf(message.time);
      items.push({ kind: "day", key: `d:${day}`, time: message.time });
    }
    if (!divided && !own && message.seq > (options.unreadAbove ?? 0)) {
      divided = true;
      items.push({ kind: "unread", key: "unread" });
    }
    items.push({ kind: "message", key, message, own, first: true, last: true, big: big(message.body), read });
  };
  const inRows = new Set(rows.flatMap((row) => (row.kind === "message" && row.message.ephemeral ? [row.message.id] : [])));
  const ephemeral = (options.ephemeral ?? []).filter((message) => !inRows.has(message.id));
  const addEphemeral = (): void => {
    const message = ephemeral.shift()!;
    addMessage(message, `e:${message.id}`, false);
  };
  for (const row of rows) {
    if (row.kind === "message") {
      while (ephemeral[0] && ephemeral[0].time < row.message.time) addEphemeral();
      addMessage(row.message, `r:${row.key}`, row.receipt === "read");
    } else if (row.kind === "gap") {
      items.push({ kind: "gap", key: `r:${row.key}`, gap: row });
    } else {
      while (ephemeral[0]) addEphemeral();
      items.push({ kind: "pending", key: `r:${row.key}`, row, first: true, last: true, big: big(row.body) });
    }
  }
  while (ephemeral[0]) addEphemeral();
  return grouped(items, options.user);
}

function grouped(items: Item[], user: string): Item[] {
  const sender = (item: Item | undefined): string | null =>
    item?.kind === "message" ? item.message.from : item?.kind === "pending" ? user : null;
  const together = (a: Item | undefined, b: Item | undefined): boolean => {
    if (sender(a) === null || sender(a) !== sender(b) || a?.kind !== b?.kind) return false;
    return a?.kind !== "message" || b?.kind !== "message" || b.message.time - a.message.time < groupMs;
  };
  return items.map((item, i) =>
    item.kind === "message" || item.kind === "pending"
      ? { ...item, first: !together(items[i - 1], item), last: !together(item, items[i + 1]) }
      : item,
  );
}

/** The highest seq that the items show, 0 if there is none. */
export function newestSeq(rows: readonly Row[]): number {
  for (let i = rows.length - 1; i >= 0; i--) {
    const row = rows[i]!;
    if (row.kind === "message" && !row.message.ephemeral) return row.message.seq;
    if (row.kind === "gap") return row.to;
  }
  return 0;
}

/**
 * Reports whether a conversation has messages below a window that ends with the seq `newest`.
 * `lastSeq` is the newest that the list of conversations knows of: without a connection nothing else tells.
 */
export function hasNewer(after: WindowState["after"], newest: number, lastSeq: number): boolean {
  return after === "offline" ? lastSeq > newest : after !== "start";
}
