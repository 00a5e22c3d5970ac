/** Values in the order of their keys, in chunks, so that one is inserted among many without moving all of them. */

import { compareKeys } from "./memory.ts";
import type { Key, Range } from "./store.ts";

export interface Sorted<T> {
  get(key: Key): T | undefined;
  /** Returns the value that the key had. */
  set(key: Key, value: T): T | undefined;
  /** Removes the keys of a range, and returns their values. */
  remove(range: Range): T[];
  /** Up to `limit` keys of a range with their values, with `reverse` from its end and descending. */
  list(range: Range, limit: number, reverse: boolean): [Key, T][];
}

/** A chunk that grows beyond it is halved. */
const chunkLength = 512;

export function sorted<T>(): Sorted<T> {
  // No chunk is empty but the only one.
  const chunks: [Key, T][][] = [[]];

  /** Where the first key that is not before `key` is: chunk and place, which may be the chunk's end. */
  const find = (key: Key): [number, number] => {
    const c = Math.max(0, firstFrom(chunks.length, (i) => compareKeys(chunks[i]![0] ? chunks[i]![0]![0] : [], key) > 0) - 1);
    return [c, firstFrom(chunks[c]!.length, (i) => compareKeys(chunks[c]![i]![0], key) >= 0)];
  };
  const bounds = ({ from, to }: Range) => {
    const start: [number, number] = from ? find(from) : [0, 0];
    const end: [number, number] = to ? find(to) : [chunks.length - 1, chunks.at(-1)!.length];
    const none = start[0] > end[0] || (start[0] === end[0] && start[1] >= end[1]);
    return none ? undefined : { start, end };
  };
  return {
    get(key) {
      const [c, i] = find(key);
      const entry = chunks[c]![i];
      return entry && compareKeys(entry[0], key) === 0 ? entry[1] : undefined;
    },
    set(key, value) {
      const [c, i] = find(key);
      const chunk = chunks[c]!;
      const entry = chunk[i];
      if (entry && compareKeys(entry[0], key) === 0) {
        const before = entry[1];
        entry[1] = value;
        return before;
      }
      chunk.splice(i, 0, [key, value]);
      // A chunk that grows at its end stays whole: that is how messages come.
      if (chunk.length > chunkLength) chunks.splice(c + 1, 0, chunk.splice(i === chunkLength ? chunkLength : chunkLength / 2));
      return undefined;
    },
    remove(range) {
      const found = bounds(range);
      if (!found) return [];
      const { start, end } = found;
      const gone: T[] = [];
      for (let c = end[0]; c >= start[0]; c--) {
        const from = c === start[0] ? start[1] : 0;
        const to = c === end[0] ? end[1] : chunks[c]!.length;
        for (const [, value] of chunks[c]!.splice(from, to - from)) gone.push(value);
        if (chunks[c]!.length === 0 && chunks.length > 1) chunks.splice(c, 1);
      }
      return gone;
    },
    list(range, limit, reverse) {
      const found = bounds(range);
      const entries: [Key, T][] = [];
      if (!found) return entries;
      const { start, end } = found;
      const whole = (c: number) => chunks[c]!.slice(c === start[0] ? start[1] : 0, c === end[0] ? end[1] : undefined);
      const step = reverse ? -1 : 1;
      for (let c = reverse ? end[0] : start[0]; entries.length < limit && c >= start[0] && c <= end[0]; c += step) {
        const part = reverse ? whole(c).reverse() : whole(c);
        for (const entry of part.slice(0, limit - entries.length)) entries.push(entry);
      }
      return entries;
    },
  };
}

/** The first number below n that is true for `test`, n if there is none; from there on all have to be. */
function firstFrom(n: number, test: (i: number) => boolean): number {
  let low = 0;
  let high = n;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (test(mid)) high = mid;
    else low = mid + 1;
  }
  return low;
}
