/** The page of the benchmark of a window that is scrolled. */

import type { MessageWindow } from "../../src/api.ts";
import { createClient } from "../../src/client.ts";
import { indexedDB } from "../../src/indexeddb.ts";

const conv = "u:alice";
let window: MessageWindow;

/** Opens a window at the end of a conversation of so many messages, which a client without a connection imports. */
export async function open(messages: number): Promise<void> {
  const client = createClient({ url: "ws://127.0.0.1:9/v1/ws", user: "bob", token: async () => "none", store: indexedDB() });
  for (let first = 1; first <= messages; first += 5_000) {
    await client.importMessages(
      Array.from({ length: 5_000 }, (_, i) => ({
        id: `id${first + i}`, conv, seq: first + i, from: "alice", cid: `c${first + i}`, time: 1_700_000_000_000 + first + i, body: { text: "a message of some length, as people write them, or so" },
      })),
    );
  }
  window = client.messages(conv);
  window.subscribe(() => {});
  await window.jump(Infinity);
}

/** Scrolls back by so many pages. Returns the seq of the first row and how many rows there are. */
export async function older(pages: number): Promise<[first: number, rows: number]> {
  for (let i = 0; i < pages; i++) await window.older();
  const { rows } = window.getSnapshot();
  const [first] = rows;
  return [first?.kind === "message" ? first.message.seq : 0, rows.length];
}
