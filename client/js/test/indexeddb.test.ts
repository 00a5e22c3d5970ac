import "fake-indexeddb/auto";

import { forceCloseDatabase } from "fake-indexeddb";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { createClient } from "../src/client.ts";
import { indexedDB } from "../src/indexeddb.ts";
import { fence } from "../src/fence.ts";
import type { Store } from "../src/store.ts";
import { createFakeServer } from "../src/testing.ts";
import { keepsContract } from "./store/run.ts";

const server = "ws://127.0.0.1/v1/ws";
const open = indexedDB({ openMs: 60_000 });

keepsContract("indexedDB", () => ({ lasting: true, shared: true, strict: true, open: (user) => open({ server, user }) }));

const databases = new Set<IDBDatabase>();
const factory = globalThis.indexedDB;
const openDatabase = factory.open.bind(factory);
beforeEach(() => {
  databases.clear();
  vi.spyOn(factory, "open").mockImplementation((...args) => {
    const request = openDatabase(...args);
    request.addEventListener("success", () => databases.add(request.result));
    return request;
  });
});
afterEach(() => void vi.restoreAllMocks());

/** Ends all connections as a browser does, and removes the databases, as when its user clears what sites have stored. */
async function endConnections({ clear }: { clear: boolean }): Promise<void> {
  for (const one of databases) forceCloseDatabase(one as never);
  const names = new Set([...databases].map(({ name }) => name));
  databases.clear();
  for (const name of clear ? names : []) {
    await new Promise<void>((resolve, reject) => {
      const request = factory.deleteDatabase(name);
      request.onsuccess = () => resolve();
      request.onerror = () => reject(request.error);
    });
  }
}

/** Two leaderships, one after the other, over a store of its own. */
async function leading(user: string, store?: Store) {
  const opened = store ?? (await open({ server, user })).store;
  const ended: string[] = [];
  const fenced = fence(opened, (why) => ended.push(why));
  await fenced.claim();
  return { opened, ended, store: fenced.store };
}

const put = (store: Store, key: string) => store.write([{ table: "meta", key: [key], value: 1 }]);

test("a connection that the browser ends is followed by another one, to what was there", async () => {
  const { opened, ended, store } = await leading("ended");
  await put(store, "a");
  const n = await opened.append("outbox", "waits");
  for (let i = 0; i < 3; i++) {
    await endConnections({ clear: false });
    expect(await store.get("meta", ["a"])).toBe(1);
    await put(store, `b${i}`);
  }
  expect([await opened.append("outbox", "more"), ended]).toEqual([n + 1, []]);
  await opened.close();
});

test("a store that was emptied takes no writes of a leadership before, in whichever tab it is, and those of the next", async () => {
  const { opened: other } = await leading("emptied");
  const { opened, ended, store } = await leading("emptied");
  await put(store, "a");
  await endConnections({ clear: true });

  expect(await other.append("outbox", "first in the new one")).toBe(1);
  await expect(put(store, "b")).rejects.toMatchObject({ failure: "lost" });
  await expect(put(store, "b")).rejects.toMatchObject({ failure: "lost" });
  expect([ended, await opened.list("meta", {})]).toEqual([["lost", "lost"], []]);

  const next = await leading("emptied", other);
  await put(next.store, "c");
  expect([next.ended, await opened.get("meta", ["a"]), await opened.get("meta", ["c"])]).toEqual([[], undefined, 1]);
  await opened.close();
  await other.close();
});

test("a database that cannot be opened again fails what is asked, and is used once it can", async () => {
  const { opened, store, ended } = await leading("late");
  await endConnections({ clear: false });
  const silent = { addEventListener() {}, removeEventListener() {} } as unknown as IDBOpenDBRequest;
  vi.mocked(factory.open).mockReturnValueOnce(silent);
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  const refused = expect(put(store, "a")).rejects.toMatchObject({ failure: "broken" });
  await vi.advanceTimersByTimeAsync(60_000);
  vi.useRealTimers();
  await refused;
  vi.mocked(factory.open).mockImplementationOnce(() => {
    throw new DOMException("not now", "UnknownError");
  });
  await expect(put(store, "a")).rejects.toMatchObject({ failure: "broken" });
  await put(store, "a");
  expect([await store.get("meta", ["a"]), ended]).toEqual([1, []]);
  await opened.close();
});

test("a client whose storage is cleared says so, is filled again and goes on", async () => {
  const patience = { timeout: 30_000, interval: 5 };
  const belfry = createFakeServer();
  const client = createClient({ url: belfry.url, user: "alice", token: async () => belfry.token("alice"), WebSocket: belfry.WebSocket, store: open });
  const storage: unknown[] = [];
  const heard: unknown[] = [];
  client.on("storage", (of) => storage.push(of));
  client.on("messages", (list) => heard.push(...list.map(({ body }) => body)));
  const bodies = async () => (await client.localMessages("u:bob")).messages.map(({ body }) => body);
  const bob = belfry.as("bob");
  for (let i = 1; i <= 5; i++) bob.send("u:alice", i);
  await vi.waitFor(async () => expect(await bodies()).toEqual([1, 2, 3, 4, 5]), patience);

  await endConnections({ clear: true });
  expect(await bodies()).toEqual([]);
  bob.send("u:alice", 6);
  await vi.waitFor(() => expect(storage).toMatchObject([{ cause: "notGranted" }, { lost: true }]), patience);
  await vi.waitFor(async () => expect((await client.getMessages("u:bob")).messages.map(({ body }) => body)).toEqual([1, 2, 3, 4, 5, 6]), patience);
  await vi.waitFor(() => expect(client.status.getSnapshot()).toMatchObject({ connection: "online", synced: true }), patience);

  const { settled } = await client.send("u:bob", "on");
  expect(await settled).toMatchObject({ state: "stored", seq: 7 });
  bob.send("u:alice", 8);
  await vi.waitFor(() => expect(heard.at(-1)).toBe(8), patience);
  await client.close();
});
