import fc from "fast-check";
import { expect, test } from "vitest";
import { add, has, missing, pairs, subtract, type Ranges } from "../src/ranges.ts";

const step = fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 40 }), fc.integer({ min: -1, max: 12 }));
const seqs = (ranges: Ranges) => [...pairs(ranges)].flatMap(([a, b]) => Array.from({ length: b - a + 1 }, (_, i) => a + i));

test("ranges are what a set of seqs would be, and stay in their form", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 50 }), (steps, low, high) => {
      const set = new Set<number>();
      let ranges: Ranges = [];
      for (const [adding, from, length] of steps) {
        for (let s = from; s <= from + length; s++) adding ? set.add(s) : set.delete(s);
        ranges = adding ? add(ranges, from, from + length) : subtract(ranges, from, from + length);
        expect(seqs(ranges)).toEqual([...set].sort((a, b) => a - b));
        const list = [...pairs(ranges)];
        list.forEach(([a, b], i) => expect(a <= b && (i === 0 || a > list[i - 1]![1] + 1)).toBe(true));
      }
      const wanted = Array.from({ length: Math.max(0, high - low + 1) }, (_, i) => low + i);
      expect(seqs(missing(ranges, low, high))).toEqual(wanted.filter((s) => !set.has(s)));
      for (let s = 1; s <= 60; s++) expect(has(ranges, s)).toBe(set.has(s));
    }),
    { numRuns: 500 },
  );
});
