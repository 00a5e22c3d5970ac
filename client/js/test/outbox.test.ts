/** What the outbox takes, and what is told of what is in it. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, ClientOptions, Events, Pending } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import type { Base, Notice, Settled, StoredSend } from "../src/link.ts";
import { newHub } from "../src/listen.ts";
import { memoryStore } from "../src/memory.ts";
import { newPendings } from "../src/pending.ts";
import type { Store } from "../src/store.ts";
// Loaded before any test sets the clock.
import "../src/waiting.ts";
import { loginOK, playServer, synced, type Answer } from "./peer.ts";

let clients: Client[] = [];
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
  vi.useRealTimers();
});

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

/** A client whose server answers sends with `answer`, and what it is told of them. */
function connect(store: Store, answer: Answer, options: Partial<ClientOptions> = {}) {
  const server = playServer((request, peer) => {
    if (request.op === "send") return answer(request, peer);
    if (request.op !== "login") return undefined;
    queueMicrotask(() => queueMicrotask(() => peer.push("onSynced", synced())));
    return loginOK("alice");
  });
  const client = createClient({
    url: "ws://server", user: "alice", token: async () => "token", WebSocket: server.WebSocket, tabs: false, store: async () => ({ store }), ...options,
  });
  clients.push(client);
  const sent: Events["sent"][] = [];
  client.on("sent", (one) => sent.push(one));
  return { client, server, sent };
}

const stored: Answer = ({ args }) => ({ ok: { id: String(args.cid), seq: 1, time: 7 } });

test("1,000 messages may wait, also while the engine counts those that were appended", async () => {
  const store = memoryStore();
  const list: Store["list"] = async (table, range) => {
    if (table === "outbox") await new Promise((resolve) => setTimeout(resolve, 10));
    return store.list(table, range);
  };
  const { client, server } = connect({ ...store, list }, () => undefined);
  server.refuse.connections = true;
  await settle(100);
  await Promise.all(Array.from({ length: 600 }, (_, i) => client.send("u:bob", i)));
  await settle(10);
  expect(client.status.getSnapshot().outbox).toBe(600); // and the engine has yet to answer most of them
  await Promise.all(Array.from({ length: 400 }, (_, i) => client.send("u:bob", i)));
  await expect(client.send("u:bob", "one more")).rejects.toMatchObject({ code: "rate_limited" });
  await settle(100_000);
  expect(client.status.getSnapshot().outbox).toBe(1000);
  await expect(client.send("u:bob", "one more")).rejects.toMatchObject({ code: "rate_limited" });
});

test("conversations and cids that the server would not take as they are never come into the outbox", async () => {
  const store = memoryStore();
  const { client } = connect(store, stored);
  const refused = { code: "bad_request" };
  for (const conv of ["u:", "g:", "x:bob", "bob", "u:b\ud800", "u:bob\n", "u:with space", "u:é", `u:${"b".repeat(65)}`, `g:${"b".repeat(49)}`]) {
    await expect(client.send(conv, 1), conv).rejects.toMatchObject(refused);
    await expect(client.sendNow(conv, 1), conv).rejects.toMatchObject(refused);
    await expect(client.getMessages(conv), conv).rejects.toMatchObject(refused);
  }
  for (const cid of ["", "\ud800", "a\udc00b", "x".repeat(65), "é".repeat(33), 5 as unknown as string]) {
    await expect(client.send("u:bob", 1, { cid }), cid).rejects.toMatchObject(refused);
    await expect(client.sendNow("u:bob", 1, { cid }), cid).rejects.toMatchObject(refused);
  }
  for (const body of ["\ud800", ["\udc00"], { "\ud800": 1 }]) await expect(client.send("u:bob", body)).rejects.toMatchObject(refused);
  expect(await store.list("outbox", {})).toEqual([]);
  for (const cid of ["😀", "é".repeat(32)]) await client.send(`u:${"b".repeat(64)}`, "😀", { cid });
  expect(() => connect(store, stored, { device: "\ud800" })).toThrow(/device/);
});

test("what became of messages of an earlier process is told, and of those sent here", async () => {
  const store = memoryStore();
  for (const cid of ["a", "b"]) await store.append("outbox", { conv: `u:${cid}`, cid, body: 1, tried: 0 });
  const { client, server, sent } = connect(store, (request, peer) =>
    request.args.conv === "u:b" ? { err: { code: "forbidden", message: "blocked" } } : stored(request, peer));
  await settle();
  expect(sent).toHaveLength(2);
  expect(server.peers[0]!.requests.filter(({ op }) => op === "send")).toHaveLength(2); // each once
  expect(sent).toContainEqual({ conv: "u:a", cid: "a", state: { state: "stored", id: "a", seq: 1, time: 7 } });
  expect(sent).toContainEqual({ conv: "u:b", cid: "b", state: { state: "refused", code: "forbidden", message: "blocked" } });
  const pending = await client.send("u:bob", 1, { cid: "c" });
  await settle();
  expect(sent.slice(2)).toEqual([{ conv: "u:bob", cid: "c", state: await pending.settled }]);
  await client.cancel("u:b", "b");
  await settle();
  expect(sent).toHaveLength(3); // what is taken back is not told
});

test("the outbox can be listed, with what earlier processes left and what was refused", async () => {
  const store = memoryStore();
  await store.append("outbox", { conv: "u:a", cid: "a", body: [1], tried: 0 });
  const { client } = connect(store, ({ args }) => (args.conv === "u:b" ? { err: { code: "forbidden", message: "blocked" } } : undefined));
  await settle();
  await client.send("u:b", "b", { cid: "b" });
  const time = Date.now();
  await settle();
  expect(await client.outbox()).toEqual([
    { conv: "u:a", cid: "a", body: [1], time: 0, state: { state: "queued" } },
    { conv: "u:b", cid: "b", body: "b", time, state: { state: "refused", code: "forbidden", message: "blocked" } },
  ]);
  await client.cancel("u:b", "b");
  expect((await client.outbox()).map(({ cid }) => cid)).toEqual(["a"]);
});

test("windows and handlers of what there is not are refused", () => {
  const { client } = connect(memoryStore(), stored);
  const refused = (field: string) => expect.objectContaining({ code: "bad_request", message: expect.stringMatching(field) });
  expect(() => client.messages("bob")).toThrow(refused("conv"));
  for (const size of [0, 101, 2.5, NaN]) expect(() => client.messages("u:bob", { size })).toThrow(refused("size"));
  for (const at of [0, NaN]) expect(() => client.messages("u:bob", { at })).toThrow(refused("at"));
  client.messages("u:bob", { size: 100, at: Infinity });
  expect(() => client.on("message" as "messages", () => {})).toThrow(refused("messages"));
});

test("a client whose store cannot be opened is closed, and says why", async () => {
  const uncalled = (() => async () => ({ store: memoryStore() })) as unknown as NonNullable<ClientOptions["store"]>;
  const failing = () => Promise.reject(new TypeError("no such folder"));
  for (const [open, code, message] of [[uncalled, "bad_request", /^store: /], [failing, "storage", /no such folder/]] as const) {
    const { client } = connect(memoryStore(), stored, { store: open });
    await settle();
    expect(client.status.getSnapshot()).toMatchObject({ connection: "closed", error: { code, message: expect.stringMatching(message) } });
    await expect(client.send("u:bob", 1)).rejects.toMatchObject({ name: "BelfryError", code });
    await expect(client.request("getGroups", {})).rejects.toMatchObject({ name: "BelfryError", code });
  }
});

/** The Pendings of a client over a store, without an engine. */
function pendings(store: Store) {
  const hub = newHub<Notice>();
  const found: Settled[] = [];
  const base: Base = { user: "alice", store: Promise.resolve(store), listen: hub.listen, status: vi.fn(), fill: vi.fn(), now: Date.now };
  const again = (send: StoredSend) => store.append("outbox", send as never);
  const { follow } = newPendings(base, async () => false, (settled) => {
    found.push(...settled);
    hub.tell({ settled });
  }, again);
  const send = (conv: string, cid: string): StoredSend => ({ conv, cid, body: 1, tried: 1 });
  return { hub, found, follow: (conv: string, cid: string) => follow(send(conv, cid), store.life?.()), send };
}

test("when another tab leads, one look into the store tells what became of all messages", async () => {
  const store = memoryStore();
  const { hub, found, follow, send } = pendings(store);
  const all: Pending[] = [];
  for (const conv of ["u:bob", "u:carl"]) for (let i = 0; i < 50; i++) all.push(follow(conv, `c${i}`));
  const refused = { code: "forbidden", message: "blocked" } as const;
  await store.append("outbox", { ...send("u:bob", "c0") } as never);
  await store.append("outbox", { ...send("u:bob", "c1"), refused } as never);
  const row = { conv: "u:bob", id: "x", seq: 9, time: 7, cid: "c2", body: 1 };
  await store.write([
    { table: "messages", key: ["u:bob", 8], value: { ...row, from: "bob", seq: 8 } }, // somebody else's cid
    { table: "messages", key: ["u:bob", 9], value: { ...row, from: "alice" } },
  ]);
  const list = vi.spyOn(store, "list");
  hub.tell({ changed: { all: true } });
  await settle();
  expect(list.mock.calls.map(([table]) => table)).toEqual(["outbox", "messages", "messages"]);
  expect(found).toEqual([
    { conv: "u:bob", cid: "c1", state: "refused", ...refused },
    { conv: "u:bob", cid: "c2", state: "stored", id: "x", seq: 9, time: 7 },
  ]);
  expect(all.filter((one) => one.state.getSnapshot().state !== "queued").map((one) => `${one.conv} ${one.cid}`)).toEqual(["u:bob c1", "u:bob c2"]);
  expect(await all[1]!.settled).toEqual({ state: "refused", ...refused });
  // A store that fails is asked again the next time.
  list.mockRejectedValueOnce(new Error("disk"));
  hub.tell({ changed: { all: true } });
  await settle();
  await store.write([{ table: "messages", key: ["u:carl", 1], value: { ...row, conv: "u:carl", from: "alice", cid: "c7", seq: 1 } }]);
  hub.tell({ changed: { all: true } });
  await settle();
  expect(found.slice(2)).toEqual([{ conv: "u:carl", cid: "c7", state: "stored", id: "x", seq: 1, time: 7 }]);
});

test("what waited in a store that the browser has cleared is put there again, once, in its order, and as a repeat", async () => {
  let life = 1;
  const store: Store = { ...memoryStore(), life: () => life };
  const { hub, follow, send } = pendings(store);
  const waits = async () => (await store.list("outbox", {})).map(({ value }) => value as unknown as StoredSend);
  for (const cid of ["a", "b", "c"]) {
    follow("u:bob", cid);
    await store.append("outbox", { ...send("u:bob", cid), tried: 0 } as never);
  }
  const look = async () => {
    hub.tell({ changed: { all: true } });
    await settle();
  };
  await store.write([{ table: "outbox", remove: {} }]);
  await look(); // taken from there, as far as this tab knows
  expect(await waits()).toEqual([]);
  life = 2;
  await store.write([{ table: "messages", key: ["u:bob", 1], value: { conv: "u:bob", from: "alice", id: "x", seq: 1, time: 7, cid: "b", body: 1 } }]);
  await look();
  expect(await waits()).toEqual(["a", "c"].map((cid) => ({ conv: "u:bob", cid, body: 1, tried: 1, since: 1 })));
  await look();
  expect(await waits()).toHaveLength(2);
  hub.tell({ settled: [{ conv: "u:bob", cid: "a", state: "stored", id: "y", seq: 2, time: 8 }] });
  life = 3;
  await store.write([{ table: "outbox", remove: {} }]);
  vi.spyOn(store, "append").mockRejectedValueOnce(new Error("no room"));
  await look();
  expect(await waits()).toEqual([]);
  await look(); // tried again
  expect((await waits()).map(({ cid }) => cid)).toEqual(["c"]);
});

test("what is settled is followed no more", async () => {
  const store = memoryStore();
  const { hub, follow } = pendings(store);
  const list = vi.spyOn(store, "list");
  const [stored, refused, cancelled, closed] = ["a", "b", "c", "d"].map((cid) => follow("u:bob", cid));
  hub.tell({
    settled: [
      { conv: "u:bob", cid: "a", state: "stored", id: "x", seq: 1, time: 1 },
      { conv: "u:bob", cid: "b", state: "refused", code: "forbidden", message: "blocked" },
      { conv: "u:bob", cid: "c", state: "cancelled" },
    ],
  });
  hub.tell({ status: { connection: "closed", since: 0, synced: false, storage: { durability: "memory" }, outbox: 0, ahead: 0 } });
  await expect(stored!.settled).resolves.toMatchObject({ state: "stored" });
  await expect(refused!.settled).resolves.toMatchObject({ state: "refused" });
  await expect(cancelled!.settled).rejects.toMatchObject({ code: "aborted" });
  await expect(closed!.settled).rejects.toMatchObject({ code: "closed" });
  hub.tell({ changed: { all: true } });
  await settle();
  expect(list).not.toHaveBeenCalled();
});
