import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MessageWindow, Row, WindowState } from "../src/api.ts";
import { spanOf } from "../src/rows.ts";
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

/** What holds of a window whenever nothing is under way. */
function check(m: Model, { rows, before, after }: WindowState): void {
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
  if (heldBeyond) expect(shown).toEqual([]);
  if (before === "start" && placed.length) expect(from).toBe(1);
  if (after === "start" && placed.length) expect(to).toBe(m.seqs.length);
  if (m.status().connection === "online") {
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
});
