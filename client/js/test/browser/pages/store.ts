/** The page of the tests of indexedDB(). */

import { indexedDB } from "../../../src/indexeddb.ts";
import { type Opened, type Store, StoreError, type Value } from "../../../src/store.ts";
import { contract, type Effort } from "../../store/contract.ts";

const server = "ws://127.0.0.1/v1/ws";
/** No test is decided by how busy the machine is. */
const patientMs = 60_000;
const open = indexedDB({ openMs: patientMs });

export const cases = () => Object.keys(contract);

export async function keeps(name: string, effort: Effort): Promise<void> {
  await contract[name]?.({ lasting: true, shared: true, strict: true, open: (user) => open({ server, user }) }, effort);
}

let current: Store;

/** Opens the store of a user, and says how that went. */
export async function start(user: string, version = 1, openMs = patientMs): Promise<Omit<Opened, "store"> & { durability: string }> {
  const { store, ...rest } = await indexedDB({ version, openMs })({ server, user });
  current = store;
  return { ...rest, durability: store.durability };
}

export const put = (key: string, value: Value) => current.write([{ table: "messages", key: [key], value }]);
export const read = (key: string) => current.get("messages", [key]);
export const append = (value: Value) => current.append("outbox", value);
export const list = async (table: "messages" | "outbox") => (await current.list(table, {})).map(({ value }) => value);
export const close = () => current.close();
export const erase = () => current.erase();

/** Writes and appends until the page goes, and tells by `progress` what has been promised. */
export function writeForEver(): void {
  const go = async () => {
    for (let i = 0; ; i++) {
      await current.write([
        { table: "messages", key: [i], value: i },
        { table: "meta", key: ["count"], value: i + 1 },
      ]);
      promised = i + 1;
    }
  };
  go().catch(() => {});
}

let promised = 0;
export const progress = () => promised;

/** What is there after `writeForEver`, as far as it is one batch after the other. */
export async function wholeBatches(): Promise<{ count: number; messages: number }> {
  return { count: Number((await current.get("meta", ["count"])) ?? 0), messages: (await current.list("messages", {})).length };
}

/** Fills the store until it refuses, and resolves to why it did and how many there are. */
export async function fill(bytes: number, most: number): Promise<{ failure: string; written: number; held: number }> {
  const body = new Uint8Array(bytes);
  for (let written = 0; ; written++) {
    try {
      if (written === most) throw new Error("never full");
      for (let at = 0; at < bytes; at += 65_536) crypto.getRandomValues(body.subarray(at, at + 65_536)); // nothing to compress
      await current.write([{ table: "messages", key: ["fill", written], value: body }]);
    } catch (err) {
      const failure = err instanceof StoreError ? err.failure : String(err);
      return { failure, written, held: (await current.list("messages", { from: ["fill"] })).length };
    }
  }
}

const databases = async () => (await globalThis.indexedDB.databases()).map(({ name }) => name ?? "");

/** Empties one table of all databases of stores, or deletes these, as a browser that needs room or repairs might. */
export async function damage(table: string): Promise<void> {
  for (const name of await databases()) {
    const db = await new Promise<IDBDatabase>((resolve, reject) => {
      const request = globalThis.indexedDB.open(name);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error ?? new Error("does not open"));
    });
    const tx = db.transaction(table, "readwrite");
    tx.objectStore(table).clear();
    await new Promise((resolve) => (tx.oncomplete = resolve));
    db.close();
  }
}

/** As an old tab that does not let go: holds the store's database, of a version. */
export function hold(user: string, version: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = globalThis.indexedDB.open(`belfry ${JSON.stringify([server, user])}`, version);
    request.onerror = () => reject(request.error ?? new Error("does not open"));
    request.onsuccess = () => resolve();
  });
}

/** Asks for the deletion of a user's database, and resolves to what happens first: it is blocked, or done. */
export function drop(user: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = globalThis.indexedDB.deleteDatabase(`belfry ${JSON.stringify([server, user])}`);
    request.onblocked = () => resolve("blocked");
    request.onsuccess = () => resolve("done");
    request.onerror = () => reject(request.error ?? new Error("is not deleted"));
  });
}

export async function failureOf(work: "put" | "read"): Promise<string> {
  try {
    await (work === "put" ? put("x", 1) : read("x"));
    return "none";
  } catch (err) {
    return err instanceof StoreError ? err.failure : String(err);
  }
}
