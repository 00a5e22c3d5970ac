/**
 * What every store has to do, as cases that throw. They need no test runner, so that
 * they run in Node and in the pages of browsers.
 */

import fc from "fast-check";

import { type Change, type Entry, type Key, type Opened, type Store, StoreError, type Table, type Value } from "../../src/store.ts";
import { change, emptyModel, list, type Model, same, sameKey, show, type Step, steps } from "./model.ts";

/** A store to try. Stores of one name have the same content. */
export interface Subject {
  open(name: string): Promise<Opened>;
  /** What is written is there after a close. */
  readonly lasting?: boolean;
  /** Several may be open at a time, as in the tabs of a browser. */
  readonly shared?: boolean;
  /** Values that are none, as functions, are refused. */
  readonly strict?: boolean;
}

export interface Effort {
  readonly seed: number;
  readonly runs: number;
  readonly stepsPerRun: number;
}

type Case = (subject: Subject, effort: Effort) => Promise<void>;

let names = 0;
const newName = () => `user ${++names} ${Math.random().toString(36).slice(2)}`;

async function opened(subject: Subject, name: string): Promise<Store> {
  const { store, lost } = await subject.open(name);
  if (lost) throw new Error("lost something");
  return store;
}

function equal(what: string, got: unknown, want: unknown): void {
  if (!same(got, want)) throw new Error(`${what} is ${show(got)}, want ${show(want)}`);
}

async function refuses(what: string, promise: Promise<unknown>, failure: string): Promise<void> {
  const err = await promise.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(err instanceof StoreError) || err.failure !== failure) throw new Error(`${what}: ${String(err)}, want a StoreError ${failure}`);
}

const entries = (...pairs: [Key, Value][]): Entry[] => pairs.map(([key, value]) => ({ key, value }));

async function play(subject: Subject, all: readonly Step[]): Promise<void> {
  const name = newName();
  const model: Model = emptyModel();
  const appended: number[] = [];
  let store = await opened(subject, name);
  try {
    for (const step of all) {
      switch (step.do) {
        case "write":
          await store.write(step.changes);
          change(model, step.changes);
          break;
        case "append": {
          const n = await store.append("outbox", step.value);
          if (n <= Math.max(0, ...appended)) throw new Error(`append gave ${n} after ${appended.join()}`);
          appended.push(n);
          change(model, [{ table: "outbox", key: [n], value: step.value }]);
          break;
        }
        case "settle": {
          const n = appended[step.index % Math.max(appended.length, 1)];
          if (n === undefined) break;
          const settled: Change =
            step.value === undefined ? { table: "outbox", remove: { from: [n], to: [n + 1] } } : { table: "outbox", key: [n], value: step.value };
          await store.write([settled]);
          change(model, [settled]);
          break;
        }
        case "get":
          equal(`get ${show(step.key)}`, await store.get(step.table, step.key), model[step.table].find(({ key }) => sameKey(key, step.key))?.value);
          break;
        case "list":
          equal(`list ${show(step.range)}`, await store.list(step.table, step.range), list(model, step.table, step.range));
          break;
        case "reopen":
          if (!subject.lasting) break;
          await store.close();
          store = await opened(subject, name);
          break;
      }
    }
    for (const table of Object.keys(model) as Table[]) equal(`all ${table}`, await store.list(table, {}), list(model, table, {}));
  } finally {
    await store.erase();
  }
}

export const contract: Readonly<Record<string, Case>> = {
  "does what a simple model does": async (subject, { seed, runs, stepsPerRun }) => {
    await fc.assert(
      fc.asyncProperty(steps(stepsPerRun), (all) => play(subject, all)),
      { seed, numRuns: runs },
    );
  },

  "orders keys, and bounds ranges": async (subject) => {
    const store = await opened(subject, newName());
    const keys: Key[] = [[], [0], [0, 0], [0, "a"], [1], [9], [10], ["" ], ["a"], ["a", 0], ["a", "b"], ["a\0"], ["aa"], ["b"], ["\u{10000}"], ["\ue000"]];
    const shuffled = [...keys].sort((a, b) => (show(a) < show(b) ? 1 : -1));
    await store.write(shuffled.map((key) => ({ table: "messages", key, value: show(key) })));
    const all = keys.map((key) => ({ key, value: show(key) }));
    equal("all", await store.list("messages", {}), all);
    equal("reverse", await store.list("messages", { reverse: true, limit: 3 }), all.slice(-3).reverse());
    equal("from and to", await store.list("messages", { from: ["a"], to: ["aa"] }), all.slice(8, 12));
    equal("limit", await store.list("messages", { from: [1], limit: 2 }), all.slice(4, 6));
    equal("none", await store.list("messages", { limit: 0 }), []);
    equal("to before from", await store.list("messages", { from: [2], to: [1] }), []);
    equal("to as from", await store.list("messages", { from: [1], to: [1] }), []);
    equal("other table", await store.list("conversations", {}), []);
    await store.erase();
  },

  "makes changes in their order": async (subject) => {
    const store = await opened(subject, newName());
    await store.write([
      { table: "meta", key: ["a"], value: 1 },
      { table: "meta", key: ["b"], value: 1 },
      { table: "meta", remove: { from: ["a"], to: ["b"] } },
      { table: "meta", key: ["a"], value: 2 },
      { table: "meta", key: ["c"], value: 3 },
      { table: "meta", remove: { from: ["c"] } },
    ]);
    equal("meta", await store.list("meta", {}), entries([["a"], 2], [["b"], 1]));
    await store.write([]);
    await store.erase();
  },

  "shows a batch as a whole": async (subject) => {
    const store = await opened(subject, newName());
    const batch = (version: number) => Array.from({ length: 20 }, (_, i): Change => ({ table: "messages", key: ["c", i], value: version }));
    const writes = Array.from({ length: 10 }, (_, version) => store.write(batch(version)));
    const reads = Array.from({ length: 20 }, () => store.list("messages", {}));
    for (const found of await Promise.all(reads)) {
      const versions = new Set(found.map(({ value }) => value));
      if (versions.size > 1 || (found.length !== 0 && found.length !== 20)) throw new Error(`a read shows ${show(found)}`);
    }
    await Promise.all(writes);
    equal("the last write", (await store.list("messages", {})).map(({ value }) => value), Array.from({ length: 20 }, () => 9));
    await store.erase();
  },

  "refuses a batch as a whole": async (subject) => {
    if (!subject.strict) return;
    const store = await opened(subject, newName());
    await store.write([{ table: "meta", key: ["kept"], value: 1 }]);
    const bad: Change[] = [
      { table: "meta", key: ["kept"], value: 2 },
      { table: "messages", remove: {} },
      { table: "messages", key: ["x"], value: { nested: [(() => {}) as unknown as Value] } },
      { table: "meta", key: ["more"], value: 3 },
    ];
    await refuses("a function", store.write(bad), "broken");
    equal("meta", await store.list("meta", {}), entries([["kept"], 1]));
    await refuses("append of a function", store.append("outbox", (() => {}) as unknown as Value), "broken");
    equal("outbox", await store.list("outbox", {}), []);
    await store.write([{ table: "meta", key: ["kept"], value: 4 }]);
    equal("meta after", await store.get("meta", ["kept"]), 4);
    await store.erase();
  },

  "never gives a number twice": async (subject) => {
    const name = newName();
    let store = await opened(subject, name);
    const given = [await store.append("outbox", "a"), await store.append("outbox", "b")];
    await store.write([{ table: "outbox", remove: { from: [given[1] ?? 0] } }]);
    given.push(await store.append("outbox", "c"));
    await store.write([{ table: "outbox", remove: {} }]);
    if (subject.lasting) {
      await store.close();
      store = await opened(subject, name);
    }
    given.push(...(await Promise.all(Array.from({ length: 10 }, (_, i) => store.append("outbox", i)))));
    given.forEach((n, i) => {
      if (n <= (given[i - 1] ?? 0)) throw new Error(`append gave ${given.join()}`);
    });
    equal("outbox", (await store.list("outbox", {})).map(({ value }) => value), Array.from({ length: 10 }, (_, i) => i));
    await store.erase();
  },

  "appends from several at once": async (subject) => {
    if (!subject.shared) return;
    const name = newName();
    const stores = await Promise.all([1, 2, 3].map(() => opened(subject, name)));
    const given = await Promise.all(stores.flatMap((s, i) => Array.from({ length: 20 }, (_, j) => s.append("outbox", [i, j]))));
    equal("how many numbers there are", new Set(given).size, 60);
    for (const [i, s] of stores.entries()) {
      const own = given.slice(i * 20, i * 20 + 20);
      equal("the order of one", [...own].sort((a, b) => a - b), own);
      equal("what one sees", (await s.list("outbox", {})).length, 60);
    }
    await Promise.all(stores.slice(1).map((s) => s.close()));
    await stores[0]?.erase();
  },

  "refuses writes of who has lost its place": async (subject) => {
    const name = newName();
    const one = await opened(subject, name);
    const two = subject.shared ? await opened(subject, name) : one;
    const first = (one.life?.() ?? 0) + 1;
    await one.write([{ table: "messages", key: [1], value: "of one" }], first);
    await two.write([{ table: "meta", key: ["over", first], value: true }], first + 1);
    await refuses("a write of the first", one.write([{ table: "messages", key: [2], value: "late" }], first), "fenced");
    await refuses("an empty write of the first", one.write([], first), "fenced");
    await two.write([{ table: "messages", key: [3], value: "of two" }], first + 1);
    equal("messages", await one.list("messages", {}), entries([[1], "of one"], [[3], "of two"]));
    equal("meta", await one.list("meta", {}), entries([["over", first], true]));
    if (two !== one) await one.close();
    await two.erase();
  },

  "is closed once and for all": async (subject) => {
    const store = await opened(subject, newName());
    const written = store.write([{ table: "meta", key: ["a"], value: 1 }]);
    await store.close();
    await written;
    await store.close();
    await refuses("get", store.get("meta", ["a"]), "closed");
    await refuses("list", store.list("meta", {}), "closed");
    await refuses("list of none", store.list("meta", { limit: 0 }), "closed");
    await refuses("write", store.write([{ table: "meta", key: ["a"], value: 1 }]), "closed");
    await refuses("append", store.append("outbox", 1), "closed");
  },

  "is empty once it was erased": async (subject) => {
    const name = newName();
    const store = await opened(subject, name);
    await store.write([{ table: "meta", key: ["a"], value: 1 }]);
    await store.append("outbox", 1);
    await store.erase();
    await refuses("get", store.get("meta", ["a"]), "closed");
    const next = await opened(subject, name);
    for (const table of ["messages", "conversations", "outbox", "meta"] as const) equal(table, await next.list(table, {}), []);
    await next.erase();
  },

  "keeps users apart": async (subject) => {
    const [one, two] = [await opened(subject, "one"), await opened(subject, "two")];
    await one.write([{ table: "meta", key: ["a"], value: 1 }]);
    equal("of the other", await two.get("meta", ["a"]), undefined);
    await two.erase();
    equal("its own", await one.get("meta", ["a"]), 1);
    await one.erase();
  },
};
