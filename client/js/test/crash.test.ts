import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import type { Client } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { memoryStore } from "../src/memory.ts";
import { StoreError, type OpenStore, type Store } from "../src/store.ts";
import type { Message } from "../src/wire.ts";
import { limits, playServer, synced, type Peer } from "./peer.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Numbers in 0-1 that follow from a seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A server of the user alice: it keeps all messages in the order of arrival, pushes those
 * behind a cursor, and knows cids for ever. Connections break and answers get lost at random.
 */
function modelServer(chance: () => number, faults: { on: boolean }) {
  const arrived: Message[] = [];
  const seqs = new Map<string, number>();
  const taken = new Map<string, Message>(); // by conv and cid
  const sent = new Map<Peer, { d: number; frames: Message[][] }>();
  const acked = new Set<Message>();
  let live: Peer | undefined;

  const store = (conv: string, from: string, cid: string, body: number): Message => {
    const seq = (seqs.get(conv) ?? 0) + 1;
    seqs.set(conv, seq);
    const message: Message = { id: `${conv}/${seq}`, conv, from, seq, time: arrived.length + 1, cid, body };
    arrived.push(message);
    return message;
  };
  const push = (peer: Peer, from: number) => {
    const state = sent.get(peer)!;
    for (let i = from; i < arrived.length; ) {
      const messages = arrived.slice(i, i + 1 + Math.floor(chance() * 4));
      i += messages.length;
      state.frames.push(messages);
      peer.push("onNewMessage", { d: ++state.d, messages, cursor: String(i) });
    }
  };
  const { WebSocket } = playServer(({ op, args }, peer) => {
    if (faults.on && chance() < 0.03) {
      peer.close(1006);
      return undefined;
    }
    if (op === "login") {
      live = peer;
      sent.set(peer, { d: 0, frames: [] });
      queueMicrotask(() =>
        queueMicrotask(() => {
          push(peer, Number(args.since ?? 0));
          peer.push("onSynced", synced({ cursor: String(arrived.length) }));
        }),
      );
      return { ok: { user: "alice", session: 1, serverTime: Date.now(), protocol: 1, limits } };
    }
    if (op === "ack") {
      const state = sent.get(peer)!;
      if (Number(args.d) > state.d) throw new Error("acked what was not pushed");
      for (const message of state.frames.slice(0, Number(args.d)).flat()) acked.add(message);
    }
    if (op !== "send") return op === "ping" ? { ok: {} } : undefined;
    if (faults.on && chance() < 0.1) return { err: { code: "unavailable", retryAfterMs: 50 } };
    const key = `${String(args.conv)} ${String(args.cid)}`;
    const message = taken.get(key) ?? store(String(args.conv), "alice", String(args.cid), args.body as number);
    const duplicate = taken.has(key);
    taken.set(key, message);
    if (faults.on && chance() < 0.15) {
      peer.close(1006); // stored, and the answer is lost
      return undefined;
    }
    return { ok: { id: message.id, seq: message.seq, time: message.time, ...(duplicate && { duplicate }) } };
  });
  return {
    WebSocket,
    arrived,
    acked,
    say(conv: string, body: number) {
      store(conv, "bob", `b${body}`, body);
      const state = live && sent.get(live);
      if (!state) return;
      state.frames.push([arrived.at(-1)!]);
      live!.push("onNewMessage", { d: ++state.d, messages: [arrived.at(-1)], cursor: String(arrived.length) });
    },
    cut: () => live?.close(1006),
  };
}

/** A process: what it has written stays when it dies, and what it does after that has no effect. */
function process(disk: Store, chance: () => number, faults: { on: boolean }) {
  // A store that fails when it is opened makes room for one in memory, which is another matter.
  const state = { dead: false, up: false };
  const never = () => new Promise<never>(() => {});
  const guard = async <T>(change: () => Promise<T>, relaxed = false): Promise<T> => {
    if (state.dead) return never();
    const fate = faults.on && state.up ? chance() : 1;
    if (fate < 0.03) {
      state.dead = true;
      if (fate < 0.015) await change(); // it is on disk, and nobody hears of it
      return never();
    }
    if (fate < 0.06 && !relaxed) throw new StoreError("broken");
    const result = await change();
    return state.dead ? never() : result;
  };
  const read = <T>(of: () => Promise<T>) => (state.dead ? never() : of());
  const store: Store = {
    durability: "persistent",
    get: (table, key) => read(() => disk.get(table, key)),
    list: (table, range) => read(() => disk.list(table, range)),
    write: (changes, fence, relaxed) => guard(() => disk.write(changes, fence), relaxed),
    append: (table, value) => guard(() => disk.append(table, value)),
    close: async () => {},
    erase: async () => {},
  };
  const open: OpenStore = async () => ({ store });
  return { state, open };
}

test("whatever fails when: each message is handed over and stored once, but for the list that was being handled when the process died, and each send is stored once and in order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      vi.useFakeTimers();
      const chance = random(seed);
      vi.spyOn(Math, "random").mockImplementation(chance);
      const faults = { on: true };
      const server = modelServer(chance, faults);
      const disk = memoryStore();
      const handed: string[][][] = []; // per life the lists of ids
      const accepted: { conv: string; body: number }[] = []; // send has resolved
      const tried = new Set<number>();
      const lives: (() => void)[] = [];
      let current: ReturnType<typeof process>;
      let client: Client;
      const begin = () => {
        const life = process(disk, chance, faults);
        current = life;
        client = createClient({ url: "ws://model", user: "alice", token: async () => "t", WebSocket: server.WebSocket, store: life.open, tabs: false });
        client.status.subscribe(() => (life.state.up = true));
        const lists: string[][] = [];
        handed.push(lists);
        client.on("messages", (messages) => {
          if (!life.state.dead) lists.push(messages.map((m) => m.id));
        });
        lives.push(() => void (life.state.dead = true));
      };
      begin();
      let n = 0;
      for (let i = 0; i < 60; i++) {
        const what = chance();
        const conv = chance() < 0.5 ? "u:bob" : "u:carol";
        if (what < 0.35) server.say(conv, ++n);
        else if (what < 0.7) {
          const body = ++n;
          const life = current!;
          tried.add(body);
          client!.send(conv, body).then(
            () => life.state.dead || accepted.push({ conv, body }),
            () => tried.delete(body),
          );
        } else if (what < 0.8) server.cut();
        else await vi.advanceTimersByTimeAsync(chance() * 3000);
        await vi.advanceTimersByTimeAsync(chance() * 20);
        for (const { conv: of, seq } of server.acked) expect(await disk.get("messages", [of, seq]), "acked and not stored").toBeDefined();
        if (chance() < 0.05) current!.state.dead = true;
        if (current!.state.dead) {
          server.cut();
          begin();
        }
      }
      faults.on = false;
      current!.state.dead = true;
      server.cut();
      begin();
      for (let i = 0; i < 100; i++) {
        await vi.advanceTimersByTimeAsync(5000);
        const { synced: done, outbox } = client!.status.getSnapshot();
        if (done && outbox === 0) break;
      }
      expect(client!.status.getSnapshot()).toMatchObject({ synced: true, outbox: 0 });
      const before = new Set<string>();
      for (const [life, lists] of handed.entries()) {
        const interrupted = handed.slice(0, life).flatMap((earlier) => earlier.at(-1) ?? []);
        const ids = lists.flat();
        expect(new Set(ids).size, "handed over twice in one life").toBe(ids.length);
        for (const id of ids) expect(!before.has(id) || interrupted.includes(id), "handed over again after its handler had ended").toBe(true);
        for (const id of ids) before.add(id);
      }
      expect([...before].sort(), "handed over").toEqual(server.arrived.filter((m) => m.from === "bob").map((m) => m.id).sort());
      for (const conv of ["u:bob", "u:carol"]) {
        const all = server.arrived.filter((m) => m.conv === conv);
        const stored = (await client!.localMessages(conv, { limit: 100 })).messages;
        expect(stored.map((m) => m.body)).toEqual(all.map((m) => m.body));
        const mine = all.filter((m) => m.from === "alice").map((m) => m.body as number);
        expect(new Set(mine).size, "sent twice").toBe(mine.length);
        expect([...mine].sort((a, b) => a - b), "out of order").toEqual(mine);
        expect(mine).toEqual(expect.arrayContaining(accepted.filter((a) => a.conv === conv).map((a) => a.body)));
        expect(mine.every((body) => tried.has(body)), "sent although send said that it was not stored").toBe(true);
      }
      for (const end of lives.slice(0, -1)) end();
      await client!.close();
      vi.useRealTimers();
    }),
    { numRuns: 40 },
  );
}, 600_000);
