/** Follows the messages that a client sends through the outbox, until each is settled or the client closes. */
import { BelfryError, type Pending, type SendState } from "./api.ts";
import type { Base, Settled, StoredSend } from "./link.ts";
import { gather, liveView } from "./views.ts";

/** A message that is followed. */
export interface Followed {
  readonly send: StoredSend;
  /** The store's as it was appended. */
  life: number;
  end(as: Settled | BelfryError): void;
}

export interface Pendings {
  follow(send: StoredSend, life?: number): Pending;
  /** It has not come into the outbox. */
  forget(pending: Pending): void;
}

/** `cancel` is the client's; `found` is told of what was settled without any news of it; `again` appends what the store has lost. */
export function newPendings(
  base: Base, cancel: (conv: string, cid: string) => Promise<boolean>, found: (settled: readonly Settled[]) => void, again: (send: StoredSend) => Promise<unknown>,
): Pendings {
  const waiting = new Map<Pending, Followed>();
  const look = async () => (await import("./waiting.ts")).lookAfter(base, waiting, found, again);
  const lookUp = gather(() => look().catch(() => {})); // what fails is tried by the next one

  base.listen(({ settled = [], changed, status }) => {
    for (const [pending, { end }] of waiting) {
      for (const one of settled) if (isOf(one, pending)) end(one);
      if (status?.connection === "closed") end(new BelfryError("closed", "the message waits in the outbox"));
    }
    // The tab that led was closed: what it did last may not have been told.
    if (changed?.all && waiting.size) void lookUp();
  });

  return {
    follow(send, life = 0) {
      const { conv, cid } = send;
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
      waiting.set(pending, { send, life, end });
      return pending;
    },
    forget: (pending) => void waiting.delete(pending),
  };
}

function isOf(one: { readonly conv: string; readonly cid?: string }, { conv, cid }: Pending): boolean {
  return one.conv === conv && one.cid === cid;
}
