/** Follows the messages that a client sends through the outbox, until each is settled or the client closes. */
import { BelfryError, type Pending, type SendState } from "./api.ts";
import type { Base, Settled, StoredSend } from "./link.ts";
import { gather, liveView } from "./views.ts";
import type { Message } from "./wire.ts";

/** Among how many of a conversation's newest rows a message is looked for whose news was lost. */
const SENT_AMONG = 500;

export interface Pendings {
  follow(send: StoredSend): Pending;
  /** It has not come into the outbox. */
  forget(pending: Pending): void;
}

/** `cancel` is the client's; `found` is told of what was settled without any news of it. */
export function newPendings(base: Base, cancel: (conv: string, cid: string) => Promise<boolean>, found: (settled: readonly Settled[]) => void): Pendings {
  const waiting = new Map<Pending, (as: Settled | BelfryError) => void>();
  const lookUp = gather(async () => found(await settledOf(base, [...waiting.keys()]).catch(() => [])));

  base.listen(({ settled = [], changed, status }) => {
    for (const [pending, end] of waiting) {
      for (const one of settled) if (isOf(one, pending)) end(one);
      if (status?.connection === "closed") end(new BelfryError("closed", "the message waits in the outbox"));
    }
    // The tab that led was closed: what it did last may not have been told.
    if (changed?.all && waiting.size) void lookUp();
  });

  return {
    follow({ conv, cid }) {
      const state = liveView<SendState>({ state: "queued" });
      let end!: (as: Settled | BelfryError) => void;
      const settled = new Promise<SendState>((resolve, reject) => {
        end = (as) => {
          waiting.delete(pending);
          if (as instanceof BelfryError) return reject(as);
          if (as.state === "cancelled") return reject(new BelfryError("aborted", "the message was taken back"));
          const { conv: _, cid: __, ...to } = as;
          state.publish(to);
          resolve(to);
        };
      });
      settled.catch(() => {}); // nobody has to wait for it
      const pending: Pending = { cid, conv, state, settled, cancel: () => cancel(conv, cid) };
      waiting.set(pending, end);
      return pending;
    },
    forget: (pending) => void waiting.delete(pending),
  };
}

function isOf(one: { readonly conv: string; readonly cid?: string }, { conv, cid }: Pending): boolean {
  return one.conv === conv && one.cid === cid;
}

/** What became of messages, as the store says; it leaves out those that wait, and those of which it cannot be told. */
async function settledOf({ store: opening, user }: Base, pendings: readonly Pending[]): Promise<Settled[]> {
  const store = await opening;
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
