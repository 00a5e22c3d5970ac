/** The SDK with the fake server and with the real one: an application's test sees the same with both. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";

import type { Client, ClientOptions, Message, WebSocketConstructor } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { msgpack } from "../src/msgpack.ts";
import { createFakeServer } from "../src/testing.ts";
import { startBelfry, type Server } from "./belfry.ts";
import { gapVectors } from "./vectors.ts";

/** What both servers offer to a scenario. */
interface Side {
  readonly url: string;
  readonly WebSocket: WebSocketConstructor;
  token(user: string): string;
}

const patience = 60_000;

async function until<T>(what: string, get: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  for (const began = Date.now(); ; ) {
    const got = await get();
    if (got !== undefined && got !== false) return got;
    if (Date.now() - began > patience) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Makes clients that are closed at the end, and notes what they hand over. */
function people(side: Side) {
  const open: Client[] = [];
  return {
    async online(user: string, options: Partial<ClientOptions> = {}): Promise<Client & { got: Message[] }> {
      const client = createClient({ url: side.url, WebSocket: side.WebSocket, user, token: async () => side.token(user), tabs: false, ...options });
      open.push(client);
      const got: Message[] = [];
      client.on("messages", (list) => got.push(...list));
      await until(`${user} is synced`, () => client.status.getSnapshot().synced);
      return Object.assign(client, { got });
    },
    close: () => Promise.all(open.map((client) => client.close())),
  };
}

/** Each returns what the application saw. */
const scenarios: Record<string, (side: Side, name: (user: string) => string) => Promise<unknown>> = {
  async "messages there and back, with local history"(side, name) {
    const all = people(side);
    try {
      const alice = await all.online(name("alice"));
      const sent = await alice.send(`u:${name("bob")}`, { n: 1, big: 1n << 60n, bin: new Uint8Array([1, 2]) }, { cid: "c1" });
      const state = await sent.settled;
      const bob = await all.online(name("bob"), { codec: msgpack() });
      await until("bob's message", () => bob.got.length === 1);
      await (await bob.send(`u:${name("alice")}`, "answer", { cid: "c2" })).settled;
      await until("the answer", () => alice.got.length === 1);
      const page = await alice.localMessages(`u:${name("bob")}`);
      return [state.state, bob.got.map((m) => m.body), page.messages.map((m) => [m.seq, m.cid, m.body]), page.gaps, page.more];
    } finally {
      await all.close();
    }
  },
  async "reports, receipts and recalls"(side, name) {
    const all = people(side);
    const told: unknown[] = [];
    try {
      const alice = await all.online(name("alice"));
      for (const cid of ["c1", "c2", "c3"]) await (await alice.send(`u:${name("bob")}`, cid, { cid })).settled;
      const bob = await all.online(name("bob"), { manualRead: true });
      await until("all messages", () => bob.got.length === 3);
      alice.on("readReceipt", ({ seq }) => told.push(["receipt", seq]));
      bob.on("recall", ({ ranges }) => told.push(["recall", ranges]));
      const { unread } = await bob.readReport(`u:${name("alice")}`, 2);
      await until("the receipt", () => told.length === 1);
      await alice.recall(`u:${name("bob")}`, 1);
      await until("the recall", () => told.length === 2);
      const { messages, gaps } = await bob.getMessages(`u:${name("alice")}`);
      const refused = await bob.recall(`u:${name("alice")}`, 2).catch((e: { code: string }) => e.code);
      return [unread, told, messages.map((m) => m.cid), gaps, refused];
    } finally {
      await all.close();
    }
  },
  async "a group"(side, name) {
    const all = people(side);
    try {
      const alice = await all.online(name("alice"));
      const bob = await all.online(name("bob"));
      const group = name("team");
      await alice.request("createGroup", { group, kind: "private", name: "Team", members: [name("bob")] });
      for (const cid of ["c1", "c2"]) await (await alice.send(`g:${group}`, cid, { cid })).settled;
      await until("bob's messages", () => bob.got.length === 2);
      const { unread } = await bob.readReport(`g:${group}`, 1);
      const { members } = await bob.request("getMembers", { group });
      const carol = await all.online(name("carol"));
      const refused = await carol.getMessages(`g:${group}`).catch((e: { code: string }) => e.code);
      return [bob.got.map((m) => [m.seq, m.cid]), unread, members.map((m) => m.role), refused];
    } finally {
      await all.close();
    }
  },
};

let server: Server;
beforeAll(async () => {
  server = await startBelfry();
}, 300_000);
afterAll(() => server?.end());

let runs = 0;
test.each(Object.keys(scenarios))("%s: an application sees the same with the fake and the real server", async (title) => {
  const play = scenarios[title]!;
  const prefix = `s${++runs}.`;
  const name = (user: string): string => prefix + user;
  const real = await play({ url: server.url, WebSocket: NodeWebSocket, token: (user) => server.token(user) }, name);
  const fake = createFakeServer({ codecs: [msgpack()] });
  const played = await play({ url: fake.url, WebSocket: fake.WebSocket, token: (user) => fake.token(user) }, name);
  expect(played).toEqual(real);
}, 300_000);

describe("pages over gaps, by the vectors of gateway/protocol", () => {
  test.each(gapVectors)("$name", async (v) => {
    const fake = createFakeServer();
    // Sent by the user's own other device: in history, and never pushed to this one.
    for (let n = 1; n <= v.newest; n++) fake.as("bob").send("u:alice", n);
    for (const { from, to, reason } of v.gone) fake.faults.gap("bob", "u:alice", from, to, reason);
    const all = people({ url: fake.url, WebSocket: fake.WebSocket, token: (user) => fake.token(user) });
    try {
      const bob = await all.online("bob", { recents: "quiet" });
      for (const range of v.held) await bob.getMessages("u:alice", { range });
      fake.clear();
      const page = await bob.getMessages("u:alice", v.ask);
      expect([page.messages.map((m) => m.seq), page.more]).toEqual([v.seqs, v.more]);
      for (const gap of v.gaps) expect(page.gaps).toContainEqual(gap);
      const asked = fake.frames().flatMap(({ frame: { ok } }) => {
        const { from = 0, to = 0 } = (ok ?? {}) as { from?: number; to?: number };
        return from === 0 ? [] : Array.from({ length: to - from + 1 }, (_, i) => from + i);
      });
      const held = (seq: number): boolean => v.held.some(([from, to]) => from <= seq && seq <= to);
      expect(asked.filter(held)).toEqual([]);
      for (const [from, to] of v.must) for (let seq = from; seq <= to; seq++) expect(asked).toContain(seq);
      if (v.must.length === 0) expect(fake.requests("getMessage")).toEqual([]);
      fake.clear();
      await bob.getMessages("u:alice", v.ask);
      expect(fake.requests("getMessage")).toEqual([]);
    } finally {
      await all.close();
    }
  });
});

describe("faults", () => {
  test("an answer that is lost: the message is stored once", async () => {
    const fake = createFakeServer();
    const all = people({ url: fake.url, WebSocket: fake.WebSocket, token: (user) => fake.token(user) });
    try {
      const alice = await all.online("alice");
      fake.faults.loseNextAnswer("send");
      const sent = await alice.send("u:bob", "once", { cid: "c1" });
      expect(await sent.settled).toMatchObject({ state: "stored", seq: 1 });
      expect(fake.as("bob").request("getMessage", { conv: "u:alice" }).messages.map((m) => m.cid)).toEqual(["c1"]);
    } finally {
      await all.close();
    }
  });

  test("a refused token is asked for again, with the reason", async () => {
    const fake = createFakeServer();
    const reasons: string[] = [];
    const all = people({ url: fake.url, WebSocket: fake.WebSocket, token: (user) => fake.token(user) });
    try {
      await all.online("alice", {
        token: async ({ reason }) => {
          reasons.push(reason);
          return reasons.length === 1 ? "nonsense" : fake.token("alice");
        },
      });
      expect(reasons).toEqual(["login", "refused"]);
    } finally {
      await all.close();
    }
  });

  test("kicked: the client is closed and says so", async () => {
    const fake = createFakeServer();
    const all = people({ url: fake.url, WebSocket: fake.WebSocket, token: (user) => fake.token(user) });
    try {
      const alice = await all.online("alice");
      fake.faults.kick("alice");
      const status = await until("closed", () => {
        const now = alice.status.getSnapshot();
        return now.connection === "closed" && now;
      });
      expect(status.error?.code).toBe("kicked");
      expect(fake.online("alice")).toEqual([]);
    } finally {
      await all.close();
    }
  });

  test("what limits took, and another epoch: history is whole in the end", async () => {
    const fake = createFakeServer();
    for (let n = 1; n <= 6; n++) fake.as("bob").send("u:alice", n);
    fake.faults.lose("alice", "u:bob", 1, 3);
    const all = people({ url: fake.url, WebSocket: fake.WebSocket, token: (user) => fake.token(user) });
    try {
      const alice = await all.online("alice", { manualRead: true });
      expect((await alice.localMessages("u:bob")).gaps).toContainEqual({ from: 1, to: 3, reason: "lost" });
      fake.faults.reset();
      fake.faults.cut("alice");
      await until("online again", () => alice.status.getSnapshot().synced && fake.online("alice").length === 1);
      expect((await alice.getMessages("u:bob")).messages.map((m) => m.body)).toEqual([1, 2, 3, 4, 5, 6]);
    } finally {
      await all.close();
    }
  });
});
