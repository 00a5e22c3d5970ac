/** What the store says of messages that were sent: loaded when it is asked. */
import type { Pending, Waiting } from "./api.ts";
import type { Settled, StoredSend } from "./link.ts";
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

/** What became of messages, as the store says; it leaves out those that wait, and those of which it cannot be told. */
export async function settledOf(store: Store, user: string, pendings: readonly Pending[]): Promise<Settled[]> {
  const found: Settled[] = [];
  const outbox = (await store.list("outbox", {})).map(({ value }) => value as unknown as StoredSend);
  for (const conv of new Set(pendings.map((pending) => pending.conv))) {
    const rows = await store.list("messages", { from: [conv], to: [conv, ""], limit: SENT_AMONG, reverse: true });
    const sent = rows.map(({ value }) => value as unknown as Message).filter(({ from }) => from === user);
    for (const pending of pendings.filter((one) => one.conv === conv)) {
      const { cid } = pending;
      const send = outbox.find((one) => isOf(one, pending));
      const message = sent.find((one) => isOf(one, pending));
      if (send?.refused) found.push({ conv, cid, state: "refused", code: send.refused.code, message: send.refused.message });
      else if (!send && message) found.push({ conv, cid, state: "stored", id: message.id, seq: message.seq, time: message.time });
    }
  }
  return found;
}

function isOf(one: { readonly conv: string; readonly cid?: string }, { conv, cid }: Pending): boolean {
  return one.conv === conv && one.cid === cid;
}
