import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { BelfryError, type MessageWindow, type Page, type Row, type WindowState } from "../src/api.ts";
import { spanOf } from "../src/rows.ts";
import type { Store } from "../src/store.ts";
import { messageWindow } from "../src/window.ts";
import { conv, model, user, type Model } from "./window-model.ts";

const size = 4;

/** Resolves when nothing happens any more: all that windows wait for here is settled within a turn. */
async function quiet(of: MessageWindow): Promise<WindowState> {
  for (let same = 0, was = of.getSnapshot(); same < 3; ) {
    await new Promise((done) => setImmediate(done));
    same = was === of.getSnapshot() ? same + 1 : 0;
    was = of.getSnapshot();
  }
  return of.getSnapshot();
}

interface Act {
  readonly name: string;
  readonly run: (m: Model, w: MessageWindow) => Promise<void> | void;
}
const act = (name: string, run: Act["run"]): Act => ({ name, run });
const named = (acts: fc.Arbitrary<Act>) => acts.map((a) => Object.assign(a, { [fc.toStringMethod]: () => a.name }));

const nth = (m: Model, n: number) => m.seqs[n % Math.max(1, m.seqs.length)];
const add = (m: Model, n: number, from: string, held: boolean) => {
  for (let i = 0; i < n; i++) m.seqs.push({ what: m.message(from, `x${m.seqs.length}`), held });
};

const acts: fc.Arbitrary<Act> = named(
  fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 12 }), fc.constantFrom(user, "bob")).map(([n, from]) =>
      act(`push ${n} of ${from}`, (m) => (add(m, n, from, true), m.commit()))),
    fc.integer({ min: 1, max: 12 }).map((n) => act(`hear of ${n}`, (m) => (add(m, n, "bob", false), m.commit()))),
    fc.tuple(fc.nat(99), fc.nat(3), fc.constantFrom("recalled", "deleted", "expired", "evicted")).map(([n, more, reason]) =>
      act(`${reason} ${n}+${more}`, (m) => {
        for (let i = n; i <= n + more; i++) {
          const at = nth(m, i);
          if (at) at.what = reason as "recalled";
        }
        return m.commit();
      })),
    fc.tuple(fc.nat(99), fc.nat(5)).map(([n, more]) =>
      act(`lose ${n}+${more}`, (m) => {
        for (let i = n; i <= n + more; i++) Object.assign(nth(m, i) ?? {}, { held: false, lost: true });
        return m.commit();
      })),
    fc.constant(act("reset", (m) => {
      for (const at of m.seqs) at.held = false;
      return m.commit({ changed: { all: true } });
    })),
    fc.constant(act("begin anew", (m) => {
      m.seqs.length = 0;
      return m.commit({ changed: { all: true } });
    })),
    fc.integer({ min: 1, max: 12 }).map((n) => act(`send ${n}`, (m) => {
      for (let i = 0; i < n; i++) m.waiting.push({ cid: `c${Math.random()}`, refused: false });
      return m.commit({ changed: { outbox: [conv] } });
    })),
    fc.constant(act("store the first", (m) => {
      const sent = m.waiting.shift();
      if (sent) m.seqs.push({ what: m.message(user, sent.cid), held: true });
      return m.commit();
    })),
    fc.constant(act("refuse the first", (m) => {
      if (m.waiting[0]) m.waiting[0].refused = true;
      return m.commit({ changed: { outbox: [conv] } });
    })),
    fc.nat(99).map((n) => act(`receipt ${n}`, (m) => {
      m.peerReadSeq = Math.min(m.seqs.length, Math.max(n, m.peerReadSeq));
      return m.commit({ changed: { conversations: [conv] } });
    })),
    fc.boolean().map((on) => act(on ? "online" : "offline", (m) => m.setOnline(on))),
    fc.constant(act("older", (_, w) => w.older())),
    fc.constant(act("newer", (_, w) => w.newer())),
    fc.constant(act("older, not awaited", (_, w) => void w.older())),
    fc.oneof(fc.nat(99), fc.constant(Infinity)).map((seq) => act(`jump ${seq}`, (_, w) => w.jump(seq))),
  ),
);

/** What holds of a window whenever nothing is done; and when nothing is under way and could not be fetched either. */
function check(m: Model, { rows, before, after }: WindowState, done = true): void {
  const placed = rows.filter((row) => row.kind !== "pending");
  const waiting = rows.slice(placed.length);
  const from = spanOf(placed[0])[0] || 1;
  const to = spanOf(placed.at(-1))[1];
  expect(placed.map((row) => ({ ...row, key: "" }))).toEqual(m.rows(from, to));
  expect(placed.length).toBeLessThanOrEqual(2 * size);
  expect(new Set(rows.map((row) => row.key)).size).toBe(rows.length);

  // Pending rows stand behind the newest that is held, so a window that ends before it has none.
  const shown = waiting.map((row) => row.kind === "pending" && [row.cid, row.state]);
  const all = m.waiting.slice(-2 * size).map(({ cid, refused }) => [cid, refused ? "refused" : "queued"]);
  const heldBeyond = m.seqs.slice(to).some((at) => at.held);
  if (after === "start" || shown.length) expect(shown).toEqual(all);
  if (heldBeyond && (done || placed.length)) expect(shown).toEqual([]); // while the newest are fetched there is nothing but pending rows
  if (before === "start" && placed.length) expect(from).toBe(1);
  if (after === "start" && placed.length) expect(to).toBe(m.seqs.length);
  if (done && m.status().connection === "online") {
    expect(placed.filter((row) => row.kind === "gap" && ["lost", "unknown"].includes(row.reason))).toEqual([]);
    expect([before, after].filter((edge) => edge !== "more" && edge !== "start")).toEqual([]);
    if (placed.length < size) expect([before, after]).toEqual(["start", "start"]);
  }
}

/** Rows that look as before are the objects that they were. */
function checkKept(was: readonly Row[], rows: readonly Row[]): void {
  const old = new Map(was.map((row) => [row.key, row]));
  for (const row of rows) {
    const same = old.get(row.key);
    if (same && JSON.stringify(same) === JSON.stringify(row)) expect(row).toBe(same);
  }
}

describe("a window", () => {
  test("equals the model's slice after any changes and moves", { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(acts, { maxLength: 40 }), fc.option(fc.integer({ min: 1, max: 30 }), { nil: Infinity }), async (list, at) => {
        const m = model();
        add(m, 15, "bob", true);
        await m.commit();
        const w = messageWindow(m, conv, { size, at });
        let was = w.getSnapshot();
        const unsubscribe = w.subscribe(() => {
          const now = w.getSnapshot();
          expect(now).not.toBe(was);
          checkKept(was.rows, now.rows);
          was = now;
        });
        await quiet(w);
        for (const { run } of list) {
          await run(m, w);
          check(m, await quiet(w));
        }
        unsubscribe();
        expect(m.listeners()).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test("comes to the same when answers take their time or fail, whatever is asked meanwhile", { timeout: 300_000 }, async () => {
    const waits = named(fc.oneof(fc.nat(99), fc.constant(Infinity)).map((seq) => act(`jump ${seq}, not awaited`, (_, w) => void w.jump(seq))));
    const moves = named(fc.constantFrom<Act>(act("older, not awaited", (_, w) => void w.older()), act("newer, not awaited", (_, w) => void w.newer())));
    const answer = named(fc.boolean().map((ok) => act(ok ? "answers come" : "answers fail", () => {})));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof({ arbitrary: acts, weight: 2 }, waits, moves, answer), { maxLength: 40 }), async (list) => {
        const m = model();
        add(m, 30, "bob", true);
        for (const at of m.seqs.slice(0, 20)) at.held = false;
        await m.commit();
        const held: ((ok: boolean) => void)[] = [];
        let asked: Promise<boolean> | undefined;
        const fill = m.fill;
        m.fill = async (of, page) => {
          const ok = await (asked ?? new Promise<boolean>((go) => held.push(go)));
          if (!ok) throw new BelfryError("unavailable");
          return fill(of, page);
        };
        const w = messageWindow(m, conv, { size });
        const unsubscribe = w.subscribe(() => {});
        await quiet(w);
        for (const { name, run } of list) {
          if (name.startsWith("answers")) for (const go of held.splice(0)) go(name === "answers come");
          else void run(m, w); // it may wait for an answer
          check(m, await quiet(w), false);
        }
        asked = Promise.resolve(true);
        for (const go of held.splice(0)) go(true);
        await quiet(w);
        if (list.some(({ name }) => name === "answers fail")) m.setOnline(false); // what failed is tried again with the next connection
        m.setOnline(true);
        check(m, await quiet(w));
        unsubscribe();
      }),
      { numRuns: 300 },
    );
  });

  afterEach(() => void vi.useRealTimers());

  const shown = ({ rows }: WindowState) =>
    rows.map((row) => (row.kind === "message" ? row.message.body : row.kind === "gap" ? `${row.from}-${row.to} ${row.reason}` : row.cid));

  async function open(seqs: number, at?: number): Promise<{ m: Model; w: MessageWindow; told: () => number }> {
    const m = model();
    add(m, seqs, "bob", true);
    await m.commit();
    const w = messageWindow(m, conv, { size, ...(at && { at }) });
    let told = 0;
    w.subscribe(() => told++);
    await quiet(w);
    return { m, w, told: () => told };
  }

  test("wakes once for a commit of many messages, and not for what it does not show", async () => {
    const { m, w, told } = await open(20, 5);
    const before = told();
    add(m, 50, "bob", true);
    await m.commit();
    m.tell({ changed: { conversations: ["u:eve"], outbox: ["u:eve"] } });
    await quiet(w);
    expect(told()).toBe(before);
    await w.jump(Infinity);
    await quiet(w);
    const atEnd = told();
    add(m, 50, "bob", true);
    await m.commit();
    expect(shown(await quiet(w))).toEqual([113, 114, 115, 116, 117, 118, 119, 120].slice(-2 * size));
    expect(told()).toBe(atEnd + 1);
  });

  test("fetches what the newest page does not reach down to, once more came meanwhile", async () => {
    const { m, w } = await open(6);
    let go!: () => void;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const fill = m.fill;
    m.fill = async (of, page) => gate.then(() => fill(of, page));
    add(m, 1, "bob", false);
    await m.commit();
    await quiet(w);
    add(m, size, "bob", true);
    await m.commit();
    await quiet(w);
    go();
    expect((await quiet(w)).rows.filter((row) => row.kind === "gap")).toEqual([]);
  });

  test("reads what waits once more if that changes while it is read", async () => {
    const { m, w } = await open(2);
    const store: { list: Store["list"] } = await m.store;
    const list = store.list.bind(store);
    let go: (() => void) | undefined;
    store.list = async (table, range) => {
      const found = await list(table, range);
      if (table === "outbox" && !go) await new Promise<void>((resolve) => (go = resolve));
      return found;
    };
    for (const cid of ["one", "two"]) {
      m.waiting.push({ cid, refused: false });
      await m.commit({ changed: { outbox: [conv] } });
      await vi.waitUntil(() => go);
    }
    go!();
    expect((await quiet(w)).rows.flatMap((row) => (row.kind === "pending" ? [row.cid] : []))).toEqual(["one", "two"]);
  });

  test("keeps the key of a pending row as it becomes a message", async () => {
    const { m, w } = await open(2);
    m.waiting.push({ cid: "mine", refused: false });
    await m.commit();
    const pending = (await quiet(w)).rows.at(-1)!;
    expect(pending.kind).toBe("pending");
    m.waiting.pop();
    m.seqs.push({ what: m.message(user, "mine"), held: true });
    await m.commit();
    const stored = (await quiet(w)).rows.at(-1)!;
    expect([stored.kind, stored.key]).toEqual(["message", pending.key]);
    m.peerReadSeq = 3;
    await m.commit();
    expect((await quiet(w)).rows.at(-1)).toMatchObject({ receipt: "read", key: pending.key });
  });

  test("lets a message go when its ttl is over, with nobody told by the engine", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const { m, w } = await open(1);
    m.seqs.push({ what: m.message("bob", "short", 60), held: true });
    await m.commit();
    expect(shown(await quiet(w))).toEqual([1, 2]);
    vi.advanceTimersByTime(59_999);
    expect(shown(await quiet(w))).toEqual([1, 2]);
    vi.advanceTimersByTime(1);
    expect(shown(await quiet(w))).toEqual([1, "2-2 expired"]);
    w.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("fetches exactly what is missing, and nothing twice", async () => {
    const { m, w } = await open(0);
    add(m, 30, "bob", false);
    for (const seq of [28, 29]) m.seqs[seq - 1]!.held = true;
    await m.commit();
    expect(shown(await quiet(w))).toEqual([27, 28, 29, 30]);
    expect(m.fetched).toEqual([30, 27]);
    await w.older();
    expect(shown(w.getSnapshot())).toEqual([23, 24, 25, 26, 27, 28, 29, 30]);
    await w.older();
    await w.newer();
    await quiet(w);
    expect(shown(w.getSnapshot())).toEqual([23, 24, 25, 26, 27, 28, 29, 30]);
    expect(m.fetched.toSorted((a, b) => b - a)).toEqual([30, 27, 26, 25, 24, 23, 22, 21, 20, 19]);
  });

  test("says that it is offline where it cannot fetch, and goes on with the next connection", async () => {
    const { m, w } = await open(0);
    m.setOnline(false);
    add(m, 30, "bob", false);
    m.seqs[29]!.held = true;
    await m.commit();
    expect(await quiet(w)).toMatchObject({ before: "offline", after: "start" });
    await w.older();
    expect(shown(w.getSnapshot())).toEqual([30]);
    m.setOnline(true);
    expect(shown(await quiet(w))).toEqual([27, 28, 29, 30]);
    expect(w.getSnapshot().before).toBe("more");
  });

  test("tries again after the pause that a refusal names", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { m, w } = await open(0);
    const fill = m.fill;
    m.fill = () => Promise.reject(new BelfryError("unavailable", "", { retryAfterMs: 700 }));
    add(m, 3, "bob", false);
    await m.commit();
    expect((await quiet(w)).before).toBe("offline");
    m.fill = fill;
    vi.advanceTimersByTime(700);
    expect(shown(await quiet(w))).toEqual([1, 2, 3]);
  });

  test("asks once for a conversation that the store knows nothing of", async () => {
    const m = model();
    let asked = 0;
    m.fill = async () => (asked++, null);
    const w = messageWindow(m, "u:unheard", { size });
    w.subscribe(() => {});
    expect(await quiet(w)).toEqual({ rows: [], before: "start", after: "start" });
    expect(asked).toBe(1);
  });

  test("holds by itself what the store does not keep, and no more than it shows", async () => {
    const { m, w } = await open(0);
    const fill = m.fill;
    m.fill = async (of, page): Promise<Page> => {
      const was = m.fetched.length;
      await fill(of, page);
      const seqs = m.fetched.slice(was).sort((a, b) => a - b);
      for (const at of m.seqs) at.held = false;
      await m.commit();
      const messages = seqs.flatMap((seq) => (typeof m.seqs[seq - 1]!.what === "string" ? [] : [m.message("bob", "")].map((x) => ({ ...x, seq, body: seq }))));
      return { messages, gaps: [], from: seqs[0] ?? 0, to: seqs.at(-1) ?? 0, more: true };
    };
    add(m, 30, "bob", false);
    await m.commit();
    expect(shown(await quiet(w))).toEqual([27, 28, 29, 30]);
    await w.older();
    expect(shown(await quiet(w))).toEqual([23, 24, 25, 26, 27, 28, 29, 30]);
    await w.older();
    expect(shown(await quiet(w))).toEqual([19, 20, 21, 22, 23, 24, 25, 26]);
    await w.jump(Infinity);
    expect(shown(await quiet(w))).toEqual([27, 28, 29, 30]);

    const live = { ...m.message("bob", "new"), body: "new" };
    m.seqs.push({ what: live, held: false });
    m.tell({ event: { name: "messages", of: [live] } });
    await m.commit();
    expect(shown(await quiet(w))).toEqual([27, 28, 29, 30, "new"]);
    expect((await m.db.list("messages", {})).length).toBe(0);
  });

  test("says nothing of where it is when a fetch for where it was fails", async () => {
    const { m, w } = await open(30, 10);
    for (const at of m.seqs.slice(0, 6)) at.held = false;
    await m.commit();
    let fail!: (err: BelfryError) => void;
    m.fill = () => new Promise((_, reject) => (fail = reject));
    const older = w.older();
    await quiet(w);
    expect(w.getSnapshot().before).toBe("loading");
    await w.jump(20);
    fail(new BelfryError("unavailable"));
    await older;
    expect((await quiet(w)).before).toBe("more");
    expect(shown(w.getSnapshot())).toContain(20);
  });

  test("after a reset asks anew, and shows nothing of before that only it holds", async () => {
    const m = model();
    const pages: Page[] = [];
    let asked = 0;
    m.fill = async () => (asked++, pages[0] ?? null);
    const page = (body: string): Page => ({ messages: [{ ...m.message("bob", "c"), seq: 1, body }], gaps: [], from: 1, to: 1, more: false });
    const w = messageWindow(m, conv, { size });
    w.subscribe(() => {});
    await quiet(w);
    expect([asked, shown(w.getSnapshot())]).toEqual([1, []]);
    pages[0] = page("old");
    m.tell({ changed: { all: true } });
    await quiet(w);
    expect(asked).toBe(2);
    m.seqs.push({ what: m.message("bob", "c"), held: false });
    await m.commit();
    expect(shown(await quiet(w))).toEqual(["old"]);
    pages[0] = page("new");
    m.tell({ changed: { all: true } });
    expect(shown(await quiet(w))).toEqual(["new"]);
  });

  test("takes NaN for the first seq, and for pages of the default size", async () => {
    const m = model();
    add(m, 60, "bob", true);
    await m.commit();
    const w = messageWindow(m, conv, { size: NaN, at: NaN });
    w.subscribe(() => {});
    expect(shown(await quiet(w))).toHaveLength(50);
    await w.jump(NaN);
    expect(spanOf((await quiet(w)).rows[0])).toEqual([1, 1]);
  });

  test("shows ephemeral messages where they came, a page of them at most", async () => {
    const { m, w } = await open(2);
    const pass = (body: string) => m.tell({ event: { name: "messages", of: [{ ...m.message("bob", body), seq: 0, ephemeral: true, body }] } });
    pass("a");
    add(m, 1, "bob", true);
    await m.commit();
    await quiet(w);
    pass("b");
    expect(shown(await quiet(w))).toEqual([1, 2, "a", 4, "b"]);
    for (const body of "cdefgh") pass(body);
    expect(shown(await quiet(w))).toEqual([1, 2, 4, "e", "f", "g", "h"]);
  });

  test("is empty after a sign-out, and keeps its rows when the store fails", async () => {
    const { m, w } = await open(3);
    const list = m.db.list;
    m.db.list = () => Promise.reject(new Error("disk"));
    m.tell({ changed: { conversations: [conv] } });
    expect(shown(await quiet(w))).toEqual([1, 2, 3]);
    m.db.list = list;
    await m.db.erase();
    const closed = { connection: "closed", since: 1, synced: false, storage: { durability: "memory" }, outbox: 0, leader: false, ahead: 0 } as const;
    m.status = () => closed;
    m.tell({ status: closed });
    expect(await quiet(w)).toEqual({ rows: [], before: "start", after: "start" });
  });

  test("listens only while somebody subscribes, and never after close", async () => {
    const { m, w } = await open(3);
    expect(m.listeners()).toBe(1);
    w.close();
    expect(m.listeners()).toBe(0);
    w.subscribe(() => {});
    expect(m.listeners()).toBe(0);
    add(m, 1, "bob", true);
    await m.commit();
    const last = w.getSnapshot();
    m.fill = vi.fn();
    await w.older();
    await w.jump(1);
    expect(await quiet(w)).toBe(last);
    expect(m.fill).not.toHaveBeenCalled();

    const other = messageWindow(m, conv, { size });
    await other.older();
    expect([shown(other.getSnapshot()), m.listeners()]).toEqual([[1, 2, 3, 4], 0]);
    const stop = other.subscribe(() => {});
    stop();
    add(m, 1, "bob", true);
    await m.commit();
    other.subscribe(() => {});
    expect(shown(await quiet(other))).toEqual([1, 2, 3, 4, 5]);
    other.close();
  });
});
