/** Fetches what the store lacks of a page: exactly that, once, however many ask. */
import type { Page, PageOptions } from "./api.ts";
import { reachesBeyond, spanOf, tiles, type Tile } from "./history.ts";
import type { Store } from "./store.ts";
import type { WirePage } from "./wire.ts";
import { fromPage, type Writer } from "./writer.ts";

/** The most seqs that are asked for at once in the middle of what is held. */
const MAX_SPAN = 8192;
/** The most requests for one page. Past that its rest stays unknown; asking again goes on. */
const MAX_REQUESTS = 100;

export interface Fetcher {
  /** Resolves to the page itself if the conversation is not stored. */
  fill(conv: string, page: PageOptions, signal?: AbortSignal): Promise<Page | null>;
}

type Ask = (args: { conv: string } & PageOptions) => Promise<WirePage>;

export function newFetcher(store: Store, writer: Writer, ask: (signal?: AbortSignal) => Ask, now: () => number): Fetcher {
  const lanes = new Map<string, Promise<unknown>>();

  const fill = async (conv: string, options: PageOptions, get: Ask): Promise<void> => {
    let chunk = 0;
    for (let i = 0; i < MAX_REQUESTS; i++) {
      const entry = writer.entries.get(conv);
      const newest = entry?.newest ?? 0;
      const { from, to, limit, down } = spanOf(entry, options);
      const found = await tiles(store, conv, from, to, limit, now(), down);
      const hole = found.find((tile) => !tile.message && !tile.gap);
      const have = hole ? found.slice(0, found.indexOf(hole)).filter((tile) => tile.message).length : 0;
      const left = Math.max(1, limit - have);
      chunk = Math.min(MAX_SPAN, Math.max(left, chunk));
      const beyond = reachesBeyond(entry, options);
      let wanted: PageOptions;
      if (beyond) wanted = newest === 0 ? { ...options, limit } : { after: newest, limit: 100 };
      else if (hole) wanted = requestFor(hole, left, chunk, down);
      else return;
      const page = await get({ conv, ...wanted });
      const { before, after, range } = wanted;
      const top = !range && (before === undefined ? after === undefined || !page.more : page.to === 0);
      await take(conv, page, beyond ? undefined : hole, top);
      // The time of some that counted as unread was over.
      if (page.gaps.length > 0) await writer.commit((batch) => batch.readTo(conv, 0));
      if (page.to === 0 && !top) return;
      // Where there was nothing, look further at a time.
      chunk = page.messages.length === 0 ? chunk * 2 : 0;
    }
  };

  const take = (conv: string, page: WirePage, hole: Tile | undefined, top: boolean) =>
    writer.commit(async (batch) => {
      batch.edit(conv, { newest: Math.max(batch.entry(conv).newest, page.to), ...(top && { top }) });
      const from = page.from || (hole?.from ?? 1);
      // After a reset the hole may be of another epoch, whose seqs are still to come in this one.
      const to = page.from ? page.to : Math.min(hole?.to ?? 0, batch.entry(conv).newest);
      // What the server has nothing to say of is not there.
      const said: WirePage = page.from || !hole ? page : { ...page, gaps: [{ from, to, reason: "expired" }] };
      const { listed } = batch.entry(conv);
      const newest = page.messages.at(-1);
      await batch.rewrite(conv, from, to, (tile) => (tile.message || tile.gap ? [tile] : fromPage(said, tile)));
      if (newest && newest.seq > batch.entry(conv).lastSeq) batch.edit(conv, { lastSeq: newest.seq, time: newest.time, last: newest, listed });
    });

  return {
    fill(conv, options, signal) {
      const get = ask(signal);
      if (writer.unstored(conv)) return get({ conv, ...options }).then(unstoredPage);
      // One after the other per conversation, so that the second finds what the first fetched.
      const run = (lanes.get(conv) ?? Promise.resolve()).then(() => fill(conv, options, get));
      const lane = run.catch(() => {}).finally(() => lanes.get(conv) === lane && lanes.delete(conv));
      lanes.set(conv, lane);
      return run.then(() => null);
    },
  };
}

function unstoredPage({ messages, gaps, from, to, more }: WirePage): Page {
  return { messages, gaps, from, to, more };
}

/** What to ask for a hole: nothing that lies beyond it. */
function requestFor(hole: Tile, left: number, chunk: number, down: boolean): PageOptions {
  const limit = Math.min(100, left);
  if (!down) return { range: [hole.from, hole.to], limit };
  if (hole.from === 1) return { before: hole.to + 1, limit };
  const from = Math.max(hole.from, hole.to - chunk + 1);
  return { range: [from, hole.to], limit: Math.min(100, hole.to - from + 1) };
}
