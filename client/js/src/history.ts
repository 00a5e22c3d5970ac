/**
 * Reads conversations from the store: rows of messages and gaps, and what is missing
 * between them. It writes nothing, so any tab may use it.
 */
import type { Gap, Page, PageOptions } from "./api.ts";
import type { StoredConversation, StoredGap, StoredRow } from "./link.ts";
import type { Store, Value } from "./store.ts";
import type { Message } from "./wire.ts";

/** A stretch of seqs: a message, a gap of one reason, or a hole that nothing is known of. */
export type Tile =
  | { readonly from: number; readonly to: number; readonly message: Message; readonly gap?: undefined }
  | { readonly from: number; readonly to: number; readonly gap: StoredGap["reason"]; readonly message?: undefined }
  | { readonly from: number; readonly to: number; readonly gap?: undefined; readonly message?: undefined };

/** The most gaps that one page has. */
const MAX_GAPS = 1000;

export function isGap(row: StoredRow): row is StoredGap {
  return "gap" in row;
}

/** Whether the message's own ttl is over, `now` by the server's clock. */
export function isOver(message: Message, now: number): boolean {
  return !!message.ttl && message.time + message.ttl * 1000 <= now;
}

/** The entry of a conversation; undefined if nothing was ever heard of it. */
export async function conversation(store: Store, conv: string): Promise<StoredConversation | undefined> {
  return (await store.get("conversations", [conv])) as unknown as StoredConversation | undefined;
}

/** The number of the newest list of messages, 0 if there was none. */
export async function newestTold(store: Store): Promise<number> {
  const [last] = await store.list("meta", { from: ["told"], to: ["told", ""], limit: 1, reverse: true });
  return last ? (last.key[1] as number) : 0;
}

export function tileOf(row: StoredRow, now: number): Tile {
  if (isGap(row)) return { from: row.gap, to: row.to, gap: row.reason };
  if (isOver(row, now)) return { from: row.seq, to: row.seq, gap: "expired" };
  return { from: row.seq, to: row.seq, message: row };
}

/** Up to `limit` stored rows whose last seq is in `from`-`to`, ascending. */
export async function rows(store: Store, conv: string, from: number, to: number, limit?: number, reverse = false): Promise<StoredRow[]> {
  const entries = await store.list("messages", { from: [conv, from], to: [conv, to + 1], reverse, ...(limit !== undefined && { limit }) });
  return entries.map((entry) => entry.value as unknown as StoredRow);
}

/**
 * The tiles of `from`-`to`, without holes between: from the low end, or with `down` from
 * the high end and descending, until `limit` messages and MAX_GAPS others are found. Gaps
 * reach no further than `from`-`to`.
 */
export async function tiles(store: Store, conv: string, from: number, to: number, limit: number, now: number, down = false): Promise<Tile[]> {
  const out: Tile[] = [];
  let messages = 0;
  let at = down ? to : from; // the next seq to be accounted for
  /** Reports whether more is wanted. */
  const push = (tile: Tile): boolean => {
    if (tile.message) messages++;
    out.push(tile);
    at = down ? tile.from - 1 : tile.to + 1;
    return out.length - messages <= MAX_GAPS && at >= from && at <= to;
  };
  /** Takes a row, and the hole before it. */
  const take = (row: StoredRow): boolean => {
    const tile = tileOf(row, now);
    if (down ? tile.to < at : tile.from > at) {
      if (!push(down ? { from: tile.to + 1, to: at } : { from: at, to: tile.from - 1 })) return false;
    }
    return !(tile.message && messages >= limit) && push({ ...tile, from: Math.max(from, tile.from), to: Math.min(to, tile.to) });
  };
  // A gap lies under its last seq, so one that reaches beyond `to` is found behind it.
  const beyond = (await rows(store, conv, to + 1, Number.MAX_SAFE_INTEGER - 1, 1)).filter((row) => isGap(row) && row.gap <= to);
  let going = from <= to && (!down || beyond.every(take));
  while (going) {
    const want = limit - messages + 1;
    const found = down ? await rows(store, conv, from, at, want, true) : await rows(store, conv, at, to, want);
    const last = found.length < want;
    if (last && !down) found.push(...beyond);
    for (const row of found) going &&= take(row);
    if (!last) continue;
    if (going) push(down ? { from, to: at } : { from: at, to });
    break;
  }
  return out;
}

/** A page as the store has it; what it lacks is a gap `lost` or `unknown`. `now` is by the server's clock. */
export async function localPage(store: Store, conv: string, options: PageOptions, now: number): Promise<Page> {
  const entry = await conversation(store, conv);
  const span = spanOf(entry, options);
  const { from, to, limit, down } = span;
  const found = await tiles(store, conv, from, to, limit, now, down);
  if (down) found.reverse();
  return pageOf(found, span, entry);
}

/** What a page asks for: messages of `from`-`to`, from its high end with `down`. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly limit: number;
  readonly down: boolean;
}

export function spanOf(entry: StoredConversation | undefined, { before, after, range, limit = 20 }: PageOptions): Span {
  const newest = entry?.newest ?? 0;
  const from = Math.max(1, range?.[0] ?? (after ?? 0) + 1);
  const to = Math.min(newest, range?.[1] ?? (before ?? Infinity) - 1);
  return { from, to, limit, down: !range && after === undefined };
}

/** Whether seqs beyond all that is known to exist may belong to a page. */
export function reachesBeyond(entry: StoredConversation | undefined, { before = Infinity, range }: PageOptions): boolean {
  return !entry?.top && Math.max(1, entry?.newest ?? 0) < (range ? range[1] + 1 : before);
}

/** Tiles, ascending, as a page. */
export function pageOf(found: readonly Tile[], { from, to, down }: Span, entry: StoredConversation | undefined): Page {
  const messages: Message[] = [];
  const gaps: Gap[] = [];
  for (const tile of found) {
    if (tile.message) messages.push(tile.message);
    else if (tile.gap) gaps.push({ from: tile.from, to: tile.to, reason: tile.gap });
    else gaps.push(...holes(tile.from, tile.to, entry?.lost ?? []));
  }
  const first = found[0];
  const last = found.at(-1);
  if (!first || !last) return { messages, gaps, from: 0, to: 0, more: false };
  return { messages, gaps, from: first.from, to: last.to, more: down ? first.from > from : last.to < to };
}

/** A hole as gaps: `lost` where limits took messages, else `unknown`. */
function holes(from: number, to: number, lost: readonly number[]): Gap[] {
  const out: Gap[] = [];
  for (let i = 0; i < lost.length && from <= to; i += 2) {
    const a = Math.max(from, lost[i]!);
    const b = Math.min(to, lost[i + 1]!);
    if (a > b) continue;
    if (from < a) out.push({ from, to: a - 1, reason: "unknown" });
    out.push({ from: a, to: b, reason: "lost" });
    from = b + 1;
  }
  if (from <= to) out.push({ from, to, reason: "unknown" });
  return out;
}

/** A stored thing as the store takes it. */
export function asValue(thing: object): Value {
  return thing as unknown as Value;
}
