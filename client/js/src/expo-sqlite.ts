/**
 * The store of React Native: an SQLite database per server and user, through
 * expo-sqlite.
 *
 * Keys are texts that SQLite orders as `Key` says (its texts compare as UTF-8 bytes);
 * values are JSON. All calls of a store wait for each other: expo-sqlite lets whatever
 * is called meanwhile into an open transaction.
 */

import { BelfryError } from "./api.ts";
import { type Change, type Entry, type Key, type OpenStore, type Opened, type Opening, type Store, StoreError, type Table } from "./store.ts";
import { decodeValue, encodeValue } from "./storedvalue.ts";
import { abortable } from "./wait.ts";

/** What is used of the module expo-sqlite: `import * as SQLite from "expo-sqlite"`. */
export interface ExpoSQLite {
  openDatabaseAsync(name: string): Promise<ExpoDatabase>;
  deleteDatabaseAsync(name: string): Promise<void>;
}

/** What is used of its SQLiteDatabase. */
export interface ExpoDatabase {
  execAsync(source: string): Promise<void>;
  runAsync(source: string, params: (string | number)[]): Promise<unknown>;
  getAllAsync<T>(source: string, params: (string | number)[]): Promise<T[]>;
  closeAsync(): Promise<void>;
}

/** What `expoSQLite` takes beside the database. */
export interface ExpoSQLiteOptions {
  /** After how many milliseconds without a database the client tells that it waits for one (`timeout`). Default: 2,000. */
  readonly openMs?: number;
}

const schema = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS entries (tab TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (tab, key)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS numbers (tab TEXT NOT NULL PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
`;

/** How often a database is opened again that another process has locked. */
const retryMs = 250;

/**
 * Keeps stores in databases of expo-sqlite. One that cannot be read is deleted: then the
 * store is empty, and `lost`. While another process has it locked, opening waits
 * (`blocked`). Rejects with `storage`, and says of which database and why, if there can be no store.
 */
export function expoSQLite(sqlite: ExpoSQLite, { openMs = 2_000 }: ExpoSQLiteOptions = {}): OpenStore {
  return async ({ server, user }, opening) => {
    const name = `belfry_${fileNameOf(server)}__${fileNameOf(user)}.db`;
    const timer = setTimeout(() => opening?.waits("timeout"), openMs);
    const work = openUnlocked(sqlite, name, opening);
    try {
      return await abortable(work, opening?.signal);
    } catch (err) {
      work.then(({ store }) => store.close()).catch(() => {}); // nobody waits for it any more
      throw new BelfryError("storage", `the database ${name} cannot be opened: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
    } finally {
      clearTimeout(timer);
    }
  };
}

async function openUnlocked(sqlite: ExpoSQLite, name: string, opening: Opening | undefined): Promise<Opened> {
  for (let told = false; ; told = true) {
    try {
      return await open(sqlite, name);
    } catch (err) {
      if (!isLocked(err) || opening?.signal.aborted) throw err;
    }
    if (!told) opening?.waits("blocked");
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}

async function open(sqlite: ExpoSQLite, name: string): Promise<Opened> {
  try {
    return { store: await openDatabase(sqlite, name) };
  } catch (err) {
    if (!isCorrupt(err)) throw err;
    await sqlite.deleteDatabaseAsync(name);
    return { store: await openDatabase(sqlite, name), lost: true };
  }
}

async function openDatabase(sqlite: ExpoSQLite, name: string): Promise<Store> {
  const db = await sqlite.openDatabaseAsync(name);
  try {
    await db.execAsync(schema);
    return storeOf(sqlite, db, name);
  } catch (err) {
    await db.closeAsync();
    throw err;
  }
}

function storeOf(sqlite: ExpoSQLite, db: ExpoDatabase, name: string): Store {
  let last: Promise<unknown> = Promise.resolve();
  let closing: Promise<void> | undefined;

  /** Runs work when all that was asked for before has ended. */
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    if (closing) throw new StoreError("closed");
    const turn = last.then(work);
    last = turn.catch(() => {});
    try {
      return await turn;
    } catch (err) {
      throw err instanceof StoreError ? err : new StoreError(isFull(err) ? "quota" : "broken", { cause: err });
    }
  };
  const inTransaction = <T>(work: () => Promise<T>) =>
    inTurn(async () => {
      await db.execAsync("BEGIN IMMEDIATE");
      try {
        const result = await work();
        await db.execAsync("COMMIT");
        return result;
      } catch (err) {
        await db.execAsync("ROLLBACK").catch(() => {}); // SQLite may have done so by itself
        throw err;
      }
    });
  const get = async (table: Table, key: Key) => {
    const [row] = await db.getAllAsync<{ value: string }>("SELECT value FROM entries WHERE tab = ? AND key = ?", [table, encodeKey(key)]);
    return row && decodeValue(row.value);
  };
  const close = () => (closing ??= last.then(() => db.closeAsync()));

  return {
    durability: "persistent",
    get: (table, key) => inTurn(() => get(table, key)),
    list: (table, { from, to, limit, reverse }) =>
      inTurn(async () => {
        const rows = await db.getAllAsync<{ key: string; value: string }>(
          `SELECT key, value FROM entries WHERE tab = ? AND key >= ?${to ? " AND key < ?" : ""} ORDER BY key ${reverse ? "DESC" : "ASC"} LIMIT ?`,
          [table, encodeKey(from ?? []), ...(to ? [encodeKey(to)] : []), limit ?? -1],
        );
        return rows.map(({ key, value }): Entry => ({ key: decodeKey(key), value: decodeValue(value) }));
      }),
    write: (changes, fence) =>
      inTransaction(async () => {
        if (fence !== undefined && (await get("meta", ["over", fence])) !== undefined) throw new StoreError("fenced");
        for (const [source, params] of statements(changes)) await db.runAsync(source, params);
      }),
    append: (table, value) =>
      inTransaction(async () => {
        const text = encodeValue(value);
        await db.runAsync("INSERT INTO numbers VALUES (?, 1) ON CONFLICT (tab) DO UPDATE SET last = last + 1", [table]);
        const [row] = await db.getAllAsync<{ last: number }>("SELECT last FROM numbers WHERE tab = ?", [table]);
        const n = row!.last;
        await db.runAsync("INSERT INTO entries VALUES (?, ?, ?)", [table, encodeKey([n]), text]);
        return n;
      }),
    close,
    async erase() {
      if (closing) throw new StoreError("closed");
      await close();
      await sqlite.deleteDatabaseAsync(name);
    },
  };
}

/** How many values one statement sets: SQLite has 999 parameters in its older versions. */
const rowsPerStatement = 300;

/** The statements of changes, with their parameters. Values that follow each other share one: each is a call to native code. */
function statements(changes: readonly Change[]): [string, string[]][] {
  const all: [string, string[]][] = [];
  let rows: string[] = [];
  const flush = () => {
    if (rows.length > 0) all.push([`INSERT OR REPLACE INTO entries VALUES ${Array(rows.length / 3).fill("(?, ?, ?)").join()}`, rows]);
    rows = [];
  };
  for (const c of changes) {
    if ("remove" in c) {
      flush();
      const { from = [], to } = c.remove;
      all.push([`DELETE FROM entries WHERE tab = ? AND key >= ?${to ? " AND key < ?" : ""}`, [c.table, encodeKey(from), ...(to ? [encodeKey(to)] : [])]]);
    } else {
      rows.push(c.table, encodeKey(c.key), encodeValue(c.value));
      if (rows.length === 3 * rowsPerStatement) flush();
    }
  }
  flush();
  return all;
}

/**
 * A key as printable ASCII in the order of keys. A number is `n`, a letter for how many
 * digits it has, and these. A text is `t`, its UTF-16 code units, and a space, which is
 * before all units: " to } are themselves, smaller ones are ! and a character, larger
 * ones ~ and four hexadecimal digits.
 */
export function encodeKey(key: Key): string {
  return key.map((e) => (typeof e === "number" ? `n${String.fromCharCode(96 + String(e).length)}${e}` : `t${encodeText(e)} `)).join("");
}

function encodeText(text: string): string {
  // By code units: without the flag u, a surrogate is a match of its own.
  return text.replace(/[^"-}]/g, (c) => {
    const unit = c.charCodeAt(0);
    return unit < 0x22 ? `!${String.fromCharCode(0x40 + unit)}` : `~${unit.toString(16).padStart(4, "0")}`;
  });
}

/** The key of a text that `encodeKey` made. */
export function decodeKey(text: string): Key {
  const key: (string | number)[] = [];
  for (let at = 0; at < text.length; ) {
    const isNumber = text[at] === "n";
    const end = isNumber ? at + 2 + text.charCodeAt(at + 1) - 96 : text.indexOf(" ", at);
    key.push(isNumber ? Number(text.slice(at + 2, end)) : decodeText(text.slice(at + 1, end)));
    at = isNumber ? end : end + 1;
  }
  return key;
}

function decodeText(text: string): string {
  return text.replace(/!(.)|~(.{4})/g, (_, small: string | undefined, large: string) =>
    String.fromCharCode(small === undefined ? parseInt(large, 16) : small.charCodeAt(0) - 0x40),
  );
}

/** A text as part of a file's name, different ones also where capitals do not count. */
function fileNameOf(text: string): string {
  return text.replace(/[^a-z0-9.]/g, (c) => {
    const hex = c.charCodeAt(0).toString(16);
    if (/[A-Z]/.test(c)) return `-${c.toLowerCase()}`;
    return hex.length > 2 ? `_u${hex.padStart(4, "0")}` : `_${hex.padStart(2, "0")}`;
  });
}

function isFull(err: unknown): boolean {
  return err instanceof Error && /disk is full/.test(err.message);
}

function isLocked(err: unknown): boolean {
  return err instanceof Error && /database is locked/.test(err.message);
}

function isCorrupt(err: unknown): boolean {
  return err instanceof Error && /not a database|malformed/.test(err.message);
}
