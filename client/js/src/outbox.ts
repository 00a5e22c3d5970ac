/**
 * Sends what was appended to the store's outbox, once each: per conversation one at a
 * time, in order, always with the same cid, until the server has stored or refused it.
 */
import { BelfryError } from "./api.ts";
import { toFailure, type Settled, type StoredSend } from "./link.ts";
import { backoff, spread } from "./token.ts";
import type { Entry, Store } from "./store.ts";
import type { Message } from "./wire.ts";
import { newMessage, type Ask } from "./receive.ts";
import type { Batch, Writer } from "./writer.ts";

/** The most sends without an answer; others wait for theirs. */
const MAX_IN_FLIGHT = 64;
/**
 * From when on a repeat is marked as one: well within the time (5 minutes) for which the
 * server knows every cid, so that no slow network makes an unmarked repeat arrive later.
 */
const RETRY_AFTER_MS = 60_000;
/** The most refused messages that are kept for the application to see; the oldest make room. */
const MAX_REFUSED = 200;
/** Refusals after which the same may succeed. */
export const PASSING = new Set<string>(["unavailable", "rate_limited", "internal", "offline", "closed", "unauthorized"]);

interface Item {
  readonly key: number;
  send: StoredSend;
  /** Written to the present session. */
  flying: boolean;
  refusals: number;
  pause?: ReturnType<typeof setTimeout>;
}

export interface Outbox {
  /** Takes in what was appended since. */
  load(): Promise<void>;
  /** Sends what waits, in this session from now on. */
  online(ask: Ask | undefined): void;
  /** Removes a message that was never written, or was refused. Reports whether it did. */
  cancel(conv: string, cid: string): Promise<boolean>;
  /** Ends the send that this message answers. Reports whether there was one. */
  settle(batch: Batch, message: Message): boolean;
  /** How many are not stored yet, without those refused. */
  count(): number;
  /** The highest key that was loaded, 0 if none was. */
  taken(): number;
  items(): readonly StoredSend[];
  close(): void;
}

export interface OutboxOptions {
  readonly store: Store;
  readonly writer: Writer;
  readonly user: string;
  /** By the server's clock, which nobody puts back. */
  now(): number;
  /** `count` has changed. */
  changed(): void;
  /** The store failed. */
  failed(err: unknown): void;
}

export function newOutbox({ store, writer, user, now, changed, failed }: OutboxOptions): Outbox {
  const items = new Map<number, Item>();
  let last = 0; // the highest key that was loaded
  let session: Ask | undefined;
  let pumping = false;
  let again = false;
  let loading: Promise<void> = Promise.resolve();

  const take = ({ key, value }: Entry) => {
    last = Math.max(last, key[0] as number);
    items.set(last, { key: last, send: value as unknown as StoredSend, flying: false, refusals: 0 });
  };
  const load = () => {
    loading = loading
      .then(() => store.list("outbox", { from: [last + 1] }))
      .then((entries) => {
        entries.forEach(take);
        if (entries.length > 0) changed();
      });
    const result = loading;
    loading = loading.catch(() => {});
    return result.then(pump);
  };
  const drop = (item: Item) => {
    clearTimeout(item.pause);
    items.delete(item.key);
    changed();
    pump();
  };
  const named = (conv: string, cid: string) => [...items.values()].filter(({ send }) => send.conv === conv && send.cid === cid);
  /** Removes an item, as one that has ended so. */
  const finish = (batch: Batch, item: Item, as?: Settled) => {
    const { key, send } = item;
    batch.remove("outbox", [key], [key + 1]);
    batch.outbox(send.conv);
    if (as) batch.settled(as);
    batch.after(() => drop(item));
  };

  /** The first of each conversation that can be written now. */
  const ready = (): Item[] => {
    const out: Item[] = [];
    const lanes = new Set<string>();
    let room = MAX_IN_FLIGHT;
    for (const item of items.values()) if (item.flying) room--;
    for (const item of items.values()) {
      if (item.send.refused || lanes.has(item.send.conv)) continue;
      lanes.add(item.send.conv);
      if (!item.flying && item.pause === undefined && out.length < room) out.push(item);
    }
    return out;
  };

  const pump = () => {
    again = true;
    if (!pumping) void drive();
  };

  const drive = async () => {
    pumping = true;
    try {
      while (again) {
        again = false;
        const to = session;
        const wave = to ? ready() : [];
        if (!to || wave.length === 0) continue;
        await markTried(wave.filter((item) => item.send.tried === 0));
        // While that was written the session may have ended, or an item.
        if (to === session) for (const item of wave) if (items.has(item.key)) void write(to, item);
      }
    } catch (err) {
      failed(err);
    } finally {
      pumping = false;
    }
  };

  /** What may reach the server is known to have been tried, should this process end now. */
  const markTried = async (wave: readonly Item[]) => {
    if (wave.length === 0) return;
    const tried = now();
    await writer.commit((batch) => {
      for (const item of wave) {
        if (!items.has(item.key)) continue;
        const send = { ...item.send, tried };
        batch.put("outbox", [item.key], send);
        batch.after(() => (item.send = send));
      }
    });
  };

  const write = async (to: Ask, item: Item) => {
    item.flying = true;
    const { conv, cid, body, ttl, mentions, tried, since = tried } = item.send;
    const age = now() - since;
    const retry = (age > RETRY_AFTER_MS || age < 0) && { retry: true };
    try {
      const options = { ...(ttl && { ttl }), ...(mentions && { mentions }) };
      await to("send", { conv, cid, body, ...options, ...retry }, ({ id, seq = 0, time }: { id: string; seq?: number; time: number }) =>
        writer.commit(async (batch) => {
          const message: Message = { id, conv, from: user, seq, time, cid, body, ...options };
          settle(batch, message);
          if (!seq) return; // a live group stores nothing
          if (!batch.covers(conv, seq)) newMessage(batch, message, writer.unstored(conv));
          batch.edit(conv, { markedUnread: false });
          if (conv.startsWith("g:")) await batch.readTo(conv, seq);
        }),
      );
    } catch (err) {
      if (!items.has(item.key)) return;
      // Until that is in the store it counts as written, or it would be written again.
      if (err instanceof BelfryError && !PASSING.has(err.code)) return await refuse(item, err);
      if (to !== session) return; // the next session writes it again
      if (!(err instanceof BelfryError)) failed(err);
      pauseAfter(item, err);
    } finally {
      item.flying = false;
      pump();
    }
  };

  const pauseAfter = (item: Item, err: unknown) => {
    const named = err instanceof BelfryError ? err.retryAfterMs : undefined;
    item.pause = setTimeout(
      () => {
        delete item.pause;
        pump();
      },
      named ? spread(named) : backoff(item.refusals),
    );
    item.refusals++;
  };

  const refuse = async (item: Item, err: BelfryError) => {
    const { conv, cid } = item.send;
    const send = { ...item.send, refused: toFailure(err) };
    try {
      await writer.commit((batch) => {
        const refused = [...items.values()].filter((one) => one.send.refused);
        for (const one of refused.slice(0, Math.max(0, refused.length + 1 - MAX_REFUSED))) finish(batch, one);
        batch.put("outbox", [item.key], send);
        batch.outbox(conv);
        batch.settled({ conv, cid, state: "refused", code: err.code, message: err.message });
      });
      item.send = send;
      changed();
    } catch (failure) {
      failed(failure);
      pauseAfter(item, failure);
    }
  };

  const settle: Outbox["settle"] = (batch, { conv, cid, id, seq, time }) => {
    const item = named(conv, cid).find(({ send }) => send.tried > 0);
    if (item) finish(batch, item, { conv, cid, state: "stored", id, seq, time });
    return !!item;
  };

  return {
    load,
    settle,
    online(to) {
      session = to;
      // Also what was appended while the store could not be read.
      if (to) load().catch(failed);
    },
    async cancel(conv, cid) {
      await load();
      return writer.commit((batch) => {
        const [item] = named(conv, cid);
        if (!item || (item.send.tried > 0 && !item.send.refused)) return false;
        finish(batch, item, { conv, cid, state: "cancelled" });
        return true;
      });
    },
    count: () => [...items.values()].filter(({ send }) => !send.refused).length,
    taken: () => last,
    items: () => [...items.values()].map(({ send }) => send),
    close() {
      session = undefined;
      for (const { pause } of items.values()) clearTimeout(pause);
    },
  };
}
