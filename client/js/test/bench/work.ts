/** What is measured of a store: 100,000 messages in 100 conversations. Runs in Node and in browsers. */

import type { Change, Opened, Store } from "../../src/store.ts";

const messages = 100_000;
const conversations = 100;
const batch = 1_000;
/** How often each reading is timed. */
const times = 51;

const conversation = (i: number) => `u:user${String(i).padStart(3, "0")}`;

/** Fills a store, in batches. Returns milliseconds. */
export async function fill(store: Store): Promise<number> {
  const began = performance.now();
  for (let first = 0; first < messages; first += batch) {
    const changes = Array.from({ length: batch }, (_, i): Change => {
      const [conv, seq] = [(first + i) % conversations, Math.floor((first + i) / conversations) + 1];
      const value = { id: `m${first + i}`, seq, from: conversation(conv), time: 1_700_000_000_000 + first + i, body: { text: "a message of some length, as people write them, or so" } };
      return { table: "messages", key: [conversation(conv), seq], value };
    });
    await store.write(changes);
  }
  await store.write(Array.from({ length: conversations }, (_, i) => ({ table: "conversations", key: [conversation(i)], value: { unread: i, last: messages / conversations } })));
  return performance.now() - began;
}

export interface Figures {
  readonly openMs: number;
  readonly listMs: number;
  readonly pageMs: number;
  readonly writeMs: number;
}

/** Opens the store that was filled, and reads: medians, in milliseconds. */
export async function measure(open: () => Promise<Opened>): Promise<Figures> {
  const began = performance.now();
  const { store } = await open();
  await store.get("meta", ["cursor"]);
  const openMs = performance.now() - began;
  const listMs = await median(async () => expect((await store.list("conversations", {})).length, conversations));
  const pageMs = await median(async (i) => {
    const conv = conversation(i % conversations);
    expect((await store.list("messages", { from: [conv], to: [conv, "~"], reverse: true, limit: 20 })).length, 20);
  });
  const writeMs = await median((i) => store.write([{ table: "meta", key: ["cursor"], value: i }]));
  await store.close();
  return { openMs, listMs, pageMs, writeMs };
}

function expect(got: number, want: number): void {
  if (got !== want) throw new Error(`${got} entries, want ${want}`);
}

async function median(work: (i: number) => Promise<void>): Promise<number> {
  const all: number[] = [];
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await work(i);
    all.push(performance.now() - began);
  }
  return all.sort((a, b) => a - b)[times >> 1] ?? 0;
}
