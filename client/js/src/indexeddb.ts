/**
 * The store of browsers: an IndexedDB database per server and user.
 *
 * Each table is an object store with the tables' keys. In front of them lies the
 * number 0, where a table keeps the last number that `append` gave. It is there as
 * long as the table is, so that it also tells whether a browser has thrown a table
 * away; that all are gone tells a mark in localStorage.
 */

import { deleteDB, type IDBPDatabase, type IDBPObjectStore, type IDBPTransaction, openDB } from "idb";

import { compareKeys, memoryStore } from "./memory.ts";
import { type Change, type Entry, type Key, type OpenStore, type Opened, type Store, StoreError, type Table, type Value } from "./store.ts";

export interface IndexedDBOptions {
  /**
   * Whether to ask the browser to keep the database when room is short. Browsers
   * decide by themselves, only Firefox asks its user. Default: true.
   */
  readonly persist?: boolean;
}

/** The version of the tables. An older tab that is asked to make room for a newer version closes its store. */
const version = 1;
const tables: readonly Table[] = ["messages", "conversations", "outbox", "meta"];
const lastKey = 0;

/** After what time the store is one in memory, in milliseconds. */
const openMs = 2_000;
/** How long it is waited for a user who is asked whether to keep the database, once it is open, in milliseconds. */
const persistMs = 200;
/** How long an erased database may take to go, once it is empty, in milliseconds: other tabs may be frozen. */
const deleteMs = 2_000;

type Database = IDBPDatabase<unknown>;
type Transaction<M extends IDBTransactionMode> = IDBPTransaction<unknown, string[], M>;

/** Opens stores in IndexedDB, or says why they are in memory. */
export function indexedDB(options: IndexedDBOptions = {}): OpenStore {
  return async ({ server, user }) => {
    const name = `belfry ${JSON.stringify([server, user])}`;
    let over = false;
    let blocked = false;
    const opening = open(name, options, () => (blocked = true)).then(async (opened) => {
      if (over) await opened.store.close(); // nobody waits for it any more
      return opened;
    });
    try {
      return await Promise.race([opening, after(openMs)]).then((opened) => opened ?? inMemory(blocked ? "blocked" : "timeout"));
    } catch (err) {
      return inMemory(causeOf(err));
    } finally {
      over = true;
      opening.catch(() => {});
    }
  };
}

function inMemory(cause: NonNullable<Opened["cause"]>): Opened {
  return { store: memoryStore(), cause };
}

function causeOf(err: unknown): NonNullable<Opened["cause"]> {
  switch (nameOf(err)) {
    case "SecurityError":
    case "InvalidStateError": // private windows of Firefox before 115
    case "NotAllowedError":
      return "denied";
    case "QuotaExceededError":
      return "quota";
    case "VersionError":
      return "outdated";
    case "ReferenceError":
    case "TypeError":
      return "unsupported";
    default:
      return "corrupt";
  }
}

async function open(name: string, { persist = true }: IndexedDBOptions, blocked: () => void): Promise<Opened> {
  const kept = isKept(persist).catch(() => false);
  let created = false;
  let closed = false;
  const db = await openDB(name, version, {
    upgrade(db, oldVersion) {
      created = oldVersion === 0;
      for (const table of tables) void db.createObjectStore(table).put(0, lastKey);
    },
    blocked,
    blocking: (_, __, event) => {
      closed = true;
      (event.target as IDBDatabase).close();
    },
    terminated: () => (closed = true),
  });
  try {
    const lost = created ? mark(name).has() : await mend(db);
    mark(name).set();
    const persistent = (await Promise.race([kept, after(persistMs)])) ?? false;
    const store = storeOf(db, name, persistent ? "persistent" : "temporary", () => closed);
    return { store, ...(!persistent && { cause: "notGranted" as const }), ...(lost && { lost }) };
  } catch (err) {
    db.close();
    throw err;
  }
}

async function isKept(ask: boolean): Promise<boolean> {
  const { storage } = navigator;
  return (await storage.persisted()) || (ask && (await storage.persist()));
}

/** What tells that there was a database. Workers have no localStorage, and browsers may refuse it: then nothing does. */
function mark(name: string): { has(): boolean; set(): void; remove(): void } {
  const attempt = <T>(work: () => T, otherwise: T): T => {
    try {
      return work();
    } catch {
      return otherwise;
    }
  };
  return {
    has: () => attempt(() => localStorage.getItem(name) !== null, false),
    set: () => attempt(() => localStorage.setItem(name, ""), undefined),
    remove: () => attempt(() => localStorage.removeItem(name), undefined),
  };
}

/**
 * Reports whether a table was thrown away. Then nothing that is left can be relied on
 * but the outbox, whose entries need nothing else: the other tables are emptied.
 */
async function mend(db: Database): Promise<boolean> {
  const hole = async (tx: Transaction<IDBTransactionMode>) => (await Promise.all(tables.map((t) => tx.objectStore(t).get(lastKey)))).includes(undefined);
  if (!(await transact(db, "readonly", tables, hole))) return false;
  return transact(db, "readwrite", tables, async (tx) => {
    if (!(await hole(tx))) return true; // another tab has been faster
    const outbox = tx.objectStore("outbox");
    const last = (await outbox.openKeyCursor(null, "prev"))?.key;
    const number = Array.isArray(last) ? last[0] : last;
    for (const table of tables) if (table !== "outbox") await tx.objectStore(table).clear();
    await Promise.all(tables.map((table) => tx.objectStore(table).put(table === "outbox" ? (number ?? 0) : 0, lastKey)));
    return true;
  });
}

function storeOf(db: Database, name: string, durability: "persistent" | "temporary", isClosed: () => boolean): Store {
  let left = false;
  const run = async <T, M extends "readonly" | "readwrite">(mode: M, of: readonly Table[], work: (tx: Transaction<M>) => Promise<T>) => {
    if (left || isClosed()) throw new StoreError("closed");
    try {
      return await transact(db, mode, of, work);
    } catch (err) {
      if (err instanceof StoreError) throw err;
      const quota = nameOf(err) === "QuotaExceededError";
      throw new StoreError(isClosed() ? "closed" : quota ? "quota" : "broken", { cause: err });
    }
  };
  const close = async () => {
    left = true;
    db.close();
  };
  return {
    durability,
    get: (table, key) => run("readonly", [table], (tx) => tx.objectStore(table).get(key as IDBValidKey) as Promise<Value | undefined>),
    async list(table, { from = [], to, limit, reverse }) {
      if (limit === 0 || (to && compareKeys(from, to) >= 0)) return run("readonly", [table], async () => []);
      const range = keyRange(from, to);
      return run("readonly", [table], (tx) => (reverse ? backward : forward)(tx.objectStore(table), range, limit));
    },
    async write(changes, fence) {
      const of = new Set(changes.map((c) => c.table));
      if (fence !== undefined) of.add("meta");
      if (of.size === 0) return run("readonly", ["meta"], async () => {});
      await run("readwrite", [...of], async (tx) => {
        if (fence !== undefined && ((await tx.objectStore("meta").get(["leader"])) ?? "") !== fence) throw new StoreError("fenced");
        await Promise.all(changes.map((change) => make(tx, change)));
      });
    },
    append: (table, value) =>
      run("readwrite", [table], async (tx) => {
        const rows = tx.objectStore(table);
        const n = (((await rows.get(lastKey)) as number | undefined) ?? 0) + 1;
        await Promise.all([rows.put(compact(value), [n]), rows.put(n, lastKey)]); // what may throw comes first
        return n;
      }),
    close,
    async erase() {
      // Emptied first: a tab that is frozen keeps the database from going, and may do so for days.
      await run("readwrite", tables, (tx) => Promise.all(tables.map((table) => tx.objectStore(table).delete(keyRange([])))));
      await close();
      mark(name).remove();
      await Promise.race([deleteDB(name), after(deleteMs)]).catch((err: unknown) => {
        throw new StoreError("broken", { cause: err });
      });
    },
  };
}

/** Runs work in a transaction that is safe on the disk when it resolves; when it rejects, nothing has changed. */
async function transact<T, M extends "readonly" | "readwrite">(
  db: Database,
  mode: M,
  of: readonly Table[],
  work: (tx: Transaction<M>) => Promise<T>,
): Promise<T> {
  const tx = db.transaction([...of], mode, { durability: "strict" });
  const done = tx.done.catch((err: unknown) => {
    throw tx.error ?? err; // why it was aborted, for want of room for example
  });
  done.catch(() => {}); // waited for below
  try {
    const result = await work(tx);
    await done;
    return result;
  } catch (err) {
    if (nameOf(err) === "AbortError") await done;
    try {
      tx.abort();
    } catch {
      // it has ended by itself
    }
    throw err;
  }
}

async function make(tx: Transaction<"readwrite">, change: Change): Promise<void> {
  const rows = tx.objectStore(change.table);
  if (!("remove" in change)) {
    await rows.put(compact(change.value), change.key as IDBValidKey);
    return;
  }
  const { from = [], to } = change.remove;
  if (!to || compareKeys(from, to) < 0) await rows.delete(keyRange(from, to));
}

function keyRange(from: Key, to?: Key): IDBKeyRange {
  return to ? IDBKeyRange.bound(from, to, false, true) : IDBKeyRange.lowerBound(from);
}

type Rows = Pick<IDBPObjectStore<unknown, string[], Table, "readonly">, "getAll" | "getAllKeys" | "openCursor">;

async function forward(rows: Rows, range: IDBKeyRange, limit?: number): Promise<Entry[]> {
  const [keys, values] = await Promise.all([rows.getAllKeys(range, limit), rows.getAll(range, limit)]);
  return keys.map((key, i) => ({ key: key as Key, value: values[i] as Value }));
}

async function backward(rows: Rows, range: IDBKeyRange, limit = Infinity): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let cursor = await rows.openCursor(range, "prev"); cursor; cursor = await cursor.continue()) {
    entries.push({ key: cursor.key as Key, value: cursor.value as Value });
    if (entries.length >= limit) break;
  }
  return entries;
}

/** The value with a copy of each Uint8Array that is a part of a larger buffer: IndexedDB stores all of the buffer. */
function compact(value: Value): Value {
  if (!hasPart(value)) return value;
  if (value instanceof Uint8Array) return value.slice();
  if (Array.isArray(value)) return value.map(compact);
  return Object.fromEntries(Object.entries(value as object).map(([name, v]) => [name, compact(v as Value)]));
}

function hasPart(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.byteLength < value.buffer.byteLength;
  return typeof value === "object" && value !== null && Object.values(value).some(hasPart);
}

function nameOf(err: unknown): string {
  return err instanceof Error || err instanceof DOMException ? err.name : "";
}

/** Resolves to undefined after a time. */
function after(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, ms, undefined));
}
