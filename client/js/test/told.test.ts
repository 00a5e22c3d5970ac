/** How often the application is told of a message: once, whatever ends when. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { BelfryError, type Client } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { memoryStore } from "../src/memory.ts";
import type { Store } from "../src/store.ts";
import type { Message } from "../src/wire.ts";
import { loginOK, playServer, synced, type Peer } from "./peer.ts";

let clients: Client[] = [];
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
});

const settle = () => vi.advanceTimersByTimeAsync(0);
const message = (seq: number, more: Partial<Message> = {}): Message => ({
  id: `bob-${seq}`, conv: "u:bob", from: "bob", seq, time: 1000 + seq, cid: `c${seq}`, body: seq, ...more,
});
const list = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => message(from + i));

type Handler = (seqs: number[]) => unknown;

/** A process on this store. What it does after `die` has no effect. */
async function process(disk: Store, handler: Handler = () => undefined, sync: object = synced()) {
  let dead = false;
  const alive = <T>(of: () => Promise<T>): Promise<T> => (dead ? new Promise<never>(() => {}) : of());
  const store: Store = {
    ...disk,
    durability: "persistent",
    write: (...of) => alive(() => disk.write(...of)),
    close: async () => {},
  };
  const server = playServer(({ op }, peer) => {
    if (op !== "login") return { ok: { id: "mine", seq: 5000, time: 1 } };
    queueMicrotask(() => queueMicrotask(() => peer.push("onSynced", sync as never)));
    return loginOK("alice");
  });
  const client = createClient({ url: "ws://server", user: "alice", token: async () => "token", WebSocket: server.WebSocket, tabs: false, store: async () => ({ store }) });
  clients.push(client);
  const told: number[][] = [];
  client.on("messages", (messages) => {
    if (dead) return;
    const seqs = messages.map(({ seq }) => seq);
    told.push(seqs);
    return handler(seqs) as void;
  });
  await settle();
  const peer = (): Peer => server.peers.at(-1)!;
  let d = 0;
  return {
    client, told, peer,
    async bring(...messages: Message[]) {
      peer().push("onNewMessage", { d: ++d, messages, cursor: `c${d}` });
      await settle();
    },
    acked: () => Math.max(0, ...peer().requests.filter(({ op }) => op === "ack").map(({ args }) => args.d as number)),
    async die() {
      dead = true;
      await settle();
    },
  };
}
const never = () => new Promise<never>(() => {});

test("what no handler has ended with is told again after a restart, in order, before what is new", async () => {
  const disk = memoryStore();
  const a = await process(disk, ([first]) => (first === 2 ? never() : undefined));
  for (let seq = 1; seq <= 3; seq++) await a.bring(message(seq));
  expect(a.told).toEqual([[1], [2]]); // one at a time
  expect(a.acked()).toBe(3); // it is all on the device
  await a.die();
  const b = await process(disk);
  await b.bring(message(4));
  expect(b.told).toEqual([[2], [3], [4]]);
  await b.die();
  const c = await process(disk);
  expect(c.told).toEqual([]);
});

test("a handler that returns a promise is waited for before the next list, and before events behind it", async () => {
  const disk = memoryStore();
  let end = () => {};
  const a = await process(disk, ([first]) => (first === 1 ? new Promise<void>((resolve) => (end = resolve)) : undefined));
  const order: string[] = [];
  a.client.on("recall", ({ ranges }) => order.push(`recall after ${a.told.length} lists, of ${ranges.join()}`));
  a.client.on("error", () => order.push("error"));
  const changed = vi.fn();
  a.client.conversations().subscribe(changed);
  await a.bring(message(1));
  await a.bring(message(2));
  a.peer().push("onRecall", { conv: "u:bob", sender: "bob", by: "bob", ranges: [[1, 1]] });
  await settle();
  expect(order).toEqual([]);
  expect((await a.client.localMessages("u:bob")).gaps).toMatchObject([{ reason: "recalled" }]); // the store and its views wait for nobody
  expect(changed).toHaveBeenCalled();
  end();
  await settle();
  expect(a.told).toEqual([[1], [2]]);
  expect(order).toEqual(["recall after 2 lists, of 1,1"]);
});

test("what was deleted or recalled, and what another epoch had, is not told after a restart", async () => {
  const disk = memoryStore();
  const a = await process(disk, never);
  for (let seq = 1; seq <= 4; seq++) await a.bring(message(seq));
  await a.client.deleteMessages("u:bob", [2], { local: true });
  a.peer().push("onRecall", { conv: "u:bob", sender: "bob", by: "bob", ranges: [[3, 3]] });
  await settle();
  await a.die();
  const b = await process(disk, never);
  await b.die();
  expect(b.told).toEqual([[1]]);
  expect((await process(disk)).told).toEqual([[1], [4]]);

  const other = memoryStore();
  const d = await process(other, never);
  await d.bring(message(1));
  await d.bring(message(2));
  await d.die();
  const e = await process(other, never, synced({ reset: true })); // it takes the first list, and the reset takes the second
  await e.bring(message(2, { id: "of another epoch" }));
  await e.die();
  const f = await process(other);
  expect(f.told).toEqual([[2]]);
});

test("a handler that fails is seen to, and has handled its list, if the process lives on", async () => {
  const thrown: unknown[] = [];
  vi.spyOn(globalThis, "queueMicrotask").mockImplementation((fn) => void Promise.resolve().then(fn).catch((err: unknown) => thrown.push(String(err))));
  const disk = memoryStore();
  const a = await process(disk, ([first]) => {
    if (first === 1) throw new Error("thrown");
    if (first === 2) return Promise.reject(new Error("rejected"));
    return undefined;
  });
  for (let seq = 1; seq <= 3; seq++) await a.bring(message(seq));
  expect(a.told).toEqual([[1], [2], [3]]);
  expect(thrown).toEqual(["Error: thrown", "Error: rejected"]);
  await a.die();
  expect((await process(disk)).told).toEqual([]);
});

test("a handler that fails because its client was closed has not handled its list", async () => {
  const disk = memoryStore();
  let fail = () => {};
  const a = await process(disk, () => new Promise((_, reject) => (fail = () => reject(new BelfryError("closed")))));
  await a.bring(message(1));
  const closed = a.client.close();
  fail();
  await closed;
  expect((await process(disk)).told).toEqual([[1]]);
});

test("close waits a moment for handlers that run", async () => {
  const disk = memoryStore();
  let end = () => {};
  const a = await process(disk, () => new Promise<void>((resolve) => (end = resolve)));
  await a.bring(message(1));
  const closed = a.client.close();
  end();
  await closed;
  const b = await process(disk, never);
  expect(b.told).toEqual([]);
  await b.bring(message(2));
  const late = b.client.close();
  await vi.advanceTimersByTimeAsync(1000);
  await late;
  expect((await process(disk)).told).toEqual([[2]]);
});

test("what is stored nowhere is told at most once", async () => {
  const disk = memoryStore();
  const a = await process(disk, never);
  await a.client.disableStorage("u:carol");
  const { seq: _, ...ephemeral } = message(9, { ephemeral: true });
  await a.bring(message(1));
  a.peer().push("onNewMessage", { d: 2, messages: [ephemeral, message(1, { conv: "u:carol", id: "carol-1" })], cursor: "x" });
  await settle();
  await a.die();
  expect((await process(disk)).told).toEqual([[1]]);
});

test("an application that handles nothing is brought no more than a thousand lists, and goes on once it does", async () => {
  const disk = memoryStore();
  let end: (() => void) | undefined;
  const a = await process(disk, () => (end ? undefined : new Promise<void>((resolve) => (end = resolve))));
  for (let seq = 1; seq <= 1010; seq++) await a.bring(message(seq));
  expect(a.told).toEqual([[1]]);
  expect(a.acked()).toBe(1001);
  const pending = await a.client.send("u:bob", "meanwhile");
  await settle();
  expect(pending.state.getSnapshot()).toMatchObject({ state: "stored" });
  end!();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(a.told.flat()).toEqual(list(1, 1001).map(({ seq }) => seq));
  const [login] = a.peer().requests;
  expect([login?.op, login?.args.since]).toEqual(["login", "c1001"]); // the server pushes the rest again
  await a.bring(...list(1002, 1010));
  await a.bring(message(1011));
  expect(a.told.flat()).toEqual(list(1, 1011).map(({ seq }) => seq));
  expect(await disk.list("meta", { from: ["told"], to: ["told", ""] })).toHaveLength(501);
});

test("lists have at most a hundred messages", async () => {
  const a = await process(memoryStore());
  a.peer().push("onNewMessage", { d: 1, messages: [message(1)], cursor: "c1" });
  a.peer().push("onNewMessage", { d: 2, messages: list(2, 101), cursor: "c2" });
  a.peer().push("onNewMessage", { d: 3, messages: list(102, 180), cursor: "c3" });
  await settle();
  expect(a.told.flat()).toEqual(list(1, 180).map(({ seq }) => seq));
  expect(Math.max(...a.told.map((seqs) => seqs.length))).toBeLessThanOrEqual(100);
});
