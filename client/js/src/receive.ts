/** Brings what the server pushes into the store, then acknowledges it and tells the tabs. */
import { BelfryError, type Events } from "./api.ts";
import type { Notice } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import type { Push, Session } from "./session.ts";
import { clusters, gapTile, type Batch, type Writer } from "./writer.ts";
import { add } from "./ranges.ts";
import type { Store } from "./store.ts";
import type { GapReason, Lost, Message, Pushes, Synced, WireConversation } from "./wire.ts";

/** The most pushes that wait to be stored; with one more the session is ended, and the next goes on from the cursor. */
const MAX_WAITING = 10_000;
/** The most frames of messages that share a write. */
const MAX_SHARED = 64;
/** The most answers since a login whose effects come again behind its onSynced; the oldest are left out. */
const MAX_AGAIN = 1000;
/** The most messages that a handler gets at once. */
const MAX_LIST = 100;

export interface ReceiveOptions {
  readonly store: Store;
  readonly writer: Writer;
  readonly outbox: Outbox;
  readonly session: Session;
  readonly user: string;
  readonly manualRead: boolean;
  /** The cursor that the login named. */
  readonly since: string | undefined;
  tell(notice: Notice): void;
  /** The login's pushes are stored. */
  synced(): void;
  /** The store failed, or a push was wrong. */
  failed(err: unknown): void;
}

/** What a reply changes in the store. It does not reject. */
type Effect = () => Promise<void>;

/** Makes a request whose `effect` on the store comes in the order of the server's frames; resolves when both are done. */
export type Ask = (op: string, args: object, effect?: (ok: never) => Promise<unknown>, signal?: AbortSignal) => Promise<unknown>;

/** A session's requests; `take` is its receiver. */
export function asking(session: Session, take: (effect: Effect) => void): Ask {
  return async (op, args, effect, signal) => {
    let done: Promise<unknown> | undefined;
    const answered = (ok: unknown) => {
      done = new Promise((resolve, reject) => take(() => effect!(ok as never).then(resolve, reject)));
      done.catch(() => {}); // whoever waits hears of it
    };
    const ok = await session.request(op, args, signal, effect && answered);
    await done;
    return ok;
  };
}

/** Returns what takes the pushes of one session, and the effects of replies among them, in the order of their frames. */
export function receiver(o: ReceiveOptions): (next: Push | Effect) => void {
  const { store, writer, outbox, session, user, tell } = o;
  const say = <Name extends keyof Events>(name: Name, of: Events[Name]) => tell({ event: { name, of } as Notice["event"] & {} });
  const waiting: (Push | Effect)[] = [];
  let busy = false;
  let over = false; // nothing more is stored: what is left comes again with the next session
  let live = false; // onSynced was stored
  // What answers changed since the login: onSynced says what was before, so this is done again.
  const again: Effect[] = [];
  // Whether the server went on from the cursor. A sync that did not has a cursor in its last
  // frame only: so that one cursor is held back until a further frame or onSynced is there.
  let proven = o.since === undefined;
  let held: string | undefined;
  let parts: Pushes["onConversations"] = {};
  // What the sync brought, in case that all else has to go.
  const brought = new Map<string, Map<number, Message>>();

  const drain = async () => {
    busy = true;
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      if (typeof next === "function") {
        if (!live && again.push(next) > MAX_AGAIN) again.shift();
        await next();
      } else if (!over) await handle(next);
    }
    busy = false; // with no pause after the last look, so that nothing is left behind
  };

  const handle = async (push: Push) => {
    try {
      if (push.op !== "onNewMessage") return await handlers[push.op]?.(push.args as never);
      const room = writer.room();
      if (room) {
        // Replies go on, so that a handler can wait for one.
        over = true;
        return void room.then(() => session.close());
      }
      const frames = [push.args];
      for (let next = waiting[0]; frames.length < MAX_SHARED && next && "op" in next && next.op === "onNewMessage"; next = waiting[0]) {
        frames.push(next.args);
        waiting.shift();
      }
      await messages(frames);
    } catch (err) {
      over = true;
      o.failed(err);
    }
  };

  const messages = async (frames: readonly Pushes["onNewMessage"][]) => {
    const cursor = frames.reduce<string | undefined>((newest, frame) => advance(frame.cursor) ?? newest, undefined);
    const { told, fresh, passing } = await writer.commit(async (batch) => {
      const fresh: Message[] = [];
      const passing: Message[] = []; // stored nowhere: told now or never
      const anew = new Set<string>();
      for (const frame of frames) {
        for (const message of frame.messages) {
          if (!(await receive(batch, message, anew))) continue;
          if (message.ephemeral) passing.push({ ...message, seq: 0 });
          else (writer.unstored(message.conv) ? passing : fresh).push(message);
        }
        for (const [group, at] of Object.entries(frame.groupCursors ?? {})) batch.edit(`g:${group}`, { cursor: at });
      }
      if (cursor !== undefined) batch.put("meta", ["cursor"], cursor);
      return { fresh: lists(fresh), told: batch.told(lists(fresh)), passing: lists(passing) };
    });
    try {
      session.notify("ack", { d: frames.at(-1)!.d });
    } finally {
      // They are stored: without an ack they come again, but are not new then.
      for (const of of passing) say("messages", of);
      fresh.forEach((of, i) => tell({ told: told + i, event: { name: "messages", of } }));
      for (const { skipped } of frames) if (skipped) say("skipped", skipped);
    }
  };

  /** Returns the cursor to be stored now that a frame with this one is here. */
  const advance = (cursor: string | undefined): string | undefined => {
    if (proven) return cursor;
    const before = held;
    proven = before !== undefined;
    held = proven ? undefined : cursor;
    return proven ? (cursor ?? before) : undefined;
  };

  /** Reports whether the message is new to this device. Conversations that begin anew in this batch are added to `anew`. */
  const receive = async (batch: Batch, message: Message, anew: Set<string>): Promise<boolean> => {
    const { conv, seq } = message;
    if (message.ephemeral) return true;
    const mine = message.from === user;
    const answer = mine && outbox.settle(batch, message);
    if (!live && (!proven || conv.startsWith("g:"))) {
      if (!brought.has(conv)) brought.set(conv, new Map());
      brought.get(conv)!.set(seq, message);
    }
    if (batch.covers(conv, seq, message.time)) {
      if (anew.has(conv) || !(await isOther(message))) return false;
      // What the store has of the conversation is of one before: of another epoch, or of a group whose id was taken anew.
      anew.add(conv);
      batch.remove("messages", [conv], [conv, ""]);
      batch.forget(conv);
    }
    newMessage(batch, message, writer.unstored(conv));
    const { readSeq, unread = 0, counts } = batch.entry(conv);
    const read = conv.startsWith("g:") ? mine : !mine && !o.manualRead;
    if (live && read) batch.edit(conv, { readSeq: Math.max(readSeq, seq), unread: 0 });
    else if (live && !mine && seq > readSeq && counts !== false) batch.edit(conv, { unread: unread + 1 });
    return !answer;
  };

  /** Whether the store has another message in its place. */
  const isOther = async ({ conv, seq, id }: Message): Promise<boolean> => {
    const row = (await store.get("messages", [conv, seq])) as unknown as Partial<Message> | undefined;
    return row?.id !== undefined && row.id !== id;
  };

  const handlers: { [Op in Push["op"]]?: (args: Pushes[Op]) => Promise<void> | void } = {
    async onSynced(args) {
      const { cursor, ...rest } = args;
      const synced: Synced = { ...rest, ...merge(parts, rest) };
      parts = {};
      await writer.commit(async (batch) => {
        if (synced.reset) forget(batch, writer, brought, synced.resetGroups);
        batch.put("meta", ["cursor"], cursor);
        if (synced.conversations) batch.put("meta", ["listed"], true);
        const named = new Set<string>();
        for (const entry of [...(synced.conversations ?? []), ...(synced.users ?? []), ...synced.groups]) {
          named.add(entry.conv);
          await listed(batch, entry);
        }
        for (const { conv, unread, markedUnread } of writer.entries.values()) {
          // All that is unread is named, but for groups that do not serve now.
          if ((unread || markedUnread) && conv.startsWith("u:") && !named.has(conv)) batch.edit(conv, { unread: 0, markedUnread: false });
        }
        for (const lost of synced.lost) lose(batch, lost);
        // What was unread as the login began has been acknowledged, and so been read.
        if (!o.manualRead) for (const conv of named) if (conv.startsWith("u:")) batch.edit(conv, { unread: 0, readSeq: batch.entry(conv).newest });
      });
      proven = live = true;
      // Of another epoch nothing is known but what is said now.
      for (const change of again.splice(0)) if (!synced.reset) await change();
      held = undefined;
      brought.clear();
      if (over) return;
      o.synced();
      say("synced", synced);
    },
    onConversations(args) {
      parts = merge(parts, args);
    },
    async onReadReport(args) {
      // It may be of an automatic read, which leaves the mark as unread; onConversationChanged says so if it does not.
      await writer.commit((batch) => batch.readTo(args.conv, args.seq));
      say("readReport", args);
    },
    async onReadReceipt(args) {
      const { conv, seq } = args;
      await writer.commit((batch) => batch.known(conv) && batch.edit(conv, { peerReadSeq: Math.max(batch.entry(conv).peerReadSeq ?? 0, seq) }));
      say("readReceipt", args);
    },
    async onRecall(args) {
      const { conv, sender, by, ranges } = args;
      // An administrator of the server deletes; `by` is empty then.
      const reason: GapReason = by ? "recalled" : "deleted";
      await gone(writer, conv, ranges, reason, sender);
      say("recall", args);
    },
    async onMessageDeleted(args) {
      await gone(writer, args.conv, single(args.seqs), "deleted");
      say("messagesDeleted", args);
    },
    async onConversationDeleted(args) {
      await writer.commit((batch) => deleteConversation(batch, args.conv, !!args.messages, args.upTo));
      say("conversationDeleted", args);
    },
    async onConversationChanged(args) {
      const { conv, muted, pinned, unread } = args;
      await writer.commit((batch) => batch.edit(conv, { muted, pinned, markedUnread: unread }));
      say("conversationChanged", args);
    },
    async onGroupEvent(args) {
      const { group, event, users, by, cursor, counts = true } = args;
      const conv = `g:${group}`;
      const left = event === "left" || event === "removed";
      await writer.commit(async (batch) => {
        if (["created", "joined", "changed"].includes(event) && counts !== (batch.entry(conv).counts ?? true)) {
          batch.edit(conv, { counts, unread: counts ? Infinity : 0 });
          await batch.readTo(conv, 0); // no more than there can be
        }
        // What came before the user joined was not pushed.
        if (cursor) batch.edit(conv, { cursor, listed: true, top: false, time: Math.max(batch.entry(conv).time, args.time) });
        else if (batch.known(conv) && (event === "dismissed" || (left && (users?.includes(user) ?? by === user)))) {
          const { cursor: _, ...rest } = batch.entry(conv);
          batch.edit(conv, { ...rest, cursor: "", listed: false, unread: 0 });
        }
      });
      say("groupEvent", args);
    },
    onBlocked: (of) => say("blocked", of),
    onPresence: (of) => say("presence", of),
    onTyping: (of) => say("typing", of),
  };

  void session.ended.then(() => (over = true));
  return (next) => {
    if (typeof next !== "function") {
      // What follows on a push that could not be stored must not be acknowledged.
      if (over) return;
      if (waiting.length >= MAX_WAITING) return o.failed(new BelfryError("internal", "too many pushes wait"));
    }
    waiting.push(next);
    if (!busy) void drain();
  };
}

/** In lists as long as the application is given. */
function lists(messages: readonly Message[]): Message[][] {
  return Array.from({ length: Math.ceil(messages.length / MAX_LIST) }, (_, i) => messages.slice(i * MAX_LIST, (i + 1) * MAX_LIST));
}

/** Stores a message, and makes it the last one of its conversation if it is. */
export function newMessage(batch: Batch, message: Message, unstored: boolean): void {
  const { conv, seq, time } = message;
  batch.message(message);
  if (seq <= batch.entry(conv).lastSeq) return;
  batch.edit(conv, { lastSeq: seq, time, listed: true, last: unstored ? undefined : message });
}

/** Takes over an entry of a list of conversations, less what was deleted on this device: the server may not know of it. */
export async function listed(batch: Batch, { last: _, ...entry }: WireConversation): Promise<void> {
  const { conv, lastSeq } = entry;
  const had = batch.entry(conv);
  const { dequeued = 0, deleted = 0 } = had;
  // A message of this very moment may be stored already, and the newest one deleted here.
  const keep = had.lastSeq > lastSeq || batch.covers(conv, lastSeq);
  batch.edit(conv, {
    unread: 0, peerReadSeq: 0, muted: false, pinned: false, markedUnread: false, counts: true,
    ...entry,
    ...(keep ? { lastSeq: had.lastSeq, time: had.time } : { last: undefined }),
    listed: had.listed || !dequeued || lastSeq > dequeued,
    newest: Math.max(had.newest, lastSeq),
    top: true,
  });
  if (Math.max(dequeued, deleted) > entry.readSeq) await batch.readTo(conv, 0);
}

function lose(batch: Batch, { conv, from, to }: Lost): void {
  const { lost, newest } = batch.entry(conv);
  batch.edit(conv, { lost: add(lost, from, to), newest: Math.max(newest, to) });
}

/** Seqs as ranges of one each. */
export function single(seqs: readonly number[]): (readonly [number, number])[] {
  return seqs.map((seq) => [seq, seq]);
}

/** Makes messages gaps, in one write for those that are near each other. With `sender` only that member's that are held. */
export async function gone(writer: Writer, conv: string, ranges: readonly (readonly [number, number])[], reason: GapReason, sender?: string): Promise<void> {
  const hit = (seq: number) => ranges.some(([from, to]) => from <= seq && seq <= to);
  for (const [from, to] of clusters(ranges)) {
    await writer.commit((batch) =>
      batch.rewrite(conv, from, to, (tile) => {
        if (tile.gap || (sender !== undefined && tile.message?.from !== sender)) return [tile];
        if (tile.message) return [hit(tile.from) ? gapTile(tile, reason) : tile];
        return cut(tile, ranges).map((part) => (hit(part.from) ? gapTile(part, reason) : part));
      }, true),
    );
  }
}

/** A hole in parts that lie inside or outside of the ranges. */
function cut(hole: { from: number; to: number }, ranges: readonly (readonly [number, number])[]): { from: number; to: number }[] {
  const starts = ranges.flatMap(([from, to]) => [from, to + 1]).filter((at) => at > hole.from && at <= hole.to);
  const at = [...new Set([hole.from, ...starts])].sort((a, b) => a - b);
  return at.map((from, i) => ({ from, to: (at[i + 1] ?? hole.to + 1) - 1 }));
}

/** Takes a conversation off the list, with `messages` also what is up to a seq; without one all that is known. */
export async function deleteConversation(batch: Batch, conv: string, messages: boolean, upTo?: number): Promise<void> {
  if (!batch.known(conv)) return;
  const { newest, lastSeq, dequeued = 0 } = batch.entry(conv);
  const to = upTo ?? newest;
  if (messages) await batch.clear(conv, to, "deleted");
  batch.edit(conv, { dequeued: Math.max(dequeued, to), ...(lastSeq <= to && { listed: false, markedUnread: false }) });
  await batch.readTo(conv, 0);
}

/** Forgets all of another epoch, or these groups: what this session did not bring. */
function forget(batch: Batch, writer: Writer, brought: ReadonlyMap<string, ReadonlyMap<number, Message>>, groups?: readonly string[]): void {
  for (const conv of groups?.map((group) => `g:${group}`) ?? writer.entries.keys()) {
    const unstored = writer.unstored(conv);
    batch.remove("messages", [conv], [conv, ""]);
    batch.forget(conv);
    batch.edit(conv, { time: 0, listed: false, cursor: "" });
    for (const message of brought.get(conv)?.values() ?? []) newMessage(batch, message, unstored);
  }
}

function merge(a: Pushes["onConversations"], b: Pushes["onConversations"]): Pushes["onConversations"] {
  const out: Record<string, unknown[]> = {};
  for (const key of ["lost", "conversations", "users", "groups"] as const) {
    if (a[key] || b[key]) out[key] = [...(a[key] ?? []), ...(b[key] ?? [])];
  }
  return out;
}
