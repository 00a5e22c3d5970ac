/**
 * What a fake server keeps: each user's own view of their one-to-one conversations, and
 * one log per group. Nothing here sends or waits.
 */
import type { Body, GapReason, GroupSettings, Message, WireConversation, WireGap, WirePage } from "../wire.ts";

/** One seq of a view or of a group's log. */
export interface Entry {
  readonly message: Message;
  /** Position in the arrival order of the user (of the group), from 1. */
  readonly at: number;
  /** One-to-one: the same message's seq in the peer's view, 0 if it is not there. */
  readonly peerSeq: number;
  gone?: GapReason;
  /** A limit took it from the queue unread; history still has it. */
  lost?: boolean;
}

/** What one user has set and read in one conversation. */
export interface Own {
  readSeq: number;
  /** The highest seq that a readReport named: what the peer was told. */
  reported: number;
  peerReadSeq: number;
  muted: boolean;
  pinned: boolean;
  marked: boolean;
  /** In the list: not deleted since its last message. */
  listed: boolean;
  /** deleteConversation took what is up to this seq out of the queue. */
  dequeued: number;
  /** Seqs of a group that this member has deleted. */
  readonly hidden: Set<number>;
}

export function newOwn(): Own {
  return {
    readSeq: 0, reported: 0, peerReadSeq: 0, muted: false, pinned: false, marked: false, listed: true, dequeued: 0, hidden: new Set(),
  };
}

/** A conversation as one user sees it. Entry i has seq i + 1. */
export interface View {
  readonly conv: string;
  readonly user: string;
  readonly entries: Entry[];
  readonly own: Own;
  /** The lowest seq that the user may read. */
  readonly first: number;
  readonly group?: FakeGroup;
}

/** A place in an arrival order: a message, or a change as it is pushed. */
export type Item =
  | { readonly view: View | undefined; readonly entry: Entry }
  | { readonly op: string; readonly args: Record<string, unknown> };

export interface Membership {
  role: "owner" | "admin" | "member";
  mutedUntil: number;
  /** Newest seq and position of the group at the join. */
  readonly joined: number;
  readonly joinedAt: number;
  /** When that was, in Unix milliseconds. */
  readonly since: number;
  readonly own: Own;
}

export interface FakeGroup {
  readonly id: string;
  readonly kind: "private" | "public" | "chatroom" | "live";
  name: string;
  properties: Body;
  settings: GroupSettings;
  readonly entries: Entry[];
  readonly log: Item[];
  readonly members: Map<string, Membership>;
  readonly requests: Map<string, { message?: string; time: number }>;
  dismissed: boolean;
}

/** What a repeat of a send is answered with. */
export interface Sent {
  readonly id: string;
  readonly seq?: number;
  readonly time: number;
  /** The body in canonical form. */
  readonly body: string;
}

export interface FakeUser {
  readonly name: string;
  readonly views: Map<string, View>;
  /** Arrival order of all messages and changes of one-to-one conversations: item i is at i + 1. */
  readonly log: Item[];
  /** By conversation and cid. */
  readonly sent: Map<string, Sent>;
  readonly blocked: Set<string>;
  readonly watchers: Set<object>;
  lastSeen: number;
}

/** How long messages are kept, and how many; the server's defaults unless set. */
export interface Limits {
  /** Messages of a user's offline queue; default 1000. */
  offlineMessages: number;
  /** Milliseconds; default 7 days each. */
  offlineTTL: number;
  historyTTL: number;
  /** Conversations in the list; default 100. */
  recents: number;
  /** Milliseconds in which a sender may take a message back; default 2 minutes. */
  recallWindow: number;
  /** Milliseconds in which a repeated cid is known without `retry: true`; default 5 minutes. */
  dedupWindow: number;
  /** Bytes of a body, about as msgpack; default 12 KiB. */
  maxBody: number;
}

const week = 7 * 24 * 3600_000;

export const defaultLimits: Limits = {
  offlineMessages: 1000, offlineTTL: week, historyTTL: week, recents: 100, recallWindow: 120_000, dedupWindow: 300_000, maxBody: 12_288,
};

/** Why a seq shows no message, undefined if it does. */
export function goneReason(view: View, entry: Entry, now: number, limits: Limits): GapReason | undefined {
  const { seq, time, ttl } = entry.message;
  if (seq < view.first) return "notMember";
  if (entry.gone !== undefined) return entry.gone;
  if (view.own.hidden.has(seq)) return "deleted";
  const life = ttl === undefined ? limits.historyTTL : Math.min(ttl * 1000, limits.historyTTL);
  return now >= time + life ? "expired" : undefined;
}

/** The messages that count as unread, ascending. */
export function unreadEntries(view: View, now: number, limits: Limits): Entry[] {
  const { own, group } = view;
  if (group !== undefined && !group.settings.unread) return [];
  const from = Math.max(own.readSeq, own.dequeued, view.first - 1);
  return view.entries.slice(from).filter(
    (e) =>
      e.message.from !== view.user &&
      (group !== undefined || (!e.lost && now < e.message.time + limits.offlineTTL)) &&
      goneReason(view, e, now, limits) === undefined,
  );
}

/** The last message that can be shown. */
export function lastShown(view: View, now: number, limits: Limits): Entry | undefined {
  return view.entries.findLast((e) => goneReason(view, e, now, limits) === undefined);
}

/** A message as a view shows it: with its conv, and no time below that of the one before. */
export function shown(view: View, entry: Entry): Message {
  return view.group === undefined ? entry.message : { ...entry.message, conv: view.conv };
}

/** What entries and events say of a group that counts no unread. */
export function countsOf(group: FakeGroup | undefined): { counts?: false } {
  return group === undefined || group.settings.unread || !group.settings.stored ? {} : { counts: false };
}

/** The entry of a list of conversations. */
export function conversationOf(view: View, now: number, limits: Limits, cursor: string | undefined): WireConversation {
  const last = lastShown(view, now, limits);
  const unread = unreadEntries(view, now, limits).length;
  const { own } = view;
  return {
    conv: view.conv,
    lastSeq: last?.message.seq ?? 0,
    time: (last ?? view.entries.at(-1))?.message.time ?? view.group?.members.get(view.user)?.since ?? 0,
    readSeq: own.readSeq,
    ...(unread > 0 && { unread }),
    ...(own.peerReadSeq > 0 && { peerReadSeq: own.peerReadSeq }),
    ...(cursor !== undefined && { cursor }),
    ...(own.muted && { muted: true }),
    ...(own.pinned && { pinned: true }),
    ...(own.marked && { markedUnread: true }),
    ...countsOf(view.group),
  };
}

/** Runs of messages that limits took: above the read cursor, and after `since` in arrival order. */
export function lostRuns(view: View, since: number): { conv: string; from: number; to: number; count: number }[] {
  const runs: { conv: string; from: number; to: number; count: number }[] = [];
  let open = false;
  for (const e of view.entries.slice(Math.max(view.own.readSeq, view.own.dequeued))) {
    const { seq, from } = e.message;
    const last = runs.at(-1);
    if (e.lost && e.at > since) {
      if (open && last !== undefined) {
        last.to = seq;
        last.count++;
      } else {
        runs.push({ conv: view.conv, from: seq, to: seq, count: 1 });
      }
      open = true;
    } else if (from !== view.user) {
      open = false;
    }
  }
  return runs;
}

/** Seqs of held messages that one page may cover, and its gaps. */
const maxPageSeqs = 8192;
const maxGaps = 1000;

export interface PageArgs {
  readonly before?: number | undefined;
  readonly after?: number | undefined;
  readonly range?: readonly [number, number] | undefined;
  readonly limit: number;
}

/** A page of history. `limit` counts messages; what is covered extends over gaps to the next message or the end. */
export function pageOf(view: View, args: PageArgs, now: number, limits: Limits): WirePage {
  const newest = view.entries.length;
  const down = args.after === undefined && args.range === undefined;
  const low = Math.max(1, args.range?.[0] ?? (args.after ?? 0) + 1);
  const high = Math.min(newest, args.range?.[1] ?? (args.before ?? newest + 1) - 1);
  const messages: Message[] = [];
  const gaps: WireGap[] = [];
  let seq = down ? high : low;
  let covered = 0;
  for (; seq >= low && seq <= high; seq += down ? -1 : 1) {
    const entry = view.entries[seq - 1];
    if (entry === undefined) break;
    const reason = goneReason(view, entry, now, limits);
    if (reason === undefined) {
      if (messages.length === args.limit || covered === maxPageSeqs) break;
      messages.push(shown(view, entry));
      covered++;
    } else if (!addGap(gaps, seq, reason)) {
      break;
    }
  }
  const more = seq >= low && seq <= high;
  if (down) {
    messages.reverse();
    gaps.reverse();
  }
  if (low > high || high < 1) return { messages, from: 0, to: 0, gaps, more: false };
  return { messages, from: down ? seq + 1 : low, to: down ? high : seq - 1, gaps, more };
}

/** Joins neighbours of one reason. False when there are too many. */
function addGap(gaps: WireGap[], seq: number, reason: GapReason): boolean {
  const last = gaps.at(-1);
  if (last !== undefined && last.reason === reason && last.to + 1 === seq) {
    gaps[gaps.length - 1] = { ...last, to: seq };
  } else if (last !== undefined && last.reason === reason && last.from - 1 === seq) {
    gaps[gaps.length - 1] = { ...last, from: seq };
  } else {
    if (gaps.length === maxGaps) return false;
    gaps.push({ from: seq, to: seq, reason });
  }
  return true;
}

/** Takes the oldest message of the fullest conversation out of the queue until the limit is kept. */
export function keepQueueLimit(user: FakeUser, now: number, limits: Limits): void {
  for (;;) {
    const queues = [...user.views.values()].map((v) => unreadEntries(v, now, limits)).filter((q) => q.length > 0);
    if (queues.reduce((n, q) => n + q.length, 0) <= limits.offlineMessages) return;
    queues.sort((a, b) => b.length - a.length || (a[0]?.at ?? 0) - (b[0]?.at ?? 0));
    const oldest = queues[0]?.[0];
    if (oldest !== undefined) oldest.lost = true;
  }
}
