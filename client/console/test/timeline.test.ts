import type { Message, Row } from "@belfry/client";
import fc from "fast-check";
import { expect, test } from "vitest";
import { hasNewer, newestSeq, timeline, type Item } from "../src/timeline.ts";

const minute = 60_000;
const noon = new Date(2026, 4, 12, 12).getTime();

const message = (seq: number, from: string, time = noon, text = `text ${seq}`): Message => ({
  id: `id-${seq}`, conv: "u:bob", from, seq, time, cid: `cid-${seq}`, body: { text },
});
const row = (seq: number, from: string, time?: number): Row => ({ kind: "message", key: `${seq}`, message: message(seq, from, time) });
const options = { user: "alice", unreadAbove: null };
const kinds = (items: readonly Item[]): string[] => items.map((i) => i.kind);

test("messages of one sender within five minutes are a group", () => {
  const items = timeline([row(1, "bob"), row(2, "bob", noon + 4 * minute), row(3, "bob", noon + 10 * minute), row(4, "alice", noon + 11 * minute)], options);
  const groups = items.flatMap((i) => (i.kind === "message" ? [[i.first, i.last]] : []));
  expect(groups).toEqual([[true, false], [false, true], [true, true], [true, true]]);
});

test("a day begins with its date, and a group does not go over it", () => {
  const midnight = new Date(2026, 4, 13).getTime();
  const items = timeline([row(1, "bob", midnight - minute), row(2, "bob", midnight + minute)], options);
  expect(kinds(items)).toEqual(["day", "message", "day", "message"]);
  expect(items.every((i) => i.kind !== "message" || (i.first && i.last))).toBe(true);
});

test("the divider stands before the first message of others that is unread", () => {
  const items = timeline([row(1, "bob"), row(2, "alice"), row(3, "bob"), row(4, "bob")], { ...options, unreadAbove: 1 });
  expect(kinds(items)).toEqual(["day", "message", "message", "unread", "message", "message"]);
});

test("pending messages are last, under the keys of their rows", () => {
  const pending: Row = { kind: "pending", key: "p9", cid: "cid-9", body: { text: "later" }, state: "queued" };
  const items = timeline([row(1, "bob"), pending], { ...options, ephemeral: [{ ...message(0, "bob"), id: "e1", ephemeral: true }] });
  expect(items.map((i) => [i.kind, i.key]).slice(1)).toEqual([["message", "r:1"], ["message", "e:e1"], ["pending", "r:p9"]]);
});

test("what is stored nowhere stands at its time", () => {
  const ephemeral = [{ ...message(0, "bob", noon + 2 * minute), id: "e1", ephemeral: true as const }];
  const items = timeline([row(1, "alice"), row(2, "alice", noon + 3 * minute)], { ...options, ephemeral });
  expect(items.flatMap((i) => (i.kind === "message" ? [i.message.id] : []))).toEqual(["id-1", "e1", "id-2"]);
});

test("what the window has of it is shown once", () => {
  const held = { ...message(0, "bob"), id: "e1", ephemeral: true as const };
  const items = timeline([{ kind: "message", key: "e1", message: held }], { ...options, ephemeral: [held, { ...held, id: "e2", from: "alice" }] });
  expect(items.flatMap((i) => (i.kind === "message" ? [i.message.id] : []))).toEqual(["e1", "e2"]);
  expect(newestSeq([{ kind: "message", key: "e1", message: held }])).toBe(0);
});

test("there is something newer where the window says so, and without a connection where the list does", () => {
  expect((["start", "more", "loading"] as const).map((after) => hasNewer(after, 3, 3))).toEqual([false, true, true]);
  expect([2, 3, 4].map((lastSeq) => hasNewer("offline", 3, lastSeq))).toEqual([false, false, true]);
});

test("every row is shown once, in its order, and keys differ", () => {
  const rows = fc.array(fc.record({ from: fc.constantFrom("alice", "bob", "carol"), later: fc.integer({ min: 0, max: 2 * 86_400_000 }), gap: fc.boolean() }), { maxLength: 60 });
  fc.assert(
    fc.property(rows, fc.option(fc.nat(60)), (made, unreadAbove) => {
      let time = noon;
      const list = made.map((m, i): Row => {
        time += m.later;
        return m.gap ? { kind: "gap", key: `g${i + 1}`, from: i + 1, to: i + 1, reason: "expired" } : row(i + 1, m.from, time);
      });
      const items = timeline(list, { user: "alice", unreadAbove });
      const seqs = items.flatMap((i) => (i.kind === "message" ? [i.message.seq] : i.kind === "gap" ? [i.gap.from] : []));
      expect(seqs).toEqual(list.map((_, i) => i + 1));
      expect(new Set(items.map((i) => i.key)).size).toBe(items.length);
      expect(newestSeq(list)).toBe(list.length);
    }),
  );
});
