/** What goes into the outbox, what comes of it, and what is stored nowhere. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, ClientOptions, WebSocketConstructor } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { json } from "../src/json.ts";
import { memoryStore } from "../src/memory.ts";
import { createFakeServer } from "../src/testing.ts";
import type { Store, Value } from "../src/store.ts";
import { decodeValue, encodeValue } from "../src/storedvalue.ts";
import type { Message } from "../src/wire.ts";
import { loginOK, playServer, synced, type Answer, type Peer } from "./peer.ts";

let clients: Client[] = [];
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);

/** A client whose server answers logins and what `answer` does. */
async function world(answer: Answer = () => undefined, options: Partial<ClientOptions> = {}, wrap = (Socket: WebSocketConstructor) => Socket) {
  const server = playServer((request, peer) => {
    const special = answer(request, peer);
    if (special || request.op !== "login") return special;
    queueMicrotask(() => queueMicrotask(() => peer.push("onSynced", synced())));
    return loginOK("alice");
  });
  const client = createClient({ url: "ws://server", user: "alice", token: async () => "token", WebSocket: wrap(server.WebSocket), tabs: false, ...options });
  clients.push(client);
  const heard: Message[] = [];
  const errors: unknown[] = [];
  client.on("messages", (list) => heard.push(...list));
  client.on("error", (err) => errors.push(err));
  await settle();
  return { client, server, heard, errors, peer: () => server.peers.at(-1)! };
}

/** A store in memory that takes only what a store of text does. */
function ofText(): Partial<ClientOptions> {
  const store = memoryStore();
  const write: Store["write"] = async (changes, fence) => {
    for (const change of changes) if ("key" in change) encodeValue([...change.key, change.value]);
    return store.write(changes, fence);
  };
  return { store: async () => ({ store: { ...store, write } }) };
}

const message = (seq: number, more: Partial<Message> = {}): Message => ({
  id: `bob-${seq}`, conv: "u:bob", from: "bob", seq, time: 1000 + seq, cid: `c${seq}`, body: seq, ...more,
});
const sends = (peer: Peer) => peer.requests.filter(({ op }) => op === "send").map(({ args }) => args);

test("an ephemeral message is told with seq 0, and stored nowhere", async () => {
  const { heard, errors, server, peer } = await world(undefined, ofText());
  const { seq: _, ...ephemeral } = message(1, { ephemeral: true });
  peer().push("onNewMessage", { d: 1, messages: [ephemeral, message(1)], cursor: "c1" });
  await settle();
  expect(heard).toEqual([{ ...ephemeral, seq: 0 }, message(1)]);
  expect(errors).toEqual([]);
  expect(server.peers).toHaveLength(1);
  expect(peer().requests.filter(({ op }) => op === "ack")).toHaveLength(1);
});

test("a message to a group that stores nothing is settled with seq 0, and stored nowhere", async () => {
  const { client, errors } = await world(({ op }) => (op === "send" ? { ok: { id: "x", time: 7 } } : undefined), ofText());
  const pending = await client.send("g:show", "hello");
  await settle();
  expect(pending.state.getSnapshot()).toEqual({ state: "stored", id: "x", seq: 0, time: 7 });
  expect(client.status.getSnapshot()).toMatchObject({ outbox: 0, connection: "online" });
  expect((await client.localMessages("g:show")).messages).toEqual([]);
  expect(errors).toEqual([]);
});

test("a store of text keeps bytes of any kind, and takes fields that are undefined for absent", () => {
  const kept = (value: unknown) => decodeValue(encodeValue(value as Value));
  expect(kept({ a: Buffer.from("hi"), b: undefined })).toEqual({ a: new Uint8Array([104, 105]) });
  expect(kept({ $int: "5", b: undefined })).toEqual({ $int: "5" });
  expect(() => kept(undefined)).toThrow(TypeError);
  expect(() => kept([undefined])).toThrow(TypeError);
});

test("what can be in no frame is refused before it is stored", async () => {
  const { client } = await world();
  const holes = [1, , 2] as unknown as number[];
  await expect(client.send("u:bob", holes)).rejects.toMatchObject({ code: "bad_request" });
  await expect(client.send("u:bob", 1, { mentions: [5] as unknown as string[] })).rejects.toMatchObject({ code: "bad_request" });
  await expect(client.send("u:bob", 1, { mentions: "bob" as unknown as string[] })).rejects.toMatchObject({ code: "bad_request" });
  await expect(client.sendNow("u:bob", 1, { mentions: ["\ud800"] })).rejects.toMatchObject({ code: "bad_request" });
  expect(json.encode({ a: holes })).toBe('{"a":[1,null,2]}');
});

test("a message of the outbox that no codec writes is refused, and the next one is sent", async () => {
  const store = memoryStore();
  await store.append("outbox", { conv: "u:bob", cid: "poison", body: (() => {}) as unknown as Value, tried: 0 });
  const { client, errors, server, peer } = await world(({ op }) => (op === "send" ? { ok: { id: "x", seq: 1, time: 7 } } : undefined), {
    store: async () => ({ store }), codec: { ...json, encode: (frame) => (JSON.stringify(frame, (_, value: unknown) => (typeof value === "function" ? fail() : value))) },
  });
  await client.send("u:bob", 1);
  await settle();
  expect(sends(peer())).toMatchObject([{ body: 1 }]);
  expect(server.peers).toHaveLength(1);
  expect(errors).toEqual([]);
  expect((await store.list("outbox", {})).map(({ value }) => value)).toMatchObject([{ cid: "poison", refused: { code: "bad_request" } }]);
});

function fail(): never {
  throw new TypeError("no value of a frame");
}

test("a body that is changed after send is sent as it was", async () => {
  const { client, peer } = await world(({ op, args }) => {
    if (op !== "send") return undefined;
    return sends(peer()).length === 1 ? { err: { code: "unavailable", retryAfterMs: 1 } } : { ok: { id: String(args.cid), seq: 1, time: 1 } };
  });
  const body = { n: [1], bytes: Buffer.from("a") };
  const mentions = ["bob"];
  await client.send("g:team", body, { mentions });
  await settle();
  body.n[0] = 2;
  body.bytes[0] = 0;
  mentions[0] = "carl";
  await vi.advanceTimersByTimeAsync(1000);
  expect(sends(peer())).toMatchObject([{ body: { n: [1] } }, { body: { n: [1], bytes: new Uint8Array([97]) }, mentions: ["bob"] }]);
});

test("what was stored is told also when it cannot be acknowledged", async () => {
  let buffered = 0;
  const { client, heard, peer, server } = await world(undefined, {}, (Socket) =>
    class extends Socket {
      constructor(...args: ConstructorParameters<WebSocketConstructor>) {
        super(...args);
        Object.defineProperty(this, "bufferedAmount", { get: () => buffered });
      }
    });
  buffered = 5 << 20;
  peer().push("onNewMessage", { d: 1, messages: [message(1)], cursor: "c1" });
  await settle();
  expect(heard).toEqual([message(1)]);
  expect((await client.localMessages("u:bob")).messages).toHaveLength(1);
  expect(client.status.getSnapshot()).toMatchObject({ connection: "waiting", error: { message: "ack: too much waits" } });
  buffered = 0;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(server.peers.length).toBeGreaterThan(1);
});

test("a repeat is marked as one also when the clock was put back", async () => {
  const start = Date.now();
  const { client, peer } = await world(({ op }) => {
    if (op === "login") return { ok: { ...loginOK("alice").ok, serverTime: start + performance.now() } };
    return undefined;
  });
  const began = performance.now();
  await client.send("u:bob", 1);
  await settle();
  expect(sends(peer())).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(120_000 - (performance.now() - began));
  vi.setSystemTime(start + 1000);
  const first = peer();
  first.close(1006);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(peer()).not.toBe(first);
  expect(sends(peer())).toMatchObject([{ body: 1, retry: true }]);
});

test("a cid of the application is looked for by the server once it may be older than a minute", async () => {
  const { client, server, peer } = await world();
  await client.send("u:carol", 1, { cid: "a day old", retry: true });
  await client.send("u:bob", 2, { cid: "fresh" });
  await settle();
  expect(sends(peer())).toMatchObject([{ cid: "a day old", retry: true }, { cid: "fresh" }]);
  expect(sends(peer())[1]).not.toHaveProperty("retry");
  server.refuse.connections = true;
  peer().close(1006);
  await settle();
  await client.send("u:dave", 3, { cid: "was fresh" }); // it may have been sent just before a kill
  await client.send("u:erin", 4);
  await vi.advanceTimersByTimeAsync(90_000);
  server.refuse.connections = false;
  await vi.advanceTimersByTimeAsync(40_000);
  const [, , waited, own] = sends(peer());
  expect(waited).toMatchObject({ cid: "was fresh", retry: true });
  expect(own).toMatchObject({ body: 4 });
  expect(own).not.toHaveProperty("retry");
});

test("what an earlier process has sent is stored once, also when it is sent again a day later", async () => {
  const fake = createFakeServer();
  const options = { url: fake.url, user: "alice", token: async () => fake.token("alice"), WebSocket: fake.WebSocket, tabs: false };
  const answers: unknown[] = [];
  for (let run = 0; run < 2; run++) {
    const client = createClient(options);
    clients.push(client);
    const pending = await client.send("u:bob", "answer", { cid: "echo-1", retry: run > 0 });
    await settle();
    answers.push(pending.state.getSnapshot());
    await client.close();
    fake.advance(24 * 3600_000);
  }
  expect(answers).toMatchObject([{ state: "stored", seq: 1 }, { state: "stored", seq: 1 }]);
  expect(fake.as("bob").request("getMessage", { conv: "u:alice" }).messages).toHaveLength(1);
});

test("a mark as unread is taken back by what the user sends, and reads here, not by what comes", async () => {
  const { client, peer } = await world(({ op }) => {
    if (op === "send") return { ok: { id: "x", seq: 3, time: 7 } };
    return op === "readReport" ? { ok: { unread: 0 } } : undefined;
  });
  const list = client.conversations();
  const stop = list.subscribe(() => {});
  const marked = async () => {
    await settle();
    return list.getSnapshot().list[0]?.markedUnread;
  };
  const mark = () => peer().push("onConversationChanged", { conv: "u:bob", muted: false, pinned: false, unread: true });
  peer().push("onNewMessage", { d: 1, messages: [message(1)], cursor: "c1" });
  mark();
  peer().push("onNewMessage", { d: 2, messages: [message(2)], cursor: "c2" });
  peer().push("onReadReport", { conv: "u:bob", seq: 2 });
  expect(await marked()).toBe(true);
  await client.readReport("u:bob", 2);
  expect(await marked()).toBe(false);
  mark();
  expect(await marked()).toBe(true);
  await client.send("u:bob", 1);
  expect(await marked()).toBe(false);
  stop();
});
