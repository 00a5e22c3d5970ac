/** Views of a client's state and of its list of conversations. */
import type { Conversation, Conversations, View } from "./api.ts";
import type { Base, StoredConversation, StoredSend } from "./link.ts";
import { newHub } from "./listen.ts";
import type { Store } from "./store.ts";
import type { Message } from "./wire.ts";

/** Views call `start` when the first subscriber comes, and what it returned when the last has gone. */
export function liveView<T>(initial: T, start?: () => () => void): View<T> & { publish(value: T): void } {
  let value = initial;
  let stop: (() => void) | undefined;
  const hub = newHub<void>();
  return {
    getSnapshot: () => value,
    subscribe(fn) {
      const leave = hub.listen(fn);
      stop ??= start?.();
      return () => {
        leave();
        if (hub.size() > 0) return;
        stop?.();
        stop = undefined;
      };
    },
    publish(next) {
      if (next === value) return;
      value = next;
      hub.tell();
    },
  };
}

/** Calls `work`, which does not reject, once for all calls that come before it begins, and again for those that come while it runs. */
export function gather(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  return () =>
    (next ??= running = running.then(() => {
      next = undefined;
      return work();
    }));
}

const none: Conversations = { list: [], unreadTotal: 0, unreadUnmuted: 0, complete: false };

/**
 * The list of conversations. While it has subscribers it holds an entry, with the last
 * message, for each conversation of the user, and reads again only those that changed.
 */
export function conversationsView(base: Base): View<Conversations> {
  const entries = new Map<string, Conversation>();
  const waitingOnly = new Set<string>(); // those that are there for what waits in the outbox
  let dirty = new Set<string>();
  let all = true;

  const read = gather(async () => {
    const names = dirty;
    const everything = all;
    dirty = new Set();
    all = false;
    try {
      const from = await base.store;
      const rows = everything
        ? (await from.list("conversations", {})).map((entry) => entry.value)
        : await Promise.all([...names].map(async (conv) => (await from.get("conversations", [conv])) ?? { conv }));
      const stored = new Map((rows as unknown as StoredConversation[]).map((row) => [row.conv, row]));
      const waiting = new Map<string, number>();
      if (everything || [...stored.values()].some(({ listed }) => !listed)) {
        for (const { value } of await from.list("outbox", {})) {
          const { conv, queued = 0 } = value as unknown as StoredSend;
          if (everything || stored.has(conv)) waiting.set(conv, queued);
        }
      }
      const found = await Promise.all(
        [...new Set([...stored.keys(), ...waiting.keys()])].map((conv) => entryOf(from, conv, stored.get(conv), waiting.get(conv))),
      );
      const complete = Boolean(await from.get("meta", ["listed"]));
      if (everything) entries.clear();
      for (const [conv, entry] of found) {
        if (entry) entries.set(conv, entry);
        else entries.delete(conv);
        if (entry && !stored.get(conv)?.listed) waitingOnly.add(conv);
        else waitingOnly.delete(conv);
      }
      view.publish(summary(view.getSnapshot(), [...entries.values()], complete));
    } catch {
      all = true; // what failed is read again with the next change
      if (base.status().connection === "closed") view.publish(none);
    }
  });

  const view = liveView(none, () => {
    all = true;
    void read();
    return base.listen(({ changed }) => {
      if (changed?.all) all = true;
      for (const conv of changed?.conversations ?? []) dirty.add(conv);
      // What waits puts a conversation into the list that is not there otherwise.
      for (const conv of changed?.outbox ?? []) if (!entries.has(conv) || waitingOnly.has(conv)) dirty.add(conv);
      if (all || dirty.size > 0) void read();
    });
  });
  return view;
}

/** An entry of the list, if it belongs there: by what is stored, or by what waits in the outbox, of which the newest was put there at `waiting`. */
async function entryOf(store: Store, conv: string, row: Partial<StoredConversation> = {}, waiting?: number): Promise<readonly [string, Conversation | undefined]> {
  const { lastSeq = 0, time = 0, readSeq = 0, unread = 0, peerReadSeq = 0, muted = false, pinned = false, markedUnread = false } = row;
  if (!row.listed && waiting === undefined) return [conv, undefined];
  const last = lastSeq ? ((await store.get("messages", [conv, lastSeq])) as unknown as Message | undefined) : undefined;
  return [
    conv,
    {
      conv, lastSeq, time: row.listed ? time : waiting!, readSeq, unread, peerReadSeq, muted, pinned, markedUnread,
      ...(last?.id && { last }),
    },
  ];
}

function summary(was: Conversations, entries: Conversation[], complete: boolean): Conversations {
  const before = new Map(was.list.map((entry) => [entry.conv, entry]));
  const list = entries
    .map((entry) => {
      const old = before.get(entry.conv);
      return old && sameEntry(old, entry) ? old : entry;
    })
    .sort((a, b) => Number(b.pinned) - Number(a.pinned) || b.time - a.time || (a.conv < b.conv ? -1 : 1));
  if (complete === was.complete && list.length === was.list.length && list.every((entry, i) => entry === was.list[i])) return was;
  const unread = (of: Conversation[]) => of.reduce((sum, entry) => sum + entry.unread, 0);
  return { list, unreadTotal: unread(list), unreadUnmuted: unread(list.filter((entry) => !entry.muted)), complete };
}

function sameEntry(a: Conversation, b: Conversation): boolean {
  const { last: lastA, ...restA } = a;
  const { last: lastB, ...restB } = b;
  return lastA?.id === lastB?.id && JSON.stringify(restA) === JSON.stringify(restB);
}
