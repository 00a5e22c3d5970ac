import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import "./peer.ts"; // loads what a client loads only when it is made
import type { StoredConversation } from "../src/link.ts";
import { memoryStore } from "../src/memory.ts";
import { createFakeServer, type FakeServer } from "../src/testing.ts";

// Unread is the server's number (docs/semantics.md, Unread and read reports). Between logins the
// device keeps it by what it is told: this compares the two whenever nothing is under way.

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const convs = ["u:bob", "g:team"] as const;
type Conv = (typeof convs)[number];
const conv = fc.constantFrom(...convs);
const who = fc.constantFrom("bob", "alice");
/** By this device, or by another one of the same user. */
const here = fc.boolean();

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("say" as const), conv, who, n: fc.integer({ min: 1, max: 6 }), ttl: fc.constantFrom(undefined, undefined, undefined, 5, 20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("send" as const), conv }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("recall" as const), conv, who, at: fc.nat(60) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("delete" as const), conv, here, at: fc.array(fc.nat(60), { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("deleteConversation" as const), conv, here, messages: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("report" as const), conv, here, at: fc.nat(60) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("page" as const), conv, at: fc.nat(60), limit: fc.integer({ min: 1, max: 10 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(1000, 6000, 21_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("away" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("back" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
/** With false the next step follows while this one's frames are still on their way. */
const steps = fc.array(fc.tuple(step, fc.boolean()), { maxLength: 40, size: "max" });

class World {
  readonly server: FakeServer;
  readonly store = memoryStore();
  readonly client: Client;
  away = false;
  /** How far each conversation goes. */
  readonly newest = new Map<Conv, number>();

  constructor() {
    this.server = createFakeServer({ now: Date.now() });
    this.server.as("bob").request("createGroup", { group: "team", kind: "private", members: ["alice"] });
    // A group of which a device has no cursor does not tell what was deleted meanwhile.
    for (const [of, to] of [["u:bob", "u:alice"], ["g:team", "g:team"]] as const) this.newest.set(of, this.server.as("bob").send(to, "first").seq);
    const follow = () => this.follow();
    const Socket = this.server.WebSocket;
    this.client = createClient({
      url: this.server.url, user: "alice", token: async () => this.server.token("alice", 1e9), tabs: false,
      WebSocket: class extends Socket {
        constructor(url: string, protocols: string[]) {
          follow(); // so that the login says no other time
          super(url, protocols);
        }
      },
      store: async () => ({ store: { ...this.store, close: async () => {} } }), manualRead: true, groupBacklog: 3,
    });
  }

  /** Moves the server's clock to where the device's is. */
  follow(): void {
    this.server.advance(Date.now() - this.server.now());
  }
  async pass(ms: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(ms);
    this.follow();
  }
  async quiet(): Promise<void> {
    await vi.advanceTimersByTimeAsync(0);
  }
  entry(of: Conv): Promise<StoredConversation | undefined> {
    return this.store.get("conversations", [of]) as Promise<never>;
  }
  /** What the server counts. A conversation that is in no list has nothing. */
  theirs(of: Conv): number {
    const { conversations } = this.server.as("alice").request("getConversations", { limit: 100 });
    return conversations.find((entry) => entry.conv === of)?.unread ?? 0;
  }

  async run(s: Step): Promise<void> {
    const { server, client } = this;
    const refusable = (call: () => unknown): void => {
      try {
        call();
      } catch {
        // No such message, or not theirs: also an answer.
      }
    };
    const both = async (local: boolean, mine: () => Promise<unknown>, others: () => unknown): Promise<void> => {
      if (local && !this.away) await Promise.all([mine().catch(() => {}), this.quiet()]);
      else refusable(others);
    };
    const alice = server.as("alice");
    switch (s.do) {
      case "say": {
        // Of a group the login does not bring all, and nobody is told when the time of what it left out is over.
        const ttl = this.away && s.conv === "g:team" ? undefined : s.ttl;
        const to = s.conv === "u:bob" && s.who === "bob" ? "u:alice" : s.conv;
        for (let i = 0; i < s.n; i++) this.newest.set(s.conv, server.as(s.who).send(to, i, ttl === undefined ? {} : { ttl }).seq);
        if (ttl !== undefined) await this.quiet();
        return;
      }
      case "send":
        await client.send(s.conv, "mine");
        if (!this.away) this.newest.set(s.conv, (this.newest.get(s.conv) ?? 0) + 1);
        return;
      case "recall":
        return refusable(() => server.as(s.who).request("recall", { conv: s.conv === "u:bob" && s.who === "bob" ? "u:alice" : s.conv, seq: this.pick(s.conv, s.at) }));
      case "delete": {
        const seqs = s.at.map((at) => this.pick(s.conv, at));
        return both(s.here, () => client.deleteMessages(s.conv, seqs), () => alice.request("deleteMessage", { conv: s.conv, seqs }));
      }
      case "deleteConversation":
        await this.quiet(); // no answer says up to where it went
        return both(s.here, () => client.deleteConversation(s.conv, { messages: s.messages }), () => alice.request("deleteConversation", { conv: s.conv, messages: s.messages }));
      case "report": {
        const seq = this.pick(s.conv, s.at);
        return both(s.here, () => client.readReport(s.conv, seq), () => alice.request("readReport", { conv: s.conv, seq }));
      }
      case "page":
        if (!this.away) await Promise.all([client.getMessages(s.conv, { before: this.pick(s.conv, s.at) + 1, limit: s.limit }).catch(() => {}), this.quiet()]);
        return;
      case "pass":
        return this.pass(s.ms);
      case "away":
        this.away = true;
        server.faults.refuse(true);
        return server.faults.cut("alice");
      case "back":
        this.away = false;
        server.faults.refuse(false);
        return this.pass(31_000);
    }
  }
  pick(of: Conv, at: number): number {
    return 1 + (at % this.newest.get(of)!);
  }

  async check(): Promise<void> {
    await this.quiet();
    if (this.away || !this.client.status.getSnapshot().synced) return;
    for (const of of convs) {
      expect((await this.entry(of))?.unread ?? 0, of).toBe(this.theirs(of));
    }
  }
}

test("what is unread is what the server says, whatever is recalled, deleted, reported, fetched or over", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      const world = new World();
      try {
        await world.quiet();
        for (const [s, settle] of steps) {
          await world.run(s);
          if (settle) await world.check();
        }
        await world.run({ do: "back" });
        await world.check();
      } finally {
        await Promise.all([world.client.close(), world.quiet()]);
      }
    }),
    {
      numRuns: 200,
      // The login brings the newest three; what is taken back is none of them.
      examples: [[[
        [{ do: "away" }, true],
        [{ do: "say", conv: "g:team", who: "bob", n: 6, ttl: undefined }, true],
        [{ do: "back" }, true],
        [{ do: "recall", conv: "g:team", who: "bob", at: 1 }, true],
      ]]],
    },
  );
}, 600_000);

test("what ran out unseen is unread until it is looked at", async () => {
  const world = new World();
  await world.quiet();
  await world.run({ do: "away" });
  await world.run({ do: "say", conv: "u:bob", who: "bob", n: 1, ttl: undefined });
  for (let i = 0; i < 6; i++) world.server.as("bob").send("g:team", i, i < 2 ? { ttl: 40 } : {});
  await world.run({ do: "back" });
  await world.check();
  await world.pass(20_000);
  expect(await world.entry("g:team")).toMatchObject({ unread: 7 });
  await Promise.all([world.client.getMessages("g:team", { limit: 100 }), world.quiet()]);
  await world.check();
  expect(await world.entry("g:team")).toMatchObject({ unread: 5 });
  await Promise.all([world.client.close(), world.quiet()]);
});
