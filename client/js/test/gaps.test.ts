import fc from "fast-check";
import { expect, test } from "vitest";
import type { Client, Gap, Page, PageOptions } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import type { GapReason, Message, WirePage } from "../src/wire.ts";
import { loginOK, playServer, synced, type Peer } from "./peer.ts";
import { when } from "./waiting.ts";

/** A seq as the server or the device has it. */
type State = Message | GapReason;

const conv = "u:bob";
const body = (seq: number): Message => ({ id: `m${seq}`, conv, from: seq % 3 ? "bob" : "alice", seq, time: seq, cid: `c${seq}`, body: seq });

/** The page of a log by definition, one seq at a time, as the protocol says. */
function pageOf(log: readonly State[], newest: number, o: PageOptions): WirePage {
  const low = Math.max(1, o.range?.[0] ?? (o.after ?? 0) + 1);
  const high = Math.min(newest, o.range?.[1] ?? (o.before ?? Infinity) - 1);
  const down = !o.range && o.after === undefined;
  const seqs: number[] = [];
  for (let seq = low; seq <= high; seq++) seqs.push(seq);
  if (down) seqs.reverse();
  const taken: number[] = [];
  let count = 0;
  for (const seq of seqs) {
    if (typeof log[seq - 1] === "object" && ++count > (o.limit ?? 20)) break;
    taken.push(seq);
  }
  taken.sort((a, b) => a - b);
  const gaps: { from: number; to: number; reason: GapReason }[] = [];
  const messages: Message[] = [];
  for (const seq of taken) {
    const state = log[seq - 1]!;
    const last = gaps.at(-1);
    if (typeof state === "object") messages.push(state);
    else if (last && last.reason === state && last.to === seq - 1) last.to = seq;
    else gaps.push({ from: seq, to: seq, reason: state });
  }
  return { messages, gaps, from: taken[0] ?? 0, to: taken.at(-1) ?? 0, more: taken.length < seqs.length };
}

interface World {
  readonly client: Client;
  readonly peer: Peer;
  /** What the server has. */
  readonly log: State[];
  /** What the device was told, by seq. */
  readonly held: Map<number, State>;
  /** The newest seq that the device knows of. */
  newest: number;
  /** A message or a page has told how far the conversation goes. */
  known: boolean;
  d: number;
  /** Seqs that pages covered since the last look. */
  readonly fetched: number[];
}

/** One step: a change at the server, or a page that the application asks for. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("say" as const), pushed: fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("delete" as const), at: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("deleteLocal" as const), at: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("recall" as const), at: fc.nat(), length: fc.integer({ min: 1, max: 5 }), sender: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("expire" as const), to: fc.nat(), reason: fc.constantFrom<GapReason>("expired", "evicted") }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("page" as const),
      limit: fc.integer({ min: 1, max: 15 }),
      kind: fc.constantFrom("newest", "before", "after", "range"),
      a: fc.nat(),
      b: fc.nat(),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function run(world: World, s: Step): Promise<void> {
  const { client, peer, log, held } = world;
  const pick = (n: number) => (log.length === 0 ? 0 : 1 + (n % log.length));
  // An answer that comes behind what was pushed shows that the device has handled it.
  const handled = () => client.request("readReport", { conv, seq: 0 });
  if (s.do === "say") {
    const fresh: Message[] = [];
    for (const pushed of s.pushed) {
      const message = body(log.length + 1);
      log.push(message);
      if (pushed) fresh.push(message);
    }
    if (fresh.length > 0) peer.push("onNewMessage", { d: ++world.d, messages: fresh });
    for (const message of fresh) {
      held.set(message.seq, message);
      world.known = true;
      world.newest = Math.max(world.newest, message.seq);
    }
    return void (await handled());
  }
  if (s.do === "delete" || s.do === "deleteLocal") {
    const seqs = [...new Set(s.at.map(pick).filter((seq) => seq > 0))].filter((seq) => s.do === "deleteLocal" || typeof log[seq - 1] === "object");
    if (seqs.length === 0) return;
    for (const seq of seqs) {
      if (s.do === "delete") log[seq - 1] = "deleted";
      if (typeof held.get(seq) !== "string") held.set(seq, "deleted");
      world.newest = Math.max(world.newest, seq);
    }
    if (s.do === "deleteLocal") return client.deleteMessages(conv, seqs, { local: true });
    peer.push("onMessageDeleted", { conv, seqs });
    return void (await handled());
  }
  if (s.do === "recall") {
    const from = pick(s.at);
    const to = Math.min(log.length, from + s.length - 1);
    if (from === 0) return;
    for (let seq = from; seq <= to; seq++) {
      const state = log[seq - 1]!;
      const of = typeof state === "object" ? state.from : body(seq).from;
      if (s.sender && of !== "bob") continue;
      if (typeof state === "object") log[seq - 1] = "recalled";
      const had = held.get(seq);
      if (typeof had === "string" || (s.sender && had === undefined)) continue;
      held.set(seq, "recalled");
      world.newest = Math.max(world.newest, seq);
    }
    peer.push("onRecall", { conv, ranges: [[from, to]], by: "bob", ...(s.sender && { sender: "bob" }) });
    return void (await handled());
  }
  if (s.do === "expire") {
    for (let seq = 1; seq <= pick(s.to); seq++) if (typeof log[seq - 1] === "object") log[seq - 1] = s.reason;
    return;
  }
  const options: PageOptions = { limit: s.limit };
  if (s.kind === "before") options.before = pick(s.a) + 1;
  if (s.kind === "after") options.after = pick(s.a);
  if (s.kind === "range") options.range = [Math.min(pick(s.a), pick(s.b)), Math.max(pick(s.a), pick(s.b))];
  if (!world.known) {
    // Nothing was heard of the conversation: its newest page says how far it goes.
    delete options.before;
    delete options.after;
    delete options.range;
    world.known = true;
    world.newest = log.length;
  }
  const seen = log.map((state, i) => held.get(i + 1) ?? state);
  const wanted = pageOf(seen, world.newest, options);
  world.fetched.length = 0;
  const page = await client.getMessages(conv, options);
  expect(strip(page), JSON.stringify(options)).toEqual(strip(wanted));
  // Exactly what was missing of the page was asked for, each seq once.
  const missing: number[] = [];
  for (let seq = wanted.from; seq > 0 && seq <= wanted.to; seq++) if (!held.has(seq)) missing.push(seq);
  const asked = [...world.fetched].sort((a, b) => a - b);
  expect(asked.filter((seq) => held.has(seq)), "asked for what it had").toEqual([]);
  expect(new Set(asked).size, "asked twice").toBe(asked.length);
  expect(missing.filter((seq) => !asked.includes(seq)), "not asked for").toEqual([]);
  for (const seq of asked) {
    held.set(seq, log[seq - 1]!);
    world.newest = Math.max(world.newest, seq);
  }
  world.fetched.length = 0;
  expect(strip(await client.getMessages(conv, options))).toEqual(strip(page));
  expect(world.fetched, "asked although complete").toEqual([]);
}

/** Gaps of the device lie as its changes came; neighbours of one reason are one either way. */
function strip({ messages, gaps, from, to, more }: Page | WirePage) {
  const out: Gap[] = [];
  for (const gap of gaps) {
    const last = out.at(-1);
    if (last && last.reason === gap.reason && last.to === gap.from - 1) out[out.length - 1] = { ...last, to: gap.to };
    else out.push(gap);
  }
  return { seqs: messages.map((m) => m.seq), bodies: messages.map((m) => m.body), gaps: out, from, to, more };
}

test("a page is the server's, and only what was missing of it is asked for", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const log: State[] = [];
      const fetched: number[] = [];
      const server = playServer(({ op, args }, peer) => {
        if (op === "login") {
          queueMicrotask(() => queueMicrotask(() => peer.push("onSynced", synced())));
          return loginOK("alice");
        }
        if (op === "readReport") return { ok: { unread: 0 } };
        if (op !== "getMessage") return undefined;
        const page = pageOf(log, log.length, args as PageOptions);
        for (let seq = page.from; seq > 0 && seq <= page.to; seq++) fetched.push(seq);
        return { ok: page };
      });
      const client = createClient({ url: "ws://model", user: "alice", token: async () => "t", WebSocket: server.WebSocket });
      await when(client.status, (status) => status.synced);
      const world: World = { client, peer: server.peers[0]!, log, held: new Map(), newest: 0, known: false, d: 0, fetched };
      try {
        for (const s of steps) await run(world, s);
      } finally {
        await client.close();
      }
    }),
    {
      numRuns: 300,
      // A deletion told how far the conversation goes, and what lies below it was not known.
      examples: [[[
        { do: "say", pushed: [false, false, false, false] },
        { do: "delete", at: [3, 0] },
        { do: "page", limit: 1, kind: "newest", a: 0, b: 0 },
      ]]],
    },
  );
}, 600_000);
