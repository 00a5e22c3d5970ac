/**
 * The bytes of a file store. All numbers are little-endian.
 *
 *     file     8 bytes "belfry", 0, version 1, then records
 *     record   4 bytes ff fe 'b' 'r', 4 bytes length of the text, 4 bytes CRC-32 of the text, the text in UTF-8
 *     text     lines:
 *                +t key      and in the next line the value: the key has the value
 *                -t [a, b]   the keys from a up to but not b are gone; null is no bound
 *                #n          numbers up to n have been given by `append`
 *              where t is a table's letter and the rest is JSON, values as in storedvalue.ts
 *
 * A record happens as a whole. The bytes ff and fe are in no text, so that records are
 * found again behind one that is damaged.
 */

import { crc32 } from "node:zlib";

import type { Change, Key, Range, Table } from "./store.ts";
import { encodeValue } from "./storedvalue.ts";

export const header = Buffer.from("belfry\0\x01", "latin1");
const marker = Buffer.from([0xff, 0xfe, 0x62, 0x72]);
const newline = 0x0a;
const overhead = 12;

/** The most bytes of a record. A batch that needs more is refused. */
export const maxRecord = 256 << 20;

const letters = { messages: "m", conversations: "c", outbox: "o", meta: "x" } as const satisfies Record<Table, string>;
const tableOf = new Map<string, Table>(Object.entries(letters).map(([table, letter]) => [letter, table as Table]));

/** A line, or two for a value, whose text is a string, or where it begins in the file that was read. */
export type Line<Text = string> =
  | { readonly table: Table; readonly key: Key; readonly text: Text }
  | { readonly table: Table; readonly remove: Range }
  | { readonly last: number };

/** Throws a TypeError for what is no key or no value: it could not be read again. */
export function lineOf(change: Change): Line {
  const keys = "remove" in change ? [change.remove.from ?? [], change.remove.to ?? []] : [change.key];
  if (!keys.every(isKey)) throw new TypeError(`belfry: store: ${JSON.stringify(keys)} are no keys`);
  return "remove" in change ? change : { table: change.table, key: change.key, text: encodeValue(change.value) };
}

export function textOf(line: Line): string {
  if ("last" in line) return `#${line.last}\n`;
  const letter = letters[line.table];
  if ("text" in line) return `+${letter}${JSON.stringify(line.key)}\n${line.text}\n`;
  return `-${letter}${JSON.stringify([line.remove.from ?? null, line.remove.to ?? null])}\n`;
}

export function recordOf(text: string): Buffer {
  const record = Buffer.allocUnsafe(overhead + Buffer.byteLength(text));
  marker.copy(record);
  record.write(text, overhead);
  record.writeUInt32LE(record.length - overhead, 4);
  record.writeUInt32LE(crc32(record.subarray(overhead)), 8);
  return record;
}

export interface Parsed {
  /** Up to which byte the file is whole. What follows is the record that was being written when all ended, or nothing. */
  readonly end: number;
  /** Records that had been written are damaged; the lines were those of the others. */
  readonly damaged: boolean;
}

/** Reports whether a file is of a version that this code does not know. */
export function isNewer(file: Buffer): boolean {
  const version = header.length - 1;
  return file.length > version && file.subarray(0, version).equals(header.subarray(0, version)) && file[version]! > header[version]!;
}

/**
 * Reads a file, and tells its lines in their order. Returns undefined if it is none of
 * this format and version. Never throws.
 */
export function parseFile(file: Buffer, tell: (line: Line<number>) => void): Parsed | undefined {
  if (!file.subarray(0, header.length).equals(header)) {
    // Whoever made the file may have got no further.
    return header.subarray(0, file.length).equals(file) ? { end: 0, damaged: false } : undefined;
  }
  const names = new Map<string, string>();
  let end = header.length;
  let damaged = false;
  for (let at = end; at >= 0; at = file.indexOf(marker, at)) {
    const record = readRecord(file, at, names);
    if (!record) {
      at++;
      continue;
    }
    damaged ||= at !== end;
    for (const line of record) tell(line);
    at = end = at + overhead + file.readUInt32LE(at + 4);
  }
  return { end, damaged };
}

/** The value's text that begins at a place of a file that was read, and has `textLength` bytes. */
export function textAt(file: Buffer, at: number): string {
  return file.toString("utf8", at, file.indexOf(newline, at));
}

export function textLength(file: Buffer, at: number): number {
  return file.indexOf(newline, at) - at;
}

/** The lines of the record that begins at a place; undefined if there is none, or not all of it. */
function readRecord(file: Buffer, at: number, names: Map<string, string>): Line<number>[] | undefined {
  if (file.length - at < overhead || file.compare(marker, 0, marker.length, at, at + marker.length) !== 0) return undefined;
  const length = file.readUInt32LE(at + 4);
  if (length > Math.min(maxRecord, file.length - at) - overhead) return undefined;
  const from = at + overhead;
  return crc32(file.subarray(from, from + length)) === file.readUInt32LE(at + 8) ? parseText(file, from, from + length, names) : undefined;
}

/** The lines of a record's text; undefined if it has others. `names` are the texts that keys began with, so that equal ones share memory. */
function parseText(file: Buffer, from: number, to: number, names: Map<string, string>): Line<number>[] | undefined {
  const lines: Line<number>[] = [];
  const endOf = (at: number) => {
    const end = file.indexOf(newline, at);
    if (end < 0 || end >= to) throw new Error("no end of line");
    return end;
  };
  try {
    for (let at = from; at < to; ) {
      const end = endOf(at);
      // Of its own rather than a part of a larger string, which would stay in memory.
      const line = file.toString("utf8", at, end);
      at = end + 1;
      if (line.startsWith("#")) {
        const last = Number(line.slice(1));
        if (!Number.isSafeInteger(last) || last < 0) return undefined;
        lines.push({ last });
        continue;
      }
      const table = tableOf.get(line.charAt(1));
      const rest: unknown = JSON.parse(line.slice(2));
      if (!table) return undefined;
      if (line.startsWith("+") && isKey(rest)) {
        lines.push({ table, key: withName(rest, names), text: at });
        at = endOf(at) + 1;
      } else if (line.startsWith("-") && isBounds(rest)) lines.push({ table, remove: { ...(rest[0] && { from: rest[0] }), ...(rest[1] && { to: rest[1] }) } });
      else return undefined;
    }
  } catch {
    return undefined;
  }
  return lines;
}

function withName(key: (string | number)[], names: Map<string, string>): Key {
  const [name] = key;
  if (typeof name !== "string") return key;
  const known = names.get(name);
  if (known === undefined) names.set(name, name);
  else key[0] = known;
  return key;
}

function isKey(x: unknown): x is (string | number)[] {
  return Array.isArray(x) && x.every((e) => typeof e === "string" || (Number.isSafeInteger(e) && e >= 0));
}

function isBounds(x: unknown): x is [Key | null, Key | null] {
  return Array.isArray(x) && x.length === 2 && x.every((b) => b === null || isKey(b));
}
