/** What goes into the outbox, what comes of it, and what is stored nowhere. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, ClientOptions } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { memoryStore } from "../src/memory.ts";
import type { Store } from "../src/store.ts";
import { encodeValue } from "../src/storedvalue.ts";
import type { Message } from "../src/wire.ts";
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

const settle = () => vi.advanceTimersByTimeAsync(0);

/** A client whose server answers logins and what `answer` does. */
async function world(answer: Answer = () => undefined, options: Partial<ClientOptions> = {}) {
  const server = playServer((request, peer) => {
    const special = answer(request, peer);
    if (special || request.op !== "login") return special;
    queueMicrotask(() => queueMicrotask(() => peer.push("onSynced", synced())));
    return loginOK("alice");
  });
  const client = createClient({ url: "ws://server", user: "alice", token: async () => "token", WebSocket: server.WebSocket, tabs: false, ...options });
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
