/**
 * A window over a conversation: the rows of the seqs `lo` to `hi`, read from the store
 * again after each change. It keeps nothing of what lies outside.
 */
import { BelfryError, type Edge, type MessageWindow, type Page, type PageOptions, type Row, type WindowState } from "./api.ts";
import { asValue, conversation, localPage } from "./history.ts";
import type { Base, Notice, StoredConversation, StoredSend } from "./link.ts";
import { memoryStore } from "./memory.ts";
import { isHole, keepRows, rowsOf, spanOf, weave, type Passing } from "./rows.ts";
import type { Change, Store } from "./store.ts";
import { gather, liveView } from "./views.ts";
import type { Message } from "./wire.ts";

/** The window of which nothing has been read yet. */
export const unreadWindow: WindowState = { rows: [], before: "loading", after: "loading" };

type Side = "older" | "newer";

/** The longest pause of a timer, in milliseconds. */
const MAX_PAUSE = 2 ** 31 - 1;

export function messageWindow(base: Base, conv: string, options: { size?: number; at?: number } = {}): MessageWindow {
  const { user } = base;
  const size = Math.min(100, Math.max(1, Math.floor(options.size ?? 50) || 50));
  const most = 2 * size;

  // `hi` Infinity: up to the newest, whatever comes. Past `most` rows those go that are
  // farthest from `near`, the end that the last move went to.
  let lo = Infinity;
  let hi = Infinity;
  let near: Side = "newer";
  let jumps = 0; // a move that began before the last jump has no effect
  let place = 0; // counts what changes lo, hi and near: what was read before that is not shown
  let opened: Promise<void> | undefined;

  let entry: StoredConversation | undefined;
  let stored: readonly Row[] = []; // the rows but for pending and passing ones
  let pending: readonly Row[] | undefined; // at most `most`; undefined: to be read
  let waits = 0; // counts the changes of what waits: what was read before one is not kept
  let passing: Passing[] = []; // at most `size`
  let own: Store | undefined; // takes the place of the store, where that keeps nothing of the conversation
  let trailing = false; // the newest are not held
  let asked = false; // the server has said what there is of a conversation that the store knows nothing of

  const moving = new Map<Side, Promise<void>>();
  const stuck = new Set<Side | "hole">(); // what cannot be fetched now
  let mending = false;
  let mended = ""; // the last hole that was fetched
  let connection = "";
  let live = false;
  let closed = false;
  let expiry: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;

  const newest = () => entry?.newest ?? 0;
  const top = () => (stored.length ? spanOf(stored.at(-1))[1] : lo - 1);

  /** The rows of `from` to `to`: some `limit` of them, those next to `to` for "older", else next to `from`. */
  async function read(from: number, to: number, side: Side, limit: number): Promise<Row[]> {
    const store = own ?? (await base.store);
    const page = await localPage(store, conv, side === "older" ? { before: to + 1, limit } : { after: from - 1, limit }, base.now());
    const rows = rowsOf(page, from, to, user, entry?.peerReadSeq);
    return side === "older" ? rows.slice(-limit) : rows.slice(0, limit);
  }

  async function readPending(store: Store): Promise<readonly Row[]> {
    const sends = (await store.list("outbox", {})).map((e) => e.value as unknown as StoredSend);
    return sends
      .filter((send) => send.conv === conv)
      .slice(-most)
      .map(({ cid, body, refused }) => ({
        kind: "pending", key: `c${cid}`, cid, body, state: refused ? "refused" : "queued", ...(refused && { code: refused.code }),
      }));
  }

  const refresh = gather(async () => {
    if (closed) return;
    try {
      if (!live) pending = undefined;
      // In this order, what is stored meanwhile is seen twice rather than not at all.
      const before = waits;
      const waiting = pending ?? (await readPending(await base.store));
      if (before === waits) pending = waiting;
      entry = await conversation(await base.store, conv);
      if (own && entry) await own.write([{ table: "conversations", key: [conv], value: asValue({ ...entry, lost: [] }) }]);
      if (lo > newest()) lo = newest() + 1;
      const placed = place;
      if (lo > newest() || hi >= newest()) hi = Infinity;
      const rows = lo > newest() ? [] : await read(lo, Math.min(hi, newest()), near === "newer" ? "older" : "newer", most + 1);
      if (placed !== place) return; // and again soon, by whoever changed it
      show(rows, waiting);
    } catch {
      pending = undefined; // the store has failed, or is no more: read again with the next change
      if (base.status().connection === "closed") view.publish({ rows: [], before: "start", after: "start" });
    }
    if (live) void mend();
  });

  /** Takes what was read as the window's rows, but for what is too much of it. */
  function show(rows: Row[], waiting: readonly Row[]): void {
    const unknown = (row: Row | undefined) => row?.kind === "gap" && row.reason === "unknown";
    if (near === "newer") rows = rows.slice(-most);
    else if (rows.length > most) {
      rows = rows.slice(0, most);
      hi = spanOf(rows.at(-1))[1];
    }
    if (hi === Infinity && unknown(rows.at(-1))) rows.pop();
    trailing = hi === Infinity && (rows.length ? spanOf(rows.at(-1))[1] < newest() : !entry && !asked);
    if (near === "newer") {
      if (unknown(rows[0])) rows.shift();
      lo = rows[0] ? spanOf(rows[0])[0] : hi === Infinity ? newest() + 1 : lo;
    }
    stored = rows;
    if (!moving.size) {
      void own?.write([
        { table: "messages", remove: { to: [conv, lo] } },
        { table: "messages", remove: { from: [conv, hi + 1] } },
      ]);
    }
    const sent = new Set(rows.map((row) => row.kind === "message" && row.message.from === user && row.message.cid));
    const last = hi < Infinity ? [] : waiting.filter((row) => row.kind === "pending" && !sent.has(row.cid));
    publish([...weave(rows, passing.filter(({ after }) => after >= lo - 1 && after < hi)), ...last]);
    clearTimeout(expiry);
    const end = Math.min(...rows.map((row) => (row.kind === "message" && row.message.ttl ? row.message.time + row.message.ttl * 1000 : Infinity)));
    if (live && end < Infinity) expiry = setTimeout(refresh, Math.min(MAX_PAUSE, Math.max(1, end - base.now())));
  }

  function publish(fresh: readonly Row[]): void {
    if (closed) return;
    const was = view.getSnapshot();
    const rows = keepRows(was.rows, fresh, user);
    const before = edge("older", lo <= 1);
    const after = edge("newer", hi === Infinity && !trailing);
    if (rows !== was.rows || before !== was.before || after !== was.after) view.publish({ rows, before, after });
  }

  function edge(side: Side, end: boolean): Edge {
    if (end) return "start";
    if (moving.has(side) || (mending && trailing && side === "newer")) return "loading";
    return stuck.has(side) ? "offline" : "more";
  }

  /** Has the engine fetch what is missing of a page; reports whether it could. */
  async function fill(page: PageOptions, what: Side | "hole"): Promise<boolean> {
    const jump = jumps;
    try {
      const got = await base.fill(conv, { ...page, limit: size });
      if (got) keepOwn(got.messages, got.gaps);
      if (jump === jumps) stuck.delete(what);
      return true;
    } catch (err) {
      if (jump !== jumps) return false;
      stuck.add(what);
      if (live && err instanceof BelfryError && err.retryAfterMs) {
        clearTimeout(retry);
        retry = setTimeout(again, Math.min(MAX_PAUSE, err.retryAfterMs));
      }
      return false;
    }
  }

  /** Keeps what the store does not, until the window has moved on. */
  function keepOwn(messages: readonly Message[], gaps: Page["gaps"]): void {
    own ??= memoryStore();
    void own.write([
      ...messages.map((m): Change => ({ table: "messages", key: [conv, m.seq], value: asValue(m) })),
      ...gaps.map(({ from, to, reason }): Change => ({ table: "messages", key: [conv, to], value: { gap: from, to, reason } })),
    ]);
  }

  /** Tries again what could not be fetched. */
  function again(): void {
    stuck.clear();
    mended = "";
    void refresh();
  }

  /** Moves an end of the window by some `count` rows, which are fetched if they are not held. */
  async function grow(side: Side, count: number, nearer: Side | undefined): Promise<void> {
    const jump = jumps;
    const older = side === "older";
    const bound = older ? lo : top();
    const beyond = () => (older ? read(1, bound - 1, side, count) : read(bound + 1, newest(), side, count));
    let rows = (older ? bound > 1 : bound < newest()) ? await beyond() : [];
    if (rows.some(isHole) && (await fill(older ? { before: bound } : { after: bound }, side))) {
      await refresh();
      rows = await beyond();
      if (jump === jumps && rows.every(isHole)) stuck.add(side);
    }
    if (jump !== jumps) return;
    const known = rows.filter((row) => !isHole(row));
    place++;
    near = nearer ?? near;
    if (older) lo = Math.min(lo, spanOf(known[0])[0] || lo);
    else hi = Math.max(hi, spanOf(known.at(-1))[1]);
  }

  function move(side: Side, count: number, nearer?: Side): Promise<void> {
    const going = closed ? Promise.resolve() : moving.get(side);
    if (going) return going;
    const jump = jumps;
    const work = (async () => {
      try {
        await grow(side, count, nearer);
      } catch {
        if (jump === jumps) stuck.add(side); // the store has failed
      }
      if (jump === jumps) moving.delete(side);
      await refresh();
    })();
    moving.set(side, work);
    publish(view.getSnapshot().rows);
    return work;
  }

  /** Fetches what the window lacks, one thing at a time: the newest if it follows them, holes, rows up to `size`. */
  async function mend(): Promise<void> {
    if (mending || closed) return;
    const holes = stored.filter(isHole);
    const [from, to] = trailing ? [top() + 1, newest()] : spanOf(near === "newer" ? holes.at(-1) : holes[0]);
    const what = trailing ? "newer" : "hole";
    const hole = `${what}${from}-${to}`; // the newest page may not reach down to it
    if (hole !== mended) mended = "";
    if ((trailing || to) && hole !== mended && !stuck.has(what)) {
      mending = true;
      if (trailing) publish(view.getSnapshot().rows);
      const done = await fill(trailing ? {} : near === "newer" ? { before: to + 1 } : { after: from - 1 }, what);
      mending = false;
      if (done) {
        mended = hole; // if it is there still, it stays
        asked ||= trailing;
      }
      void refresh();
    } else if (stored.length < size && !moving.size) {
      if (lo > 1 && !stuck.has("older")) void move("older", size - stored.length);
      else if (hi < Infinity && !stuck.has("newer")) void move("newer", size - stored.length);
    }
  }

  async function jump(seq: number): Promise<void> {
    jumps++;
    place++;
    moving.clear();
    stuck.clear();
    near = "newer";
    lo = Math.max(1, seq || 1);
    hi = lo - 1;
    const mine = jumps;
    await refresh();
    if (mine === jumps && hi < Infinity) await move("newer", Math.ceil(size / 2));
    if (mine === jumps && stored.length < size) await move("older", size - stored.length);
  }

  const open = () => (opened ??= jump(options.at ?? Infinity));

  function hear({ changed, status, event }: Notice): void {
    const outbox = changed?.all || changed?.outbox?.includes(conv);
    if (outbox) {
      waits++;
      pending = undefined;
    }
    if (changed?.all) {
      // Another epoch, or another tab that leads: what is not in the store may be of before.
      asked = false;
      own &&= memoryStore();
    }
    const came = status && status.connection !== connection;
    connection = status?.connection ?? connection;
    if (changed?.all || (came && connection === "online")) again();
    else if (outbox || came || changed?.conversations?.includes(conv) || (event && heard(event))) void refresh();
  }

  /** Takes from an event what the store does not keep; reports whether there was something. */
  function heard(event: NonNullable<Notice["event"]>): boolean {
    if (event.name === "messages") {
      const mine = event.of.filter((m) => m.conv === conv);
      const ephemeral = mine.filter((m) => m.ephemeral);
      const after = newest();
      passing = [...passing, ...ephemeral.map((message): Passing => ({ after, row: { kind: "message", key: message.id, message } }))].slice(-size);
      if (own || entry?.unstored) keepOwn(mine.filter((m) => !m.ephemeral), []);
      return mine.length > 0;
    }
    const changes = event.name === "recall" || event.name === "messagesDeleted" || event.name === "conversationDeleted";
    if (!changes || !own || event.of.conv !== conv) return false;
    own = memoryStore(); // what became of each is fetched again
    mended = "";
    return true;
  }

  let deaf: (() => void) | undefined;
  const end = () => {
    live = false;
    deaf?.();
    clearTimeout(expiry);
    clearTimeout(retry);
  };
  const view = liveView(unreadWindow, () => {
    if (closed) return end;
    live = true;
    connection = base.status().connection;
    deaf = base.listen(hear);
    if (opened) again();
    else void open();
    return end;
  });

  return {
    getSnapshot: view.getSnapshot,
    subscribe: view.subscribe,
    older: () => open().then(() => (stuck.delete("older"), move("older", size, "older"))),
    newer: () => open().then(() => (stuck.delete("newer"), move("newer", size, "newer"))),
    jump: (seq) => (opened = jump(seq)),
    close() {
      closed = true;
      end();
    },
  };
}
