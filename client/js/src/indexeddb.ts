/**
 * The store of browsers: an IndexedDB database per server and user.
 *
 * Each table is an object store with the tables' keys, except that the outbox has the
 * numbers themselves, as its key generator gives them. In front of the keys lies the
 * number 0: it is there as long as the table is, so it tells whether a browser has
 * thrown that away. Its value in meta is the store's life. That all are gone tells a mark
 * in localStorage.
 *
 * A page may be frozen at any time, and what it holds then is held for days. So a
 * transaction makes all of its requests at once and commits, without waiting for an
 * answer in between, and a page that is about to be frozen closes its connection.
 */

import { deleteDB, type IDBPDatabase, type IDBPTransaction, openDB } from "idb";

import { memoryStore } from "./memory.ts";
import {
  type Change,
  type Entry,
  type Key,
  type OpenStore,
  type Opened,
  type Range,
  type Store,
  StoreError,
  type StoreFailure,
  type Table,
  type Value,
} from "./store.ts";

/** What `indexedDB` takes. */
export interface IndexedDBOptions {
  /**
   * Whether to ask the browser to keep the database when room is short. Browsers
   * decide by themselves, only Firefox asks its user. Default: true.
   */
  readonly persist?: boolean;
  /**
   * After how many milliseconds without a database the store is one in memory, or where
   * the browser has ended the connection, an operation fails. A tenth of that is waited
   * for a user who is asked whether to keep it. Default: 2,000.
   */
  readonly openMs?: number;
  /** For tests: the version of the tables. Default: the current one. */
  readonly version?: number;
}

/** The version of the tables. An older tab that is asked to make room for a newer version closes its store. */
const currentVersion = 1;
const tables: readonly Table[] = ["messages", "conversations", "outbox", "meta"];
const canary = 0;

/** By how much a life is greater than the one before at least: than the numbers of the leaderships in it, too. */
const lifeStep = 1_000;

/** How long an erased database may take to go, once it is empty, in milliseconds: other tabs may be frozen. */
const deleteMs = 2_000;

type Database = IDBPDatabase<unknown>;
type Cause = NonNullable<Opened["cause"]>;

/** Opens stores in IndexedDB, or says why they are in memory. */
export function indexedDB({ persist = true, openMs = 2_000, version = currentVersion }: IndexedDBOptions = {}): OpenStore {
  return async ({ server, user }) => {
    const name = `belfry ${JSON.stringify([server, user])}`;
    let over = false;
    let blocked = false;
    const opening = open(name, version, isKept(persist), openMs, () => (blocked = true)).then(async (opened) => {
      if (over) await opened.store.close(); // nobody waits for it any more
      return opened;
    });
    try {
      return (await Promise.race([opening, after(openMs)])) ?? inMemory(blocked ? "blocked" : "timeout");
    } catch (err) {
      return inMemory(causes[nameOf(err)] ?? "corrupt");
    } finally {
      over = true;
      opening.catch(() => {});
    }
  };
}

function inMemory(cause: Cause): Opened {
  return { store: memoryStore(), cause };
}

/** What errors of opening mean. Firefox before 115 says InvalidStateError in private windows. */
const causes: Readonly<Record<string, Cause>> = {
  SecurityError: "denied",
  NotAllowedError: "denied",
  InvalidStateError: "denied",
  QuotaExceededError: "quota",
  VersionError: "outdated",
  ReferenceError: "unsupported",
  TypeError: "unsupported",
};

/** What errors of an open store mean. ConstraintError: only a fence is added rather than put. */
const failures: Readonly<Record<string, StoreFailure>> = { QuotaExceededError: "quota", ConstraintError: "fenced" };

async function open(name: string, version: number, kept: Promise<boolean>, openMs: number, blocked: () => void): Promise<Opened> {
  const link = linkTo(name, version, openMs, blocked);
  try {
    const lost = await link.open();
    const persistent = (await Promise.race([kept, after(openMs / 10)])) ?? false;
    const store = storeOf(link, name, persistent ? "persistent" : "temporary");
    await store.list("conversations", { limit: 1 }); // one that cannot be read is left as it is
    return { store, ...(!persistent && { cause: "notGranted" as const }), ...(lost && { lost }) };
  } catch (err) {
    link.close();
    throw err;
  }
}

async function isKept(ask: boolean): Promise<boolean> {
  try {
    const { storage } = navigator; // pages that are not secure have none
    return (await storage.persisted()) || (ask && (await storage.persist()));
  } catch {
    return false;
  }
}

/** What tells that there was a database. Workers have no localStorage, and browsers may refuse it: then nothing does. */
function mark(name: string): { has(): boolean; set(): void; remove(): void } {
  const attempt = <T>(work: () => T): T | undefined => {
    try {
      return work();
    } catch {
      return undefined;
    }
  };
  return {
    has: () => typeof attempt(() => localStorage.getItem(name)) === "string",
    set: () => attempt(() => localStorage.setItem(name, "")),
    remove: () => attempt(() => localStorage.removeItem(name)),
  };
}

/** The connection to a database. A page that was frozen gets a new one, and so does one whose connection the browser has ended. */
interface Link {
  /** Makes the first connection. Resolves to whether something was lost. */
  open(): Promise<boolean>;
  /** Rejects as `closed` if another tab has erased the database while this page was frozen. */
  db(): Promise<Database>;
  life(): number;
  /** Reports whether it is closed for good: by us, or for another tab's upgrade or erasure. */
  closed(): boolean;
  close(): void;
}

function linkTo(name: string, version: number, openMs: number, blocked: () => void): Link {
  let life = 0;
  let closed = false;
  let ended = false; // by the browser, as it does when its user clears what sites have stored
  let connection: Promise<Database> | undefined;

  /** Connects, and mends what is there. Resolves to the connection and whether something was lost. */
  const connect = async (mayMake: boolean): Promise<[Database, boolean]> => {
    const first = Math.max(Date.now(), life + lifeStep);
    let made = false;
    const db: Database = await openDB(name, version, {
      upgrade(of, oldVersion, _, tx) {
        if (!mayMake) return tx.abort(); // it was erased while the page was frozen
        made = oldVersion === 0;
        for (const table of tables) {
          if (of.objectStoreNames.contains(table)) continue;
          const rows = of.createObjectStore(table, { autoIncrement: table === "outbox" });
          rows.put(first, canary).catch(() => {}); // then opening fails too
        }
      },
      blocked,
      blocking: () => close(),
      terminated() {
        ended = true;
        disconnect();
      },
    });
    try {
      const [now, lost] = made ? [first, mark(name).has()] : await mend(db, first);
      life = now;
      mark(name).set();
      return [db, lost];
    } catch (err) {
      db.close();
      throw err;
    }
  };
  const disconnect = () => {
    connection?.then((db) => db.close()).catch(() => {});
    connection = undefined;
  };
  const close = () => {
    closed = true;
    disconnect();
    globalThis.document?.removeEventListener("freeze", disconnect);
  };
  const reconnect = async (): Promise<Database> => {
    let over = false;
    const connecting = connect(ended).then(([db]) => {
      if (over) db.close();
      return db;
    });
    try {
      const db = await Promise.race([connecting, after(openMs)]);
      if (!db) throw new Error("the browser does not open the database again");
      ended = false;
      return db;
    } catch (err) {
      over = true;
      connecting.catch(() => {});
      if (!ended && nameOf(err) === "AbortError") close();
      throw err;
    }
  };
  globalThis.document?.addEventListener("freeze", disconnect);
  return {
    async open() {
      const first = connect(true);
      connection = first.then(([db]) => db);
      connection.catch(() => {});
      return (await first)[1];
    },
    db() {
      if (connection) return connection;
      const next = (connection = reconnect());
      next.catch(() => {
        if (connection === next) connection = undefined; // the next operation tries again
      });
      return next;
    },
    life: () => life,
    closed: () => closed,
    close,
  };
}

/**
 * Resolves to the store's life, and whether a table was thrown away. Then nothing that is
 * left can be relied on but the outbox, whose entries need nothing else: the other tables
 * are emptied, and the next life begins.
 */
async function mend(db: Database, next: number): Promise<[number, boolean]> {
  const found = await canaries(db);
  const gone = tables.filter((_, i) => found[i] === undefined);
  if (gone.length === 0) return [lifeOf(found), false];
  const others = tables.filter((table) => table !== "outbox");
  await transact(db, "readwrite", tables, [
    ...gone.map((table): Request => (tx) => tx.objectStore(table).add(next, canary)), // fails if another tab has been faster
    (tx) => tx.objectStore("meta").put(next, canary),
    ...others.map((table) => change({ table, remove: {} })),
  ]).catch((err: unknown) => {
    if (nameOf(err) !== "ConstraintError") throw err;
  });
  return [lifeOf(await canaries(db)), true];
}

function canaries(db: Database): Promise<unknown[]> {
  return transact(db, "readonly", tables, tables.map((table) => (tx) => tx.objectStore(table).get(canary)));
}

function lifeOf(canaries: readonly unknown[]): number {
  return Number(canaries[tables.indexOf("meta")]);
}

function storeOf(link: Link, name: string, durability: "persistent" | "temporary"): Store {
  const run = async (mode: IDBTransactionMode, of: readonly Table[], requests: readonly Request[], fence = Infinity, durability?: "relaxed"): Promise<unknown[]> => {
    if (link.closed()) throw new StoreError("closed");
    try {
      const db = await link.db();
      if (fence < link.life()) throw new StoreError("lost");
      return await transact(db, mode, of, requests, durability);
    } catch (err) {
      if (err instanceof StoreError) throw err;
      throw new StoreError(link.closed() ? "closed" : (failures[nameOf(err)] ?? "broken"), { cause: err });
    }
  };
  return {
    durability,
    life: link.life,
    async get(table, key) {
      const [value] = await run("readonly", [table], [(tx) => tx.objectStore(table).get(idbKey(table, key))]);
      return value as Value | undefined;
    },
    async list(table, { limit, reverse, ...range }) {
      const keys = limit === 0 ? undefined : keyRange(table, range);
      const [entries] = await run("readonly", [table], keys ? [(tx) => (reverse ? backward : forward)(tx, table, keys, limit)] : []);
      return (entries as Entry[] | undefined) ?? [];
    },
    async write(changes, fence, relaxed) {
      const requests = changes.map(change);
      const of = new Set(changes.map((c) => c.table));
      if (fence !== undefined || of.size === 0) of.add("meta");
      if (fence !== undefined) {
        const over = ["over", fence];
        requests.unshift((tx) => tx.objectStore("meta").add(true, over), (tx) => tx.objectStore("meta").delete(over));
      }
      await run("readwrite", [...of], requests, fence, relaxed ? "relaxed" : undefined);
    },
    async append(table, value) {
      const [n] = await run("readwrite", [table], [(tx) => tx.objectStore(table).add(compact(value))]);
      return n as number;
    },
    async close() {
      link.close();
    },
    async erase() {
      // Emptied first: a tab that is frozen keeps the database from going, and may do so for days.
      await run("readwrite", tables, tables.map((table) => change({ table, remove: {} })));
      link.close();
      mark(name).remove();
      try {
        await Promise.race([deleteDB(name), after(deleteMs)]);
      } catch (err) {
        throw new StoreError("broken", { cause: err });
      }
    },
  };
}

/** Asks something of a transaction, synchronously. */
type Request = (tx: IDBPTransaction<unknown, Table[], "readwrite">) => Promise<unknown>;

/** Makes requests in a transaction. When it resolves, to their results, it is safe on the disk; when it rejects, nothing has changed. */
async function transact(db: Database, mode: IDBTransactionMode, of: readonly Table[], requests: readonly Request[], durability: "strict" | "relaxed" = "strict"): Promise<unknown[]> {
  const tx = db.transaction([...of], mode, { durability }) as IDBPTransaction<unknown, Table[], "readwrite">;
  tx.done.catch(() => {}); // waited for below
  const results: Promise<unknown>[] = [];
  try {
    for (const request of requests) {
      const result = request(tx);
      result.catch(() => {}); // waited for below
      results.push(result);
    }
  } catch (err) {
    tx.abort();
    throw err;
  }
  if (mayFreeze() && (mode === "readwrite" || hasGetAllRecords())) tx.commit();
  try {
    await tx.done;
  } catch (err) {
    // A request that failed says why, or else the transaction does: the others only that it was aborted.
    for (const result of results) await result.catch((e: unknown) => (nameOf(e) === "AbortError" ? undefined : Promise.reject(e)));
    throw tx.error ?? err;
  }
  return Promise.all(results);
}

/**
 * Reports whether the browser freezes pages where they are, as Chromium does. Others
 * are not asked to commit: Firefox then makes what it was asked for though a request,
 * as that of a fence, has failed.
 */
function mayFreeze(): boolean {
  return typeof document === "object" && "onfreeze" in document;
}

function change(change: Change): Request {
  const { table } = change;
  if (!("remove" in change)) return (tx) => tx.objectStore(table).put(compact(change.value), idbKey(table, change.key));
  const keys = keyRange(table, change.remove);
  return async (tx) => keys && tx.objectStore(table).delete(keys);
}

function idbKey(table: Table, key: Key): IDBValidKey {
  return table === "outbox" ? key[0]! : (key as IDBValidKey);
}

/** The keys of a range but for the canary; undefined if there can be none. */
function keyRange(table: Table, { from, to }: Range): IDBKeyRange | undefined {
  const lower = idbKey(table, from?.length ? from : table === "outbox" ? [canary + 1] : []);
  if (!to) return IDBKeyRange.lowerBound(lower);
  const upper = idbKey(table, to) ?? canary;
  return globalThis.indexedDB.cmp(lower, upper) < 0 ? IDBKeyRange.bound(lower, upper, false, true) : undefined;
}

const entryOf = (table: Table, key: IDBValidKey, value: unknown): Entry => ({
  key: table === "outbox" ? [key as number] : (key as Key),
  value: value as Value,
});

async function forward(tx: Parameters<Request>[0], table: Table, range: IDBKeyRange, limit?: number): Promise<Entry[]> {
  const rows = tx.objectStore(table);
  const [keys, values] = await Promise.all([rows.getAllKeys(range, limit), rows.getAll(range, limit)]);
  return keys.map((key, i) => entryOf(table, key, values[i]));
}

interface Records {
  getAllRecords?(options: { query: IDBKeyRange; count: number | undefined; direction: "prev" }): Promise<{ key: IDBValidKey; value: unknown }[]>;
}

/** Browsers before 2025 have none: their cursors wait for the page. */
const hasGetAllRecords = () => "getAllRecords" in IDBObjectStore.prototype;

async function backward(tx: Parameters<Request>[0], table: Table, range: IDBKeyRange, limit = 2 ** 32 - 1): Promise<Entry[]> {
  const rows = tx.objectStore(table);
  const records = (rows as Records).getAllRecords?.({ query: range, count: limit, direction: "prev" });
  if (records) return (await records).map(({ key, value }) => entryOf(table, key, value));
  const entries: Entry[] = [];
  for (let cursor = await rows.openCursor(range, "prev"); cursor; cursor = await cursor.continue()) {
    entries.push(entryOf(table, cursor.key, cursor.value));
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
