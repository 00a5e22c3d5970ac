import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, ClientOptions, Message } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { startEngine } from "../src/engine.ts";
import { memoryStore } from "../src/memory.ts";
import { StoreError, type Store } from "../src/store.ts";
import { loginOK, playServer, synced, type Answer, type Peer } from "./peer.ts";

let clients: Client[] = [];
beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});
afterEach(async () => {
  const closing = Promise.all(clients.map((client) => client.close()));
  await pass(20_000);
  await closing;
  clients = [];
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const settle = () => pass(0);
const message = (seq: number, more: Partial<Message> = {}): Message => ({
  id: `bob-${seq}`, conv: "u:bob", from: "bob", seq, time: 1000 + seq, cid: `c${seq}`, body: seq, ...more,
});
const kept = (store: Store): Partial<ClientOptions> => ({ store: async () => ({ store: { ...store, close: async () => {} } }) });

/** A client whose server does `onLogin` behind its n-th login, from 0; the default syncs. */
async function world(
  options: Partial<ClientOptions> = {},
  onLogin: (peer: Peer, n: number, args: Record<string, unknown>) => void = (peer) => peer.push("onSynced", synced()),
  answer: Answer = () => undefined,
) {
  const logins: Record<string, unknown>[] = [];
  const server = playServer((request, peer) => {
    if (request.op === "ping") return { ok: { serverTime: Date.now() } };
    if (request.op !== "login") return answer(request, peer);
    const n = logins.push(request.args) - 1;
    queueMicrotask(() => queueMicrotask(() => onLogin(peer, n, request.args)));
    return loginOK("alice");
  });
  const client = createClient({ url: "ws://server", user: "alice", token: async () => "t", WebSocket: server.WebSocket, tabs: false, ...options });
  clients.push(client);
  const heard: string[] = [];
  client.on("messages", (list) => heard.push(...list.map(({ id }) => id)));
  await settle();
  return { client, server, logins, heard, peer: () => server.peers.at(-1)! };
}

const ids = async (client: Client, conv = "u:bob") => (await client.localMessages(conv)).messages.map(({ id }) => id);

test("what follows on a reset does not bring back what it dropped", async () => {
  const { client, logins, heard, peer } = await world(kept(memoryStore()), (to, n) => {
    if (n === 0) {
      to.push("onSynced", synced({ cursor: "old" }));
      to.push("onNewMessage", { d: 1, cursor: "old1", groupCursors: { team: "g1" }, messages: [message(1), message(1, { id: "g1", conv: "g:team" })] });
      return;
    }
    to.push("onNewMessage", { d: 1, cursor: "new0", messages: [message(1, { id: "other-1" })] });
    to.push("onSynced", synced({ reset: true, cursor: "new1" }));
    to.push("onNewMessage", { d: 2, cursor: "new2", messages: [message(1, { id: "carl-1", conv: "u:carl" })] });
  });
  peer().close(1006);
  await pass(5000);
  expect(logins.map(({ since }) => since)).toEqual([undefined, "old1"]);
  expect(await ids(client)).toEqual(["other-1"]);
  expect(await ids(client, "g:team")).toEqual([]);
  expect(heard).toContain("carl-1");
});

test("a page that waited for a login with a reset does not say that what comes later is gone", async () => {
  const list = (lastSeq: number) => ({ conversations: [{ conv: "u:bob", lastSeq, time: 1, readSeq: lastSeq }] });
  let token = async () => "t";
  const { client, heard, peer } = await world({ token: () => token() }, (to, n) => {
    to.push("onSynced", synced({ reset: n === 1, cursor: `s${n}`, ...list(n === 0 ? 30 : 3) }));
  }, ({ op }) => (op === "getMessage" ? { ok: { conv: "u:bob", messages: [], gaps: [], from: 0, to: 0, more: false } } : undefined));
  let give!: (token: string) => void;
  token = () => new Promise((resolve) => (give = resolve));
  peer().close(1006);
  await pass(5000);
  const page = client.getMessages("u:bob", { range: [20, 30] });
  await pass(10);
  give("t");
  await settle();
  await page;
  peer().push("onNewMessage", { d: 1, cursor: "c", messages: [message(25)] });
  await settle();
  expect(heard).toEqual(["bob-25"]);
});

test("a session that has ended stores nothing more, and syncs nobody", async () => {
  const base = memoryStore();
  let gate = Promise.resolve();
  let open!: () => void;
  const { client, server, peer } = await world({ store: async () => ({ store: { ...base, write: async (...args) => (await gate, base.write(...args)) } }) }, (to) => {
    gate = new Promise((resolve) => (open = resolve));
    to.push("onNewMessage", { d: 1, messages: [message(1)], cursor: "c1" });
    to.push("onSynced", synced());
    to.push("onNewMessage", { d: 2, messages: [message(2)], cursor: "c2" });
  });
  server.refuse.connections = true;
  peer().close(1006);
  await settle();
  open();
  await settle();
  expect(client.status.getSnapshot()).toMatchObject({ synced: false });
  expect(await ids(client)).toEqual(["bob-1"]);
});

test("sessions that end as soon as they are synced become rarer", async () => {
  const { logins } = await world({}, (peer) => {
    peer.push("onSynced", synced());
    setTimeout(() => peer.close(1011), 5);
  });
  await pass(60_000);
  expect(logins.length).toBeLessThan(12);
});

test("what is not kept in the store is received anew in another epoch", async () => {
  const { heard, peer } = await world({ withoutStorage: true }, (to, n) => {
    to.push("onSynced", synced({ reset: n === 1, cursor: `s${n}` }));
    to.push("onNewMessage", { d: 1, cursor: `c${n}`, messages: [1, 2].map((seq) => message(seq, { id: `${n}-${seq}` })) });
  });
  peer().close(1006);
  await pass(5000);
  expect(heard).toEqual(["0-1", "0-2", "1-1", "1-2"]);
});

test("a group whose id was taken anew begins anew, and gets each message once", async () => {
  const of = (seq: number, id: string) => message(seq, { id, conv: "g:team" });
  const { client, heard, peer } = await world({}, (to) => {
    to.push("onSynced", synced());
    to.push("onNewMessage", { d: 1, cursor: "c1", groupCursors: { team: "t1" }, messages: [of(1, "a1"), of(2, "a2"), of(3, "a3")] });
    to.push("onGroupEvent", { group: "team", event: "dismissed", by: "bob", time: 5 });
    to.push("onGroupEvent", { group: "team", event: "joined", by: "bob", users: ["alice"], time: 6, cursor: "t2" });
  });
  peer().push("onNewMessage", { d: 2, groupCursors: { team: "t3" }, messages: [of(1, "b1"), of(2, "b2"), of(1, "b1")] });
  peer().push("onNewMessage", { d: 3, groupCursors: { team: "t4" }, messages: [of(2, "b2")] });
  await settle();
  expect(heard).toEqual(["a1", "a2", "a3", "b1", "b2"]);
  expect(await ids(client, "g:team")).toEqual(["b1", "b2"]);
});

test.each([{ name: "without storage", options: { withoutStorage: true } as const }, { name: "of an unstored conversation", options: {} }])(
  "a group whose id was taken anew is noticed $name, and messages come once",
  async ({ options }) => {
    const of = (seq: number, id: string, time: number) => message(seq, { id, time, conv: "g:team" });
    const { client, heard, peer } = await world(options);
    await client.disableStorage("g:team");
    peer().push("onNewMessage", { d: 1, cursor: "c1", groupCursors: { team: "t1" }, messages: [of(1, "a1", 1), of(2, "a2", 2), of(3, "a3", 2)] });
    peer().push("onNewMessage", { d: 2, messages: [of(3, "a3", 2), of(2, "a2", 2)] });
    peer().push("onGroupEvent", { group: "team", event: "dismissed", by: "bob", time: 5 });
    peer().push("onGroupEvent", { group: "team", event: "joined", by: "bob", users: ["alice"], time: 6, cursor: "t2" });
    peer().push("onNewMessage", { d: 3, groupCursors: { team: "t3" }, messages: [of(1, "b1", 6), of(2, "b2", 6), of(1, "b1", 6)] });
    peer().push("onNewMessage", { d: 4, groupCursors: { team: "t4" }, messages: [of(2, "b2", 6), of(3, "b3", 6)] });
    await settle();
    expect(heard).toEqual(["a1", "a2", "a3", "b1", "b2", "b3"]);
  },
);

test("who was kicked, or got no token, can still sign out, and the store is erased", async () => {
  const store = memoryStore();
  let erased = 0;
  const { client, peer } = await world({ store: async () => ({ store: { ...store, erase: () => (erased++, store.erase()) } }) });
  peer().close(4403);
  await settle();
  expect(client.status.getSnapshot().connection).toBe("closed");
  await client.signOut();
  expect(erased).toBe(1);
  await expect(client.signOut()).rejects.toMatchObject({ code: "closed" });
});

test("a message that is taken back settles as aborted, for whoever waits", async () => {
  const { client, server, peer } = await world();
  server.refuse.connections = true;
  peer().close(1006);
  await settle();
  const [one, two] = [await client.send("u:bob", 1), await client.send("u:bob", 2, { cid: "two" })];
  const all = Promise.all([one, two].map(({ settled }) => expect(settled).rejects.toMatchObject({ code: "aborted" })));
  expect(await one.cancel()).toBe(true);
  expect(await client.cancel("u:bob", "two")).toBe(true);
  await all;
});

test("who joins a group again asks for what was said meanwhile", async () => {
  const of = (seq: number) => message(seq, { id: `t${seq}`, conv: "g:team" });
  const { client, peer } = await world({}, undefined, ({ op, args }) => {
    if (op === "joinGroup") return { ok: { cursor: "t9" } };
    return op === "getMessage" ? { ok: { ...args, messages: [of(2), of(3)], gaps: [], from: 2, to: 3, more: false } } : undefined;
  });
  const left = { group: "team", event: "left", by: "alice", users: ["alice"], time: 5 };
  peer().push("onNewMessage", { d: 1, cursor: "c1", groupCursors: { team: "t1" }, messages: [of(1)] });
  peer().push("onGroupEvent", left);
  await settle();
  await client.request("joinGroup", { group: "team" });
  expect((await client.getMessages("g:team")).messages.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  peer().push("onGroupEvent", left);
  peer().push("onGroupEvent", { ...left, event: "joined", cursor: "t10" });
  await settle();
  await client.getMessages("g:team");
  expect(peer().requests.filter(({ op }) => op === "getMessage")).toHaveLength(2);
});

test("a link that takes nothing any more is left after a while of silence", async () => {
  let buffered = 0;
  const server = playServer(({ op }, peer) => {
    if (op === "login") queueMicrotask(() => queueMicrotask(() => peer.push("onSynced", synced())));
    return op === "login" ? loginOK("alice") : undefined;
  });
  class Slow extends server.WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      Object.defineProperty(this, "bufferedAmount", { get: () => buffered });
    }
  }
  const { client } = await world({ WebSocket: Slow });
  buffered = 5 << 20;
  await pass(34_000);
  expect(client.status.getSnapshot().connection).toBe("online");
  buffered = 0;
  await pass(20_000);
  expect(server.peers.length).toBeGreaterThan(1);
});

test("a client that is closed while it dials waits for nothing", async () => {
  class Hole {
    readonly bufferedAmount = 0;
    readonly protocol = "";
    binaryType = "";
    onopen = null;
    onmessage = null;
    onclose = null;
    onerror = null;
    send() {}
    close() {}
  }
  const { client } = await world({ WebSocket: Hole as never });
  let closed = false;
  void client.close().then(() => (closed = true));
  await settle();
  expect(closed).toBe(true);
});

test("a first start on a full disk goes on, and says that the disk is full", async () => {
  const base = memoryStore();
  let full = true;
  const { client } = await world({
    store: async () => ({ store: { ...base, write: (...args) => (full ? Promise.reject(new StoreError("quota")) : base.write(...args)) } }),
  });
  expect(client.status.getSnapshot()).toMatchObject({ leader: true, storage: { cause: "quota" } });
  full = false;
  await pass(30_000);
  expect(client.status.getSnapshot()).toMatchObject({ synced: true });
});

test("waking up does not pass over the time that a server named", async () => {
  const { peers, WebSocket, refuse } = playServer(({ op }, peer) => {
    if (op !== "login") return undefined;
    queueMicrotask(() => queueMicrotask(() => peer.push("onSynced", synced())));
    return loginOK("alice");
  });
  const engine = await startEngine({ url: "ws://server", user: "alice", token: async () => "t", WebSocket }, { store: memoryStore() });
  await settle();
  peers.at(-1)!.close(1001, "server going away; retry after 20000 ms");
  await settle();
  await engine.call("wake", null);
  await pass(19_000);
  expect(peers).toHaveLength(1);
  await pass(7000);
  expect(peers).toHaveLength(2);
  // A pause of its own ends at once.
  refuse.connections = true;
  peers.at(-1)!.close(1006);
  await pass(100_000);
  refuse.connections = false;
  await engine.call("wake", null);
  await settle();
  expect(engine.status().connection).toBe("online");
  await engine.close();
});

test.each([
  ["at the login", false],
  ["once it has let in", true],
])("a server that refuses each fresh token %s is asked more and more rarely", async (_, letsIn) => {
  const asked: [number, string][] = [];
  const refused = (peer: Peer) => queueMicrotask(() => queueMicrotask(() => peer.close(4401, "token refused")));
  const { client } = await world(
    {
      token: async ({ reason }) => {
        asked.push([Date.now(), reason]);
        return `t${asked.length}`;
      },
      WebSocket: playServer(({ op }, peer) => {
        if (op !== "login") return undefined;
        refused(peer);
        if (letsIn) peer.push("onSynced", synced());
        return letsIn ? loginOK("alice") : { err: { code: "unauthorized" } };
      }).WebSocket,
    },
  );
  await pass(200_000);
  expect(asked.slice(1).every(([, reason]) => reason === "refused")).toBe(true);
  const pauses = asked.slice(1).map(([at], i) => at - asked[i]![0]);
  expect(pauses.slice(0, 8)).toEqual([125, 250, 500, 1000, 2000, 4000, 8000, 15_000]);
  expect(client.status.getSnapshot()).toMatchObject({ connection: "waiting", error: { code: "unauthorized" } });
});
