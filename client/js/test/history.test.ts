import fc from "fast-check";
import { expect, test } from "vitest";
import type { Gap, PageOptions } from "../src/api.ts";
import { asValue, localPage } from "../src/history.ts";
import type { StoredRow } from "../src/link.ts";
import { memoryStore } from "../src/memory.ts";
import type { Message } from "../src/wire.ts";

const reasons = ["deleted", "expired", "recalled"] as const;
type State = "message" | "hole" | "lost" | "over" | (typeof reasons)[number];

const message = (seq: number, ttl?: number): Message => ({
  id: `m${seq}`, conv: "u:bob", from: "bob", seq, time: 1000, cid: `c${seq}`, body: seq, ...(ttl && { ttl }),
});

const states = fc.array(fc.constantFrom<State>("message", "message", "hole", "lost", "over", ...reasons), { maxLength: 30 });
const options = fc.oneof(
  fc.constant<PageOptions>({}),
  fc.record({ before: fc.integer({ min: 1, max: 35 }) }),
  fc.record({ after: fc.integer({ min: 0, max: 35 }) }),
  fc.record({ range: fc.tuple(fc.integer({ min: 1, max: 35 }), fc.integer({ min: 1, max: 35 })) }),
);

/** The page by definition, one seq at a time. */
function expected(all: readonly State[], o: PageOptions, limit: number) {
  const low = Math.max(1, o.range?.[0] ?? (o.after ?? 0) + 1);
  const high = Math.min(all.length, o.range?.[1] ?? (o.before ?? Infinity) - 1);
  const down = !o.range && o.after === undefined;
  const seqs = [];
  for (let s = low; s <= high; s++) seqs.push(s);
  if (down) seqs.reverse();
  const taken: number[] = [];
  let messages = 0;
  for (const seq of seqs) {
    if (all[seq - 1] === "message" && ++messages > limit) break;
    taken.push(seq);
  }
  const more = taken.length < seqs.length;
  taken.sort((a, b) => a - b);
  const gaps: Gap[] = [];
  for (const seq of taken) {
    const state = all[seq - 1]!;
    if (state === "message") continue;
    const reason = state === "hole" ? "unknown" : state === "over" ? "expired" : state;
    const last = gaps.at(-1);
    if (last && last.reason === reason && last.to === seq - 1) gaps[gaps.length - 1] = { ...last, to: seq };
    else gaps.push({ from: seq, to: seq, reason });
  }
  const shown = taken.filter((seq) => all[seq - 1] === "message");
  return { shown, gaps, from: taken[0] ?? 0, to: taken.at(-1) ?? 0, more };
}

/** Neighbouring gaps of one reason as one: messages that ran out lie beside stored gaps. */
function merged(gaps: readonly Gap[]): Gap[] {
  const out: Gap[] = [];
  for (const gap of gaps) {
    const last = out.at(-1);
    if (last && last.reason === gap.reason && last.to === gap.from - 1) out[out.length - 1] = { ...last, to: gap.to };
    else out.push(gap);
  }
  return out;
}

test("a local page has what the store has, and names what it lacks", async () => {
  await fc.assert(
    fc.asyncProperty(states, options, fc.integer({ min: 1, max: 12 }), async (all, o, limit) => {
      const store = memoryStore();
      const rows: StoredRow[] = [];
      const lost: number[] = [];
      all.forEach((state, i) => {
        const seq = i + 1;
        const last = rows.at(-1);
        if (state === "message") rows.push(message(seq));
        else if (state === "over") rows.push(message(seq, 5));
        else if (state === "lost") lost.push(seq, seq);
        else if (state !== "hole") {
          if (last && "gap" in last && last.reason === state && last.to === seq - 1) rows[rows.length - 1] = { ...last, to: seq };
          else rows.push({ gap: seq, to: seq, reason: state });
        }
      });
      await store.write(rows.map((row) => ({ table: "messages", key: ["u:bob", "gap" in row ? row.to : row.seq], value: asValue(row) })));
      // What belongs to neighbours must not be seen.
      await store.write(["u:bo", "u:bobb"].map((conv) => ({ table: "messages", key: [conv, 3], value: asValue(message(3)) })));
      await store.write([
        {
          table: "conversations", key: ["u:bob"],
          value: asValue({ conv: "u:bob", newest: all.length, lost, covered: [], listed: true, lastSeq: 0, time: 0, readSeq: 0 }),
        },
      ]);
      const page = await localPage(store, "u:bob", { ...o, limit }, 100_000);
      const { messages, gaps, ...rest } = page;
      expect({ ...rest, shown: messages.map((m) => m.seq), gaps: merged(gaps) }).toEqual(expected(all, o, limit));
    }),
    { numRuns: 1000 },
  );
});
