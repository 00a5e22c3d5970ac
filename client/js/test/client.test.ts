import { WebSocket } from "ws";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Client, ClientOptions, Message } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { memoryStore } from "../src/memory.ts";
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
