/** The outbox as applications see it: loaded when one asks. */
import type { Waiting } from "./api.ts";
import type { StoredSend } from "./link.ts";
import type { Store } from "./store.ts";

export async function waitingIn(store: Store): Promise<Waiting[]> {
  const sends = (await store.list("outbox", {})).map(({ value }) => value as unknown as StoredSend);
  return sends.map(({ conv, cid, body, queued = 0, refused }) => ({
    conv, cid, body, time: queued,
    state: refused ? { state: "refused", code: refused.code, message: refused.message } : { state: "queued" },
  }));
}
