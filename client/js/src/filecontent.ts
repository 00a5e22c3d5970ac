/** What a file store has: all keys in memory, and values as JSON text, those that were read at its opening as bytes of the file. */

import { type Line, textAt, textLength, textOf } from "./filelog.ts";
import { type Sorted, sorted } from "./sorted.ts";
import type { Key, Range, Table } from "./store.ts";

/** About how many characters a part of a snapshot has. */
const partLength = 1 << 20;
/** About how many bytes of a file an entry needs beside its value. */
const entryBytes = 40;

export interface Content {
  get(table: Table, key: Key): string | undefined;
  /** Up to `limit` keys of a range with their values, with `reverse` from its end and descending. */
  list(table: Table, range: Range, limit: number, reverse: boolean): [Key, string][];
  /** Makes a change. A number is a value's place in the file that was given. */
  apply(line: Line<string | number>): void;
  /** Returns the next number for `append`. */
  next(): number;
  /** About how many bytes a file of this content needs. */
  bytes(): number;
  /**
   * The lines that make this content. When they have all been taken, what the file that
   * was given had is in memory as strings, and the file's bytes are not any more.
   */
  snapshot(): Generator<string>;
}

export function newContent(read: Buffer): Content {
  const tables: Readonly<Record<Table, Sorted<string | number>>> = { messages: sorted(), conversations: sorted(), outbox: sorted(), meta: sorted() };
  let file = read;
  let last = 0; // that `next` has returned
  let bytes = 0;
  const text = (value: string | number) => (typeof value === "string" ? value : textAt(file, value));
  const bytesOf = (value: string | number) => entryBytes + (typeof value === "string" ? Buffer.byteLength(value) : textLength(file, value));
  return {
    get(table, key) {
      const value = tables[table].get(key);
      return value === undefined ? undefined : text(value);
    },
    list: (table, range, limit, reverse) => tables[table].list(range, limit, reverse).map(([key, value]) => [key, text(value)]),
    apply(line) {
      if ("last" in line) {
        last = Math.max(last, line.last);
      } else if ("text" in line) {
        const before = tables[line.table].set(line.key, line.text);
        bytes += bytesOf(line.text) - (before === undefined ? 0 : bytesOf(before));
        if (line.table === "outbox" && typeof line.key[0] === "number") last = Math.max(last, line.key[0]);
      } else {
        for (const gone of tables[line.table].remove(line.remove)) bytes -= bytesOf(gone);
      }
    },
    next: () => ++last,
    bytes: () => bytes,
    *snapshot() {
      let part = textOf({ last });
      for (const [table, entries] of Object.entries(tables) as [Table, Sorted<string | number>][]) {
        for (const [key, value] of entries.list({}, Infinity, false)) {
          const own = text(value);
          if (own !== value) entries.set(key, own);
          part += textOf({ table, key, text: own });
          if (part.length < partLength) continue;
          yield part;
          part = "";
        }
      }
      yield part;
      file = Buffer.alloc(0);
    },
  };
}
