/**
 * The one writer of the store. Commits follow each other; each is one write, after
 * which the tabs are told. Entries of conversations are also held in memory (a user
 * has at most some 11,000), so that a push needs no read.
 */
import { asValue, isGap, isOver, newestTold, rows, tileOf, tiles, type Tile } from "./history.ts";
import type { Notice, Settled, StoredConversation, StoredRow } from "./link.ts";
import { add, has, missing, pairs, subtract, type Ranges } from "./ranges.ts";
import { StoreError, type Change, type Key, type Store, type Table } from "./store.ts";
import type { GapReason, Message, WirePage } from "./wire.ts";

/** The most covered ranges of a conversation. Past that the oldest are forgotten, with their rows, and can be fetched again; but for deletions. */
const MAX_RANGES = 1000;
/** Rows per conversation that stay when the store has no more room, with the gaps of deletions. */
const KEPT_WITHOUT_ROOM = 200;
/** How many of those that go are read at once. */
const ROWS_AT_ONCE = 500;
/** How many lists of new messages are kept for tabs that were suspended; more while the application has not handled those. */
const KEPT_TOLD = 500;
/** How many messages above the read cursor are looked through for what is unread; further ones count as such. */
const MAX_COUNTED = 1000;
/** How many lists the application may be behind. Past that nothing more is received until it has handled half of them. */
const MAX_UNHANDLED = 1000;
/** How many rows are looked through for the message that takes the place of a last one that is gone. */
const LAST_AMONG = 200;

/** Which seqs came, and the latest time among them. */
interface Received {
  readonly seqs: Ranges;
  readonly time: number;
}

const nothing: Received = { seqs: [], time: 0 };

/** The changes of one commit. Reads see the store as it was before it. */
export interface Batch {
  put(table: Table, key: Key, value: object | string | boolean): void;
  remove(table: Table, from: Key, to: Key): void;
  /** The entry as this batch leaves it; a new one is in no list. */
  entry(conv: string): StoredConversation;
  known(conv: string): boolean;
  /** `last: undefined` removes it. */
  edit(conv: string, patch: Patch): void;
  /** Stores a message and covers its seq. */
  message(message: Message): void;
  /**
   * Whether the seq is covered: by a message, or by knowing why there is none. In an unstored
   * conversation a message later than all that came is of a group whose id was taken anew.
   */
  covers(conv: string, seq: number, time?: number): boolean;
  /**
   * Replaces what there is in `from`-`to`: `decide` gets tiles, ascending, holes among
   * them, and returns what takes their place. Once per conversation and batch. A message
   * that becomes a gap is not unread any more; with `told` (it became one just now) nor is
   * one that is not held.
   */
  rewrite(conv: string, from: number, to: number, decide: (tile: Tile) => readonly Tile[], told?: boolean): Promise<void>;
  /** The user has read up to a seq. What is unread then, if nobody says it, follows from what is known above. */
  readTo(conv: string, seq: number, unread?: number): Promise<void>;
  /** Makes seqs up to `to` a gap without reading them. */
  clear(conv: string, to: number, reason: GapReason): Promise<void>;
  /** Knows nothing of a conversation any more, but its list entry's settings and cursor. Its rows are the caller's to remove. */
  forget(conv: string): void;
  /** The outbox of these conversations changes. */
  outbox(...convs: string[]): void;
  settled(settled: Settled): void;
  /** Keeps which messages are new, for tabs that cannot be told now. Returns the number of the first list. */
  told(lists: readonly (readonly Message[])[]): number;
  /** Runs fn once the batch is written. */
  after(fn: () => void): void;
}

type Patch = Partial<Omit<StoredConversation, "last">> & { readonly last?: Message | undefined };

export interface Writer {
  readonly entries: ReadonlyMap<string, StoredConversation>;
  /** Keeps messages of this conversation nowhere. */
  unstored(conv: string): boolean;
  /**
   * Runs fn when all earlier commits are done, writes its batch and tells the tabs.
   * Rejects, and changes nothing, when fn or the store does. When the store has no
   * more room it forgets old rows and runs fn once more, so fn leaves effects to `after`.
   */
  commit<T>(fn: (batch: Batch) => Promise<T> | T): Promise<T>;
  /** Forgets old rows, for what others have to add to a store that is full. */
  makeRoom(): Promise<void>;
  /** Makes messages gone whose ttl is over, and returns when the next one's is (Unix ms); Infinity = none. */
  expire(now: number): Promise<number>;
  /** Notes that the application has handled all lists up to this one. */
  handled(told: number): Promise<void>;
  /** Undefined if more messages may be received, or resolves when they may, since the application has handled some. */
  room(): Promise<void> | undefined;
}

export interface WriterOptions {
  readonly store: Store;
  readonly user: string;
  readonly withoutStorage: boolean;
  tell(notice: Notice): void;
  now(): number;
  /** A message was stored that has a ttl. */
  expires(): void;
  /** The store failed; undefined after the first write since that did not. */
  failed(err: StoreError | undefined): void;
}

export async function newWriter({ store, user, withoutStorage, tell, now, expires, failed }: WriterOptions): Promise<Writer> {
  const entries = new Map<string, StoredConversation>();
  for (const { value } of await store.list("conversations", {})) {
    const entry = value as unknown as StoredConversation;
    entries.set(entry.conv, entry);
  }
  // Of conversations that are not stored: what was received, as long as this engine lives.
  const volatile = new Map<string, Received>();
  const unstored = (conv: string) => withoutStorage || !!entries.get(conv)?.unstored;
  let lane: Promise<unknown> = Promise.resolve();
  let told = await newestTold(store);
  let handled = Number((await store.get("meta", ["handled"])) ?? 0);
  const waiting: (() => void)[] = [];

  const newBatch = () => {
    const changes: Change[] = [];
    const edited = new Map<string, StoredConversation>();
    const outbox = new Set<string>();
    const came = new Set<string>(); // conversations of messages
    const settled: Settled[] = [];
    const then: (() => void)[] = [];
    const received = new Map<string, Received>();
    const had = (conv: string): Received => received.get(conv) ?? volatile.get(conv) ?? nothing;
    const entry = (conv: string) => edited.get(conv) ?? entries.get(conv) ?? newEntry(conv);
    const edit: Batch["edit"] = (conv, patch) => {
      const { last, ...rest } = { ...entry(conv), ...patch };
      edited.set(conv, last ? { ...rest, last } : rest);
    };
    const put: Batch["put"] = (table, key, value) => void changes.push({ table, key, value: typeof value === "object" ? asValue(value) : value });
    const remove: Batch["remove"] = (table, from, to) => void changes.push({ table, remove: { from, to } });
    const removeRow = (conv: string, seq: number) => remove("messages", [conv, seq], [conv, seq + 1]);
    const cover = (conv: string, from: number, to: number, gap?: GapReason) => {
      const { covered, lost, newest, deleted = 0 } = entry(conv);
      edit(conv, {
        covered: add(covered, from, to), lost: subtract(lost, from, to), newest: Math.max(newest, to),
        deleted: gap === "deleted" ? Math.max(deleted, to) : deleted,
      });
    };

    const mortal = ({ conv, seq, time, ttl }: Message) => {
      if (!ttl) return;
      put("meta", ["ttl", time + ttl * 1000, conv, seq], true);
      then.push(expires);
    };

    const batch: Batch = {
      put,
      remove,
      entry,
      edit,
      known: (conv) => edited.has(conv) || entries.has(conv),
      forget(conv) {
        edit(conv, { lastSeq: 0, readSeq: 0, dequeued: 0, deleted: 0, unread: 0, covered: [], lost: [], newest: 0, top: false, last: undefined });
        received.set(conv, nothing);
      },
      outbox: (...convs) => convs.forEach((conv) => outbox.add(conv)),
      settled: (one) => void settled.push(one),
      told(lists) {
        const first = told + 1;
        lists.forEach((list, i) => put("meta", ["told", first + i], list.flatMap(({ conv, seq, id }) => [conv, seq, id])));
        const last = told + lists.length;
        if (last > KEPT_TOLD) remove("meta", ["told"], ["told", Math.min(last - KEPT_TOLD, handled + 1)]);
        then.push(() => (told = last));
        return first;
      },
      after: (fn) => void then.push(fn),
      covers: (conv, seq, time = 0) => has(unstored(conv) ? (time > had(conv).time ? [] : had(conv).seqs) : entry(conv).covered, seq),
      message(message) {
        const { conv, seq, time } = message;
        if (unstored(conv)) {
          const before = had(conv);
          const { seqs } = has(before.seqs, seq) && time > before.time ? nothing : before;
          received.set(conv, { seqs: add(seqs, seq, seq).slice(-2 * MAX_RANGES), time: Math.max(before.time, time) });
          edit(conv, { newest: Math.max(entry(conv).newest, seq), top: true });
          return;
        }
        put("messages", [conv, seq], message);
        mortal(message);
        cover(conv, seq, seq);
        edit(conv, { top: true });
        came.add(conv);
      },
      async rewrite(conv, from, to, decide, told = false) {
        if (to < from || unstored(conv)) return;
        const old = await span(store, conv, from, to);
        const fresh = join(old.flatMap((tile) => split(tile, from, to).flatMap((part) => (part.from < from || part.to > to ? [part] : decide(part)))));
        const kept = new Set(fresh.map((tile) => tile.message));
        for (const tile of old) if (tile.gap || (tile.message && !kept.has(tile.message))) removeRow(conv, tile.to);
        const had = new Set(old.map((tile) => tile.message));
        for (const { from: a, to: b, gap, message } of fresh) {
          if (gap) put("messages", [conv, b], { gap: a, to: b, reason: gap });
          else if (message && !had.has(message)) put("messages", [conv, b], message);
          if (message && !had.has(message)) mortal(message);
          if (gap || message) cover(conv, a, b, gap);
        }
        const { lastSeq, unread = 0 } = entry(conv);
        if (unread > 0) {
          const was = countOf(old, entry(conv), user);
          const is = countOf(fresh, entry(conv), user);
          let fell = Math.max(0, was.held - is.held);
          if (told && was.unheld > is.unheld) {
            const { held } = await unreadOf(store, entry(conv), user, true);
            fell += Math.min(was.unheld - is.unheld, Math.max(0, unread - held));
          }
          edit(conv, { unread: Math.max(0, unread - fell) });
        }
        const gone = lastSeq >= from && lastSeq <= to && fresh.some((tile) => tile.gap && tile.from <= lastSeq && lastSeq <= tile.to);
        if (gone) edit(conv, await lastBelow(store, conv, fresh, from, lastSeq, now()));
      },
      async readTo(conv, seq, unread) {
        if (!batch.known(conv)) return;
        const had = entry(conv);
        edit(conv, { readSeq: Math.max(had.readSeq, Math.min(seq, had.newest)) });
        if (unread === undefined && had.unread) {
          const { held, unheld } = await unreadOf(store, entry(conv), user, !unstored(conv));
          unread = Math.min(had.unread, held + unheld);
        }
        edit(conv, { unread: unread ?? 0 });
      },
      async clear(conv, to, reason) {
        if (to < 1 || unstored(conv)) return;
        remove("messages", [conv, 0], [conv, to + 1]);
        const [next] = await rows(store, conv, to + 1, Number.MAX_SAFE_INTEGER - 1, 1);
        const joined = next && isGap(next) && next.gap <= to + 1 ? next : undefined;
        const same = joined?.reason === reason;
        if (!same) put("messages", [conv, to], { gap: 1, to, reason });
        if (joined) put("messages", [conv, joined.to], { ...joined, gap: same ? 1 : to + 1 });
        cover(conv, 1, to, reason);
        if (entry(conv).lastSeq <= to) edit(conv, { lastSeq: 0, last: undefined });
      },
    };
    const write = async () => {
      for (const conv of came) {
        const { covered } = entry(conv);
        if (covered.length <= Math.max(2 * MAX_RANGES, entries.get(conv)?.covered.length ?? 0)) continue;
        const less = await below(store, conv, covered, covered.at(-2 * MAX_RANGES)!);
        changes.push(...less.changes);
        edit(conv, { covered: less.covered });
      }
      for (const [conv, value] of edited) put("conversations", [conv], value);
      if (changes.length > 0) {
        await store.write(changes);
        failed(undefined);
      }
      for (const [conv, value] of edited) entries.set(conv, value);
      for (const [conv, of] of received) volatile.set(conv, of);
      for (const fn of then) fn();
      if (edited.size + outbox.size > 0) {
        tell({ changed: { conversations: [...edited.keys()], outbox: [...outbox] }, ...(settled.length > 0 && { settled }) });
      }
    };
    return { batch, write };
  };

  const attempt = async <T>(fn: (batch: Batch) => Promise<T> | T): Promise<T> => {
    const { batch, write } = newBatch();
    const result = await fn(batch);
    await write();
    return result;
  };

  const run = async <T>(fn: (batch: Batch) => Promise<T> | T): Promise<T> => {
    return attempt(fn).catch(async (err: unknown) => {
      if (!(err instanceof StoreError)) throw err;
      failed(err);
      if (err.failure !== "quota") throw err;
      await makeRoom();
      return attempt(fn);
    });
  };

  /** Forgets all but the newest rows of each conversation, which can be fetched again, and deletions. */
  const makeRoom = async () => {
    for (const [conv, entry] of entries) {
      const oldest = (await rows(store, conv, 0, Number.MAX_SAFE_INTEGER - 1, KEPT_WITHOUT_ROOM, true)).at(-1);
      if (!oldest) continue;
      const { changes, covered } = await below(store, conv, entry.covered, isGap(oldest) ? oldest.gap : oldest.seq);
      const fresh = { ...entry, covered };
      await store.write([...changes, { table: "conversations", key: [conv], value: asValue(fresh) }]);
      entries.set(conv, fresh);
    }
    tell({ changed: { all: true } });
  };

  const inTurn = <T>(fn: () => Promise<T>): Promise<T> => {
    const result = lane.then(fn);
    lane = result.catch(() => {});
    return result;
  };
  const commit: Writer["commit"] = (fn) => inTurn(() => run(fn));

  return {
    entries,
    unstored,
    commit,
    makeRoom: () => inTurn(makeRoom),
    async handled(to) {
      handled = Math.max(handled, to);
      if (told - handled <= MAX_UNHANDLED / 2) for (const go of waiting.splice(0)) go();
      await store.write([{ table: "meta", key: ["handled"], value: handled }], undefined, true);
    },
    room: () => (told - handled <= MAX_UNHANDLED ? undefined : new Promise<void>((go) => waiting.push(go))),
    async expire(time) {
      for (;;) {
        const due = (await store.list("meta", { from: ["ttl"], to: ["ttl", ""], limit: 1 }))[0];
        if (!due) return Infinity;
        const [, when, conv, seq] = due.key as [string, number, string, number];
        if (when > time) return when;
        await commit(async (batch) => {
          batch.remove("meta", due.key, [...due.key, ""]);
          await batch.rewrite(conv, seq, seq, (tile) => [tile.message && isOver(tile.message, time) ? gapTile(tile, "expired") : tile]);
        });
      }
    },
  };
}

export function newEntry(conv: string): StoredConversation {
  return { conv, lastSeq: 0, time: 0, readSeq: 0, listed: false, covered: [], lost: [], newest: 0 };
}

interface Unread {
  readonly held: number;
  readonly unheld: number;
}

/**
 * How many messages, and how many seqs that are not held, are unread unless they are
 * gone. Of a conversation with a user the latter are none, as logins push all of their
 * queue; in a group nothing of the user's own lies above the read cursor, as sending moves it.
 */
function countOf(tiles: readonly Tile[], { conv, readSeq, dequeued = 0, lost }: StoredConversation, user: string): Unread {
  let [held, unheld] = [0, 0];
  for (const { from, to, message, gap } of tiles) {
    const low = Math.max(from, readSeq + 1, dequeued + 1);
    if (gap || low > to || message?.from === user) continue;
    if (message) held++;
    else if (conv.startsWith("g:")) for (const [a, b] of pairs(missing(lost, low, to))) unheld += b - a + 1;
  }
  return { held, unheld };
}

/** The same of all that is above the read cursor. What is not stored, or not looked at any more, is not held. */
async function unreadOf(store: Store, entry: StoredConversation, user: string, stored: boolean): Promise<Unread> {
  const { conv, readSeq, dequeued = 0, newest } = entry;
  const from = Math.max(readSeq, dequeued) + 1;
  const found = stored ? await tiles(store, conv, from, newest, MAX_COUNTED, 0) : [];
  const { held, unheld } = countOf(found, entry, user);
  return { held, unheld: unheld + Math.max(0, newest - (found.at(-1)?.to ?? from - 1)) };
}

export function gapTile({ from, to }: { from: number; to: number }, gap: GapReason): Tile {
  return { from, to, gap };
}

/** What a page of history says of a hole: tiles of messages and gaps, and holes where it says nothing. */
export function fromPage(page: WirePage, hole: Tile): Tile[] {
  const known: Tile[] = [
    ...page.messages.map((message) => ({ from: message.seq, to: message.seq, message })),
    ...page.gaps.map((gap) => gapTile(gap, gap.reason)),
  ].sort((a, b) => a.from - b.from);
  return filled(known.flatMap((tile) => split(tile, hole.from, hole.to).filter(({ from, to }) => from >= hole.from && to <= hole.to)), hole);
}

/** Tiles, with the holes between them in `from`-`to`. */
function filled(known: readonly Tile[], { from, to }: { from: number; to: number }): Tile[] {
  const out: Tile[] = [];
  let at = from;
  for (const tile of known) {
    if (tile.from > at) out.push({ from: at, to: Math.min(to, tile.from - 1) });
    out.push(tile);
    at = Math.max(at, tile.to + 1);
  }
  if (at <= to) out.push({ from: at, to });
  return out.filter((tile) => tile.from <= tile.to);
}

/**
 * Forgets what is below a seq, where no gap begins before it and ends behind: returns the changes, and what is covered then.
 * What was deleted stays known, as this device may be the only one that knows it.
 */
async function below(store: Store, conv: string, covered: Ranges, seq: number): Promise<{ changes: Change[]; covered: Ranges }> {
  const changes: Change[] = [];
  covered = subtract(covered, 0, seq - 1);
  let from = 0;
  const remove = (to: number) => void changes.push({ table: "messages", remove: { from: [conv, from], to: [conv, to] } });
  let part: StoredRow[];
  for (let at = 0; (part = await rows(store, conv, at, seq - 1, ROWS_AT_ONCE)).length > 0; ) {
    for (const row of part) {
      at = (isGap(row) ? row.to : row.seq) + 1;
      if (!isGap(row) || row.reason !== "deleted") continue;
      remove(row.to);
      from = at;
      covered = add(covered, row.gap, row.to);
    }
  }
  remove(seq);
  return { changes, covered };
}

/** Neighbouring seqs in clusters [from, to], so that few rows lie between those of one. */
export function clusters(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const out: [number, number][] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = out.at(-1);
    if (last && from - last[1] < 100) last[1] = Math.max(last[1], to);
    else out.push([from, to]);
  }
  return out;
}

/** All tiles that touch `from`-`to` or are next to it, uncut, with the holes inside. */
async function span(store: Store, conv: string, from: number, to: number): Promise<Tile[]> {
  const entries = await store.list("messages", { from: [conv, from - 1], to: [conv, to + 1] });
  const next = (await store.list("messages", { from: [conv, to + 1], to: [conv, ""], limit: 1 }))[0];
  const known = [...entries, ...(next ? [next] : [])]
    .map((entry) => tileOf(entry.value as never, 0))
    .filter((tile) => tile.from <= to + 1 && (tile.gap || (tile.from >= from && tile.to <= to)));
  return filled(known, { from, to });
}

/** A tile cut where `from`-`to` begins and ends. */
function split(tile: Tile, from: number, to: number): Tile[] {
  return [
    { ...tile, to: Math.min(tile.to, from - 1) },
    { ...tile, from: Math.max(tile.from, from), to: Math.min(tile.to, to) },
    { ...tile, from: Math.max(tile.from, to + 1) },
  ].filter((part) => part.from <= part.to);
}

/** Neighbouring gaps of one reason become one. */
function join(tiles: readonly Tile[]): Tile[] {
  const out: Tile[] = [];
  for (const tile of tiles) {
    const last = out.at(-1);
    if (last?.gap && last.gap === tile.gap && last.to === tile.from - 1) out[out.length - 1] = { ...last, to: tile.to };
    else out.push(tile);
  }
  return out;
}

/** What an entry says once its last message is gone; `fresh` is what is in `from`-… now. */
async function lastBelow(
  store: Store, conv: string, fresh: readonly Tile[], from: number, below: number, now: number,
): Promise<Patch> {
  const stored = (await rows(store, conv, 0, from - 1, LAST_AMONG, true)).map((row) => tileOf(row, now));
  const all = [...fresh.filter((tile) => tile.from < below && tile.to >= from).reverse(), ...stored];
  const found = all.find((tile) => tile.message && !isOver(tile.message, now))?.message;
  if (found) return { lastSeq: found.seq, time: found.time, last: found };
  const lowest = all.at(-1)?.from ?? from;
  // Only when it is known that there is no other one the conversation leaves the list.
  const none = lowest <= 1 && all.every((tile) => tile.gap || tile.message);
  return { lastSeq: 0, last: undefined, ...(none && { listed: false }) };
}
