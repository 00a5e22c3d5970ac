import { WebSocket } from "ws";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Client, ClientOptions, Message } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { memoryStore } from "../src/memory.ts";
import { msgpack } from "../src/msgpack.ts";
import type { OpenStore, Store } from "../src/store.ts";
import { type Server, startBelfry } from "./belfry.ts";
import { log, when } from "./waiting.ts";

let server: Server;
let clients: Client[] = [];
let names = 0;

beforeAll(async () => {
  server = await startBelfry();
}, 300_000);
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
});
afterAll(() => server.end());

/** A user that no other test has. */
const user = (name: string) => `${name}-${++names}`;

/** Keeps a store beyond a client's close, as one on disk would be kept. */
function kept(store: Store): OpenStore {
  return async () => ({ store: { ...store, close: async () => {} } });
}

function connect(name: string, options: Partial<ClientOptions> = {}): Client & { received: ReturnType<typeof log<Message>> } {
  const client = createClient({ url: server.url, user: name, token: async () => server.token(name), WebSocket, ...options });
  const received = log<Message>();
  client.on("messages", (messages) => received.push(...messages));
  clients.push(client);
  return Object.assign(client, { received });
}

const synced = (client: Client) => when(client.status, (status) => status.synced);

test("a message is stored before send resolves, and arrives once with its body", async () => {
  const [alice, bob] = [connect(user("alice")), connect(user("bob"))];
  await Promise.all([synced(alice), synced(bob)]);
  const body = { text: "hi", big: 2n ** 60n, bin: new Uint8Array([0, 255]), half: 0.5 };
  const pending = await alice.send(`u:${bob.user}`, body);
  const state = await pending.settled;
  expect(state).toMatchObject({ state: "stored", seq: 1 });
  const [message] = await bob.received.until((all) => all.length === 1);
  expect(message).toMatchObject({ conv: `u:${alice.user}`, from: alice.user, seq: 1, cid: pending.cid, body });
  expect((await bob.localMessages(`u:${alice.user}`)).messages).toEqual([message]);
  expect((await alice.localMessages(`u:${bob.user}`)).messages).toMatchObject([{ seq: 1, body, from: alice.user }]);
});

test("sends made offline go out in order after the login", async () => {
  const [a, b] = [user("alice"), user("bob")];
  const store = memoryStore();
  const offline = connect(a, { store: kept(store), url: "ws://127.0.0.1:9/v1/ws" });
  for (let i = 1; i <= 5; i++) await offline.send(`u:${b}`, i);
  await when(offline.status, (status) => status.outbox === 5);
  await offline.close();
  const alice = connect(a, { store: kept(store) });
  const bob = connect(b);
  const messages = await bob.received.until((all) => all.length === 5);
  expect(messages.map((m) => m.body)).toEqual([1, 2, 3, 4, 5]);
  await when(alice.status, (status) => status.outbox === 0);
});

test("scenario 18: only what is missing goes over the network, and nothing when all is there", async () => {
  const [a, b] = [user("alice"), user("bob")];
  const alice = connect(a);
  const store = memoryStore();
  const first = connect(b, { store: kept(store), device: "phone" });
  await synced(first);
  for (let i = 1; i <= 5; i++) await (await alice.send(`u:${b}`, i)).settled;
  await first.received.until((all) => all.length === 5);
  await first.close();
  for (let i = 6; i <= 9; i++) await (await alice.send(`u:${b}`, i)).settled;
  // As a new device it gets the last message only, with another one having read the queue.
  const other = connect(b, { device: "laptop" });
  await other.received.until((all) => all.length === 4);
  await other.close();
  await store.write([{ table: "meta", remove: { from: ["cursor"], to: ["cursor", ""] } }]);
  const bob = connect(b, { store: kept(store), device: "phone" });
  await synced(bob);
  expect(bob.received.all.map((m) => m.seq)).toEqual([9]);
  const local = await bob.localMessages(`u:${a}`, { limit: 10 });
  expect(local.gaps).toEqual([{ from: 6, to: 8, reason: "unknown" }]);
  const page = await bob.getMessages(`u:${a}`, { limit: 10 });
  expect(page.messages.map((m) => m.body)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const asked = async () => (await bob.exportTrace()).frames.filter(([, direction, what]) => direction === "out" && what === "getMessage").length;
  expect(await asked()).toBe(1);
  expect(await bob.getMessages(`u:${a}`, { limit: 10 })).toEqual(page);
  expect(await asked()).toBe(1);
});

test("scenario 19: what was pushed and not acknowledged is shown once", async () => {
  const [a, b] = [user("alice"), user("bob")];
  const alice = connect(a);
  const store = memoryStore();
  const seen: number[] = [];
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 10; i++) await alice.send(`u:${b}`, round * 10 + i);
    const bob = connect(b, { store: kept(store) });
    bob.on("messages", (messages) => seen.push(...messages.map((m) => m.body as number)));
    await bob.received.until((all) => all.length > 0);
    await bob.close();
  }
  const bob = connect(b, { store: kept(store) });
  bob.on("messages", (messages) => seen.push(...messages.map((m) => m.body as number)));
  await synced(bob);
  await when(alice.status, (status) => status.outbox === 0);
  await when(bob.conversations(), ({ list }) => list[0]?.lastSeq === 50);
  expect(seen).toEqual(Array.from({ length: 50 }, (_, i) => i));
});

test("devices agree on a history of messages, recalls and deletions", async () => {
  const [a, b] = [user("alice"), user("bob")];
  const alice = connect(a);
  const phone = connect(b, { device: "phone" });
  await synced(phone);
  for (let i = 1; i <= 40; i++) {
    const to = i % 4 === 0 ? phone.send(`u:${a}`, i) : alice.send(`u:${b}`, i);
    await (await to).settled;
  }
  await when(phone.conversations(), ({ list }) => list[0]?.lastSeq === 40);
  const changes = log<string>();
  for (const name of ["recall", "messagesDeleted"] as const) phone.on(name, () => changes.push(name));
  await alice.recall(`u:${b}`, 5);
  await alice.recall(`u:${b}`, 6);
  await phone.deleteMessages(`u:${a}`, [10, 11, 12]);
  await phone.recall(`u:${a}`, 40);
  await changes.until((all) => all.filter((name) => name === "recall").length === 3);
  const laptop = connect(b, { device: "laptop" });
  await synced(laptop);
  const page = await laptop.getMessages(`u:${a}`, { limit: 100 });
  const local = await phone.localMessages(`u:${a}`, { limit: 100 });
  expect(page.messages).toEqual(local.messages);
  expect(page.messages).toHaveLength(34);
  // The last message that a new device is told of is 39: what came after it is a gap that nobody sees.
  expect(page.gaps.filter(({ from }) => from < 40)).toEqual(local.gaps.filter(({ from }) => from < 40));
  expect(local.gaps).toEqual([
    { from: 5, to: 6, reason: "recalled" },
    { from: 10, to: 12, reason: "deleted" },
    { from: 40, to: 40, reason: "recalled" },
  ]);
});

test("what happened while a device was away comes with its cursor", async () => {
  const [a, b] = [user("alice"), user("bob")];
  const alice = connect(a);
  const store = memoryStore();
  const before = connect(b, { store: kept(store) });
  await synced(before);
  for (let i = 1; i <= 5; i++) await (await alice.send(`u:${b}`, i)).settled;
  await before.received.until((all) => all.length === 5);
  await before.close();
  await alice.recall(`u:${b}`, 3);
  await (await alice.send(`u:${b}`, 6)).settled;
  const bob = connect(b, { store: kept(store) });
  await synced(bob);
  expect(bob.received.all.map((m) => m.seq)).toEqual([6]);
  const { messages, gaps } = await bob.localMessages(`u:${a}`);
  expect(messages.map((m) => m.body)).toEqual([1, 2, 4, 5, 6]);
  expect(gaps).toEqual([{ from: 3, to: 3, reason: "recalled" }]);
});

test("a group: unread, the rest by pages, an administrator's deletion, and the end of membership", async () => {
  const [a, b] = [user("alice"), user("bob")];
  const alice = connect(a);
  const { group } = await when(alice.status, (s) => s.synced).then(() => alice.request("createGroup", { kind: "private", members: [b] }));
  const conv = `g:${group}`;
  for (let i = 1; i <= 50; i++) await (await alice.send(conv, i)).settled;
  const bob = connect(b, { groupBacklog: 5 });
  await synced(bob);
  expect(bob.received.all.map((m) => m.body)).toEqual([46, 47, 48, 49, 50]);
  const view = await when(bob.conversations(), ({ list }) => list.length === 1);
  expect(view).toMatchObject({ unreadTotal: 50, list: [{ conv, unread: 50, last: { body: 50 } }] });
  const page = await bob.getMessages(conv, { limit: 20 });
  expect(page.messages.map((m) => m.body)).toEqual(Array.from({ length: 20 }, (_, i) => i + 31));
  expect(await bob.readReport(conv, 50)).toEqual({ unread: 0 });
  const recalls = log<unknown>();
  bob.on("recall", (recall) => recalls.push(recall));
  const answer = await fetch(`${server.admin}/v1/groups/${group}/messages?sender=${a}`, { method: "DELETE", headers: { authorization: `Bearer ${server.adminToken}` } });
  expect(answer.status).toBe(200);
  await recalls.until((all) => all.length > 0);
  const after = await bob.getMessages(conv, { limit: 20 });
  expect(after).toMatchObject({ messages: [], gaps: [{ from: 1, to: 50, reason: "deleted" }] });
  const left = log<unknown>();
  bob.on("groupEvent", (event) => left.push(event));
  await alice.request("removeMembers", { group, users: [b] });
  await left.until((all) => all.length > 0);
  await when(bob.conversations(), ({ list }) => list.length === 0);
  await expect((await bob.send(conv, "still here?")).settled).resolves.toMatchObject({ state: "refused", code: "forbidden" });
});

test("a server that is killed while messages are sent stores each of them once, in order", async () => {
  const own = await startBelfry();
  try {
    const [a, b] = [user("alice"), user("bob")];
    const options = (name: string) => ({ url: own.url, token: async () => own.token(name) });
    const alice = connect(a, options(a));
    await synced(alice);
    for (let i = 0; i < 300; i++) {
      await alice.send(`u:${b}`, i);
      if (i === 100 || i === 200) {
        await own.kill();
        await own.restart();
      }
    }
    await when(alice.status, (status) => status.outbox === 0);
    const bob = connect(b, options(b));
    await bob.received.until((all) => all.length >= 300);
    expect(bob.received.all.map((m) => m.body)).toEqual(Array.from({ length: 300 }, (_, i) => i));
  } finally {
    await own.end();
  }
}, 300_000);

test("both codecs carry the same bodies", async () => {
  const [a, b] = [user("alice"), user("bob")];
  const alice = connect(a, { codec: msgpack() });
  const bob = connect(b);
  await Promise.all([synced(alice), synced(bob)]);
  const body = { big: 2n ** 63n, least: -(2n ** 63n), bin: new Uint8Array([1, 2, 255]), float: 1.5, text: "ü\u0000😀", nested: [[], {}, null, true] };
  await (await alice.send(`u:${b}`, body)).settled;
  const [message] = await bob.received.until((all) => all.length === 1);
  expect(message!.body).toEqual(body);
  await (await bob.send(`u:${a}`, body)).settled;
  const [answer] = await alice.received.until((all) => all.length === 1);
  expect(answer!.body).toEqual(body);
  expect(typeof answer!.time).toBe("number");
});

test("a session outlives its token, when the application has another one in time", async () => {
  const name = user("alice");
  const reasons = log<string>();
  const client = connect(name, {
    token: async ({ reason }) => {
      reasons.push(reason);
      return server.token(name, 8);
    },
  });
  // Where this machine is too slow for that, the server refuses a token, and the client gets another one.
  await reasons.until((all) => all.filter((reason) => reason === "expiring").length >= 2);
  await synced(client);
  await (await client.send(`u:${name}`, "still here")).settled;
});

test("a second client of the same device ends the first", async () => {
  const name = user("alice");
  const first = connect(name, { device: "phone" });
  await synced(first);
  const kicks = log<unknown>();
  first.on("kicked", (kick) => kicks.push(kick));
  connect(name, { device: "phone" });
  await when(first.status, (status) => status.connection === "closed");
  expect(first.status.getSnapshot().error).toEqual({ code: "kicked", message: "sameDevice" });
  await kicks.until((all) => all.length === 1);
});
