import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";
import sqlite from "node-sqlite3-wasm";
import { afterAll, expect, test } from "vitest";

import { decodeKey, encodeKey, type ExpoSQLite, expoSQLite } from "../src/expo-sqlite.ts";
import { before, key } from "./store/model.ts";
import { keepsContract } from "./store/run.ts";

const seed = Number(process.env.BELFRY_STORE_SEED ?? 1);
const root = mkdtempSync(join(tmpdir(), "belfry-sqlite-"));
afterAll(() => rmSync(root, { recursive: true }));

/** expo-sqlite over another SQLite: the same calls, each in a task of its own. */
function expo(folder: string, setup = ""): ExpoSQLite {
  const later = async <T>(work: () => T): Promise<T> => {
    await new Promise((resolve) => setImmediate(resolve));
    return work();
  };
  return {
    openDatabaseAsync: (name) =>
      later(() => {
        const db = new sqlite.Database(join(folder, name));
        db.exec(setup);
        return {
          execAsync: (source) => later(() => db.exec(source)),
          runAsync: (source, params) => later(() => db.run(source, params)),
          getAllAsync: <T>(source: string, params: (string | number)[]) => later(() => db.all(source, params) as T[]),
          closeAsync: () => later(() => db.close()),
        };
      }),
    deleteDatabaseAsync: (name) => later(() => rmSync(join(folder, name))),
  };
}

const newFolder = () => mkdtempSync(join(root, "db-"));
/** No test is decided by how busy the machine is. */
const patient = { openMs: 60_000 };
const of = { server: "wss://chat.example/v1/ws", user: "alice" };

keepsContract("expo-sqlite", () => {
  const open = expoSQLite(expo(newFolder()), patient);
  return { lasting: true, strict: true, open: (user) => open({ server: of.server, user }) };
}, { runs: 50, stepsPerRun: 30 });

test("keys as text are in the order of keys, and are read again", () => {
  fc.assert(
    fc.property(key, key, (a, b) => {
      expect(decodeKey(encodeKey(a))).toEqual(a);
      expect(encodeKey(a) < encodeKey(b)).toBe(before(a, b));
      expect(encodeKey(a)).toMatch(/^[ -~]*$/);
    }),
    { seed, numRuns: 10_000 },
  );
});

test("users whose names differ in signs and capitals have different files", async () => {
  const folder = newFolder();
  const open = expoSQLite(expo(folder), patient);
  for (const user of ["a/b", "a_2fb", "A/b", "-a/b", "a_b", "../a"]) await (await open({ ...of, user })).store.close();
  expect(new Set(readdirSync(folder).map((n) => n.toLowerCase())).size).toBe(6);
});

test("a full disk refuses a batch as a whole and keeps what there is", async () => {
  const { store } = await expoSQLite(expo(newFolder(), "PRAGMA max_page_count = 30"), patient)(of);
  await store.write([{ table: "meta", key: ["a"], value: 1 }]);
  const body = "x".repeat(10_000);
  const batch = Array.from({ length: 20 }, (_, i) => ({ table: "messages" as const, key: [i], value: body }));
  await expect(store.write([{ table: "meta", key: ["a"], value: 2 }, ...batch])).rejects.toMatchObject({ failure: "quota" });
  expect(await store.list("messages", {})).toEqual([]);
  expect(await store.get("meta", ["a"])).toBe(1);
  await store.write([{ table: "meta", key: ["a"], value: 3 }]);
  expect(await store.get("meta", ["a"])).toBe(3);
  await store.close();
});

test("a file that is no database is replaced, and the store says that it lost something", async () => {
  const folder = newFolder();
  const first = await expoSQLite(expo(folder), patient)(of);
  await first.store.close();
  const [name] = readdirSync(folder);
  writeFileSync(join(folder, name ?? ""), "not a database".repeat(1_000));
  const second = await expoSQLite(expo(folder), patient)(of);
  expect([second.lost, second.store.durability]).toEqual([true, "persistent"]);
  await second.store.write([{ table: "meta", key: ["a"], value: 1 }]);
  await second.store.close();
  const third = await expoSQLite(expo(folder), patient)(of);
  expect([third.lost, await third.store.get("meta", ["a"])]).toEqual([undefined, 1]);
  await third.store.erase();
  expect(existsSync(join(folder, name ?? ""))).toBe(false);
});

test("a database that takes its time is waited for, and that is told", async () => {
  const real = expo(newFolder());
  let allow!: () => void;
  const allowed = new Promise<void>((resolve) => (allow = resolve));
  const slow: ExpoSQLite = { ...real, openDatabaseAsync: (name) => allowed.then(() => real.openDatabaseAsync(name)) };
  const causes: string[] = [];
  const waits = (cause: string) => {
    causes.push(cause);
    allow();
  };
  const { store } = await expoSQLite(slow, { openMs: 1 })(of, { signal: new AbortController().signal, waits });
  expect([store.durability, causes]).toEqual(["persistent", ["timeout"]]);
  await store.close();
});

test("a database that another process has locked is waited for, and that is told once", async () => {
  const real = expo(newFolder());
  let refusals = 3;
  const busy: ExpoSQLite = { ...real, openDatabaseAsync: (name) => (refusals-- > 0 ? Promise.reject(new Error("Error code 5: database is locked")) : real.openDatabaseAsync(name)) };
  const causes: string[] = [];
  const { store } = await expoSQLite(busy, patient)(of, { signal: new AbortController().signal, waits: (cause) => causes.push(cause) });
  expect([store.durability, causes]).toEqual(["persistent", ["blocked"]]);
  await store.close();
});

test("a wait that is over ends, and the database that opens after that is closed", async () => {
  const real = expo(newFolder());
  let open!: () => void;
  const allowed = new Promise<void>((resolve) => (open = resolve));
  let closed!: () => void;
  const isClosed = new Promise<void>((resolve) => (closed = resolve));
  const late: ExpoSQLite = {
    ...real,
    async openDatabaseAsync(name) {
      await allowed;
      const db = await real.openDatabaseAsync(name);
      return { ...db, closeAsync: () => db.closeAsync().then(closed) };
    },
  };
  const end = new AbortController();
  const opening = expoSQLite(late, patient)(of, { signal: end.signal, waits: () => {} });
  end.abort();
  await expect(opening).rejects.toMatchObject({ code: "storage" });
  open();
  await isClosed;
});

test("a database that cannot be had is named, and why", async () => {
  const refused: ExpoSQLite = { ...expo(newFolder()), openDatabaseAsync: () => Promise.reject(new Error("unable to open database file")) };
  await expect(expoSQLite(refused, patient)(of)).rejects.toMatchObject({ code: "storage", message: expect.stringMatching(/alice\.db cannot be opened: unable to open database file/) as string });
});
