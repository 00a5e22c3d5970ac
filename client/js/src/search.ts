/** Finds text in the bodies of stored messages. */
import { isGap, isOver } from "./history.ts";
import type { StoredRow } from "./link.ts";
import type { Key, Store } from "./store.ts";
import type { Body, Message } from "./wire.ts";

/** Rows that are looked through at a time. */
const BATCH = 500;
/** The most that is found. */
const MAX_FOUND = 1000;

export interface SearchOptions {
  conv?: string;
  mode?: "words" | "substring";
  limit?: number;
}

/** Goes through the stored messages from the newest of the last conversation (by name) down, and stops at `limit` (default 50). */
export async function search(store: Store, text: string, { conv, mode = "words", limit = 50 }: SearchOptions, now: number): Promise<Message[]> {
  const found: Message[] = [];
  const matches = mode === "words" ? wordMatcher(text) : substringMatcher(text);
  const from: Key = conv === undefined ? [] : [conv];
  let to: Key = conv === undefined ? ["\uffff"] : [conv, ""];
  const most = Math.min(limit, MAX_FOUND);
  for (;;) {
    const entries = await store.list("messages", { from, to, limit: BATCH, reverse: true });
    for (const { value } of entries) {
      const row = value as unknown as StoredRow;
      if (isGap(row) || isOver(row, now) || !texts(row.body).some(matches)) continue;
      found.push(row);
      if (found.length >= most) return found;
    }
    if (entries.length < BATCH) return found;
    to = entries.at(-1)!.key;
  }
}

/** All texts in a body, without the keys of its maps. */
function texts(body: Body): string[] {
  if (typeof body === "string") return [body.toLowerCase()];
  if (typeof body !== "object" || body === null || body instanceof Uint8Array) return [];
  return Object.values(body).flatMap((part: Body) => texts(part));
}

function substringMatcher(text: string): (body: string) => boolean {
  const wanted = text.toLowerCase();
  return (body) => wanted !== "" && body.includes(wanted);
}

function wordMatcher(text: string): (body: string) => boolean {
  const words = (of: string) => of.toLowerCase().match(/[\p{L}\p{N}\p{M}]+/gu) ?? [];
  const wanted = words(text);
  return (body) => {
    const has = words(body);
    return wanted.length > 0 && wanted.every((word) => has.some((one) => one.startsWith(word)));
  };
}
