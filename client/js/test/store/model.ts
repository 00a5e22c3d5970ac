/** The simplest store there is, and random work to compare others with it. Runs in Node and in browsers. */

import fc from "fast-check";

import type { Change, Entry, Key, Range, Table, Value } from "../../src/store.ts";

/** One step: an index where it is about the outbox stands for one of the numbers that were appended. */
export type Step =
  | { readonly do: "write"; readonly changes: readonly Change[] }
  | { readonly do: "append"; readonly value: Value }
  | { readonly do: "settle"; readonly index: number; readonly value: Value | undefined }
  | { readonly do: "get"; readonly table: Table; readonly key: Key }
  | { readonly do: "list"; readonly table: Table; readonly range: Range & { limit?: number; reverse?: boolean } }
  | { readonly do: "reopen" };

/** The entries of each table, in no order. */
export type Model = Record<Table, Entry[]>;

export const emptyModel = (): Model => ({ messages: [], conversations: [], outbox: [], meta: [] });

export const sameKey = (a: Key, b: Key): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The order of keys, in the words of its definition. */
export function before(a: Key, b: Key): boolean {
  for (const [i, y] of b.entries()) {
    const x = a[i];
    if (x === undefined) return true;
    if (x === y) continue;
    if (typeof x === "number") return typeof y === "string" || x < y;
    if (typeof y === "number") return false;
    const unit = (text: string, at: number) => (at < text.length ? text.charCodeAt(at) : -1);
    for (let at = 0; ; at++) if (unit(x, at) !== unit(y, at)) return unit(x, at) < unit(y, at);
  }
  return false;
}

const within = ({ from, to }: Range) => (key: Key) => (!from || !before(key, from)) && (!to || before(key, to));

export function change(model: Model, changes: readonly Change[]): void {
  for (const c of changes) {
    const gone = "remove" in c ? within(c.remove) : (key: Key) => sameKey(key, c.key);
    model[c.table] = model[c.table].filter(({ key }) => !gone(key));
    if (!("remove" in c)) model[c.table].push({ key: c.key, value: c.value });
  }
}

export function list(model: Model, table: Table, { limit = Infinity, reverse = false, ...range }: Range & { limit?: number; reverse?: boolean }): Entry[] {
  const found = model[table].filter(({ key }) => within(range)(key)).sort((a, b) => (before(a.key, b.key) ? -1 : 1));
  return (reverse ? found.reverse() : found).slice(0, limit);
}

/** Numbers and texts that tend to be equal, neighbours, or in the wrong order for whoever compares bytes. */
const element = fc.oneof(
  fc.constantFrom(0, 1, 2, 9, 10, 255, 256, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER),
  fc.constantFrom("", "a", "b", "aa", "a\0", "a\0b", "a\u0001", "\u0002", "é", "\ud800", "\u{10000}", "\udfff", "\ue000", "\uffff"),
);
export const key: fc.Arbitrary<Key> = fc.array(element, { maxLength: 3 });

const bytes = fc.uint8Array({ maxLength: 20 }).map((b) => (b.length > 4 ? b.subarray(1, 4) : b));
export const value = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.oneof(fc.constant(null), fc.boolean(), fc.double(), fc.integer(), fc.string(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n }), bytes),
    fc.constantFrom("\ud800", "\0", "__proto__"),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom("$bin", "$int", "$num", "$$bin", "$", "__proto__")), tie("value"), {
      maxKeys: 3,
      noNullPrototype: true,
    }),
  ),
})).value;

const table = fc.constantFrom<Table>("messages", "conversations", "meta");
const range = fc.record({ from: key, to: key }, { requiredKeys: [] });
const oneChange: fc.Arbitrary<Change> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ table, key, value }) },
  { weight: 1, arbitrary: fc.record({ table, remove: range }) },
);

export const steps = (maxLength: number): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.oneof(
      { weight: 5, arbitrary: fc.record({ do: fc.constant("write" as const), changes: fc.array(oneChange, { maxLength: 8 }) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("append" as const), value }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("settle" as const), index: fc.nat(5), value: fc.option(value, { nil: undefined }) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("get" as const), table, key }) },
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant("list" as const),
          table,
          range: fc.record({ from: key, to: key, limit: fc.nat(4), reverse: fc.boolean() }, { requiredKeys: [] }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("reopen" as const) }) },
    ),
    { maxLength },
  );

/** Reports whether two values are the same, of the same types. */
export function same(a: unknown, b: unknown): boolean {
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && a.length === b.length && a.every((byte, i) => byte === b[i]);
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => same(x, b[i]));
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
  const [x, y] = [Object.entries(a), new Map(Object.entries(b))];
  return x.length === y.size && x.every(([name, v]) => y.has(name) && same(v, y.get(name)));
}

/** A value as text, for failures. */
export function show(v: unknown): string {
  return (
    JSON.stringify(v, (_, x: unknown) =>
      typeof x === "bigint" ? `${x}n` : x instanceof Uint8Array ? `bytes ${x.join()}` : typeof x === "number" && !Number.isFinite(x) ? String(x) : x,
    ) ?? "undefined"
  );
}
