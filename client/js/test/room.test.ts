import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createClient } from "../src/client.ts";
import { memoryStore } from "../src/memory.ts";
import { StoreError, type Change, type Store } from "../src/store.ts";
import { createFakeServer } from "../src/testing.ts";
import "./peer.ts"; // loads what a client loads only when it is made

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settle = () => vi.advanceTimersByTimeAsync(0);
const adds = (change: Change) => change.table === "messages" && "value" in change;

/** A store for which there is room, or not: without it nothing can be added until messages were removed. */
function tightStore(): { store: Store; room: { left: boolean; ever: boolean } } {
  const base = memoryStore();
  const room = { left: true, ever: true };
  const need = () => {
    if (!room.left) throw new StoreError("quota");
  };
  const store: Store = {
    ...base,
    close: async () => {},
    async write(changes, fence) {
      if (changes.some(adds)) need();
      await base.write(changes, fence);
      if (room.ever && changes.some((change) => change.table === "messages" && "remove" in change)) room.left = true;
    },
    async append(table, value) {
      need();
      return base.append(table, value);
    },
  };
  return { store, room };
}

async function world() {
  const server = createFakeServer({ now: Date.now() });
  const { store, room } = tightStore();
  for (let i = 1; i <= 300; i++) server.as("bob").send("u:alice", i);
  const client = createClient({
    url: server.url, user: "alice", token: async () => server.token("alice"), WebSocket: server.WebSocket, tabs: false, store: async () => ({ store }),
  });
  await settle();
  expect(client.status.getSnapshot().synced).toBe(true);
  return { server, client, room, end: () => Promise.all([client.close(), settle()]) };
}

test("what was deleted on this device stays away also when the store had to make room", async () => {
  const { server, client, room, end } = await world();
  await client.deleteMessages("u:bob", [3, 4, 50], { local: true });
  room.left = false;
  server.as("bob").send("u:alice", 301);
  await settle();
  const seqs = async (from: number, to: number) => {
    const [page] = await Promise.all([client.getMessages("u:bob", { range: [from, to], limit: 100 }), settle()]);
    return { messages: page.messages.map(({ seq }) => seq), gaps: page.gaps };
  };
  expect((await client.localMessages("u:bob", { range: [1, 60] })).gaps).toEqual([
    { from: 1, to: 2, reason: "unknown" },
    { from: 3, to: 4, reason: "deleted" },
    { from: 5, to: 49, reason: "unknown" },
    { from: 50, to: 50, reason: "deleted" },
    { from: 51, to: 60, reason: "unknown" },
  ]);
  server.clear();
  expect(await seqs(1, 6)).toEqual({ messages: [1, 2, 5, 6], gaps: [{ from: 3, to: 4, reason: "deleted" }] });
  expect(await seqs(49, 51)).toEqual({ messages: [49, 51], gaps: [{ from: 50, to: 50, reason: "deleted" }] });
  expect(server.requests("getMessage").map(({ range }) => range)).toEqual([[1, 2], [5, 6], [49, 49], [51, 51]]);
  await end();
});

test("a send to a full store makes room first, and is refused only if there is none", async () => {
  const { server, client, room, end } = await world();
  room.left = false;
  const sent = client.send("u:bob", "hello");
  await settle();
  const pending = await sent;
  await settle();
  expect(pending.state.getSnapshot()).toMatchObject({ state: "stored", seq: 301 });
  expect((await client.localMessages("u:bob", { range: [1, 100] })).messages).toEqual([]);
  room.left = room.ever = false;
  const refused = expect(client.send("u:bob", "again")).rejects.toMatchObject({ code: "storage" });
  await settle();
  await refused;
  expect(server.requests("send")).toHaveLength(1);
  await end();
});

test("past 1,000 ranges of a conversation the oldest are forgotten, but for what was deleted on this device", async () => {
  const { server, client, end } = await world();
  await client.deleteMessages("u:bob", [3, 4, 50], { local: true });
  const far = (i: number) => ({ id: `far${i}`, conv: "u:bob", from: "bob", seq: 1000 + 2 * i, time: 1, cid: `far${i}`, body: i });
  await Promise.all([client.importMessages(Array.from({ length: 1002 }, (_, i) => far(i))), settle()]);
  expect((await client.localMessages("u:bob", { range: [1, 1005] })).gaps).toEqual([
    { from: 1, to: 2, reason: "unknown" },
    { from: 3, to: 4, reason: "deleted" },
    { from: 5, to: 49, reason: "unknown" },
    { from: 50, to: 50, reason: "deleted" },
    { from: 51, to: 1003, reason: "unknown" },
    { from: 1005, to: 1005, reason: "unknown" },
  ]);
  server.clear();
  const [page] = await Promise.all([client.getMessages("u:bob", { range: [1, 6], limit: 100 }), settle()]);
  expect(page.messages.map(({ seq }) => seq)).toEqual([1, 2, 5, 6]);
  await end();
});
