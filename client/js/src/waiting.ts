/** What the store says of messages that were sent: loaded when it is asked. */
import type { Pending, Waiting } from "./api.ts";
import type { Base, Settled, StoredSend } from "./link.ts";
import type { Followed } from "./pending.ts";
import type { Store } from "./store.ts";
import type { Message } from "./wire.ts";

/** Among how many of a conversation's newest rows a message is looked for whose news was lost. */
const SENT_AMONG = 500;

/** The outbox as applications see it. */
export async function waitingIn(store: Store): Promise<Waiting[]> {
  const sends = (await store.list("outbox", {})).map(({ value }) => value as unknown as StoredSend);
  return sends.map(({ conv, cid, body, queued = 0, refused }) => ({
    conv, cid, body, time: queued,
    state: refused ? { state: "refused", code: refused.code, message: refused.message } : { state: "queued" },
  }));
}

/**
 * Tells `found` what became of messages, as the store says. Those of which it knows nothing, since
 * the browser has thrown away what it had, go to `again`: as ones that may have been sent before.
 */
export async function lookAfter(
  base: Base, waiting: ReadonlyMap<Pending, Followed>, found: (settled: readonly Settled[]) => void, again: (send: StoredSend) => Promise<unknown>,
): Promise<void> {
  const store = await base.store;
  const settled: Settled[] = [];
  const lost: Followed[] = [];
  const outbox = (await store.list("outbox", {})).map(({ value }) => value as unknown as StoredSend);
  const life = store.life?.() ?? 0;
  for (const conv of new Set([...waiting.keys()].map((pending) => pending.conv))) {
    const rows = await store.list("messages", { from: [conv], to: [conv, ""], limit: SENT_AMONG, reverse: true });
    const sent = rows.map(({ value }) => value as unknown as Message);
    for (const [pending, one] of waiting) {
      if (pending.conv !== conv) continue;
      const { cid } = pending;
      const send = outbox.find((one) => one.conv === conv && one.cid === cid);
      const message = sent.find((one) => one.cid === cid && one.from === base.user);
      if (send) {
        const { refused } = send;
        if (refused) settled.push({ conv, cid, state: "refused", code: refused.code, message: refused.message });
      } else if (message) {
        const { id, seq, time } = message;
        settled.push({ conv, cid, state: "stored", id, seq, time });
      } else if (one.life < life) lost.push(one);
    }
  }
  found(settled);
  for (const one of lost) {
    await again({ ...one.send, tried: 1, since: 1 });
    one.life = life;
  }
}
