/**
 * Tells a tab's application of events in their order, of each list of messages once. What
 * follows on a list waits until its handlers have ended; that is noted in the store by the
 * tab that leads, so that the next one to lead tells what no tab has handled (docs/sdk.md, "Exactly once").
 */
import type { BelfryError } from "./api.ts";
import type { Engine, Notice, Told } from "./link.ts";
import type { Store } from "./store.ts";
import type { Message } from "./wire.ts";

/**
 * The most events that wait for handlers. Past that lists of messages are read from the
 * store in their turn, and of others is told no more: the store has what they say.
 */
const MAX_WAITING = 256;
/** How long `end` waits for handlers that run. */
const CLOSE_MS = 1000;
/** After what time a store that could not be read is read again. */
const RETRY_MS = 1000;

/** Told at once: they come from no frame, or nothing comes behind them. */
const AT_ONCE = /^(storage|error|kicked|sent)$/;

export interface Teller {
  /** What the engine says, in order. */
  hear(notice: Notice): void;
  /**
   * Tells what the store has and this tab was not told; with an engine of its own first
   * what none that led has handled, and notes there from now on how far it has come.
   */
  catchUp(own: Engine | undefined): void;
  /** Waits for handlers, for a moment at most. Then nothing more is told. */
  end(): Promise<void>;
}

/**
 * `first` is the newest list when the tab began: it is told of those behind it. `tell` returns
 * what handlers did, `closed` whether the client is.
 */
export function newTeller(store: Store, first: number, tell: (notice: Notice) => readonly unknown[], closed: () => boolean): Teller {
  const waiting: Notice[] = [];
  let since = first; // all lists behind it, up to `heard`, were told here
  let heard = first;
  let marked = 0; // the newest list that is noted as handled, as far as this tab knows
  let life = store.life?.() ?? 0;
  let own: Engine | undefined;
  let behind = false;
  let busy = false;
  let over = false;
  let running: Promise<void> = Promise.resolve();

  const mark = async (told: number | undefined) => {
    if (told === undefined || !own) return;
    marked = told;
    await own.call("handled", told).catch(() => {}); // then they are told again after a restart
  };

  /** Calls the handlers of a list, and waits for them. */
  const list = async (notice: Notice): Promise<void> => {
    for (const end of await Promise.allSettled(tell(notice).flat())) {
      if (end.status === "fulfilled") continue;
      const { reason } = end;
      // It needed a client that was closed meanwhile: the next one tells of the list again.
      if (closed() && (reason as Partial<BelfryError> | undefined)?.code === "closed") return void (over = true);
      queueMicrotask(() => {
        throw reason;
      });
    }
    await null; // a process that ends by what its handlers have thrown has not handled it
    await mark(notice.told);
  };

  /** Tells the lists that the store has behind `from`, up to `to`. */
  const stored = async (from: number, to = Number.MAX_SAFE_INTEGER - 1): Promise<void> => {
    for (const { key, value } of await store.list("meta", { from: ["told", from + 1], to: ["told", to + 1] })) {
      if (over) return;
      const told = key[1] as number;
      const of = await messages(store, value as Told);
      heard = Math.max(heard, told);
      if (of.length > 0) await list({ told, event: { name: "messages", of } });
    }
  };

  const catchUp = async (): Promise<void> => {
    const handled = Number((await store.get("meta", ["handled"])) ?? 0);
    const now = store.life?.() ?? 0;
    if (now > life) since = heard = 0; // the store was emptied, and numbers begin anew
    life = now;
    marked = own ? handled : Infinity;
    if (marked < since) {
      await stored(marked, since);
      since = 0;
    }
    await stored(heard);
    if (marked < heard && !over) await mark(heard);
  };

  const run = async (): Promise<void> => {
    busy = true;
    while (!over && (behind || waiting.length > 0)) {
      const next = behind ? undefined : waiting.shift()!;
      if (!next) {
        behind = false;
        await catchUp().catch(async () => {
          behind = true; // a mark of what comes later would count these as handled
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        });
      } else if (next.event?.name !== "messages") tell(next);
      else if (!(next.told! <= heard)) {
        heard = next.told ?? heard;
        await list(next);
      }
    }
    busy = false;
  };
  const go = () => {
    if (!busy && !over) running = run();
  };

  return {
    hear(notice) {
      const name = notice.event?.name;
      if (!name || AT_ONCE.test(name) || (!busy && name !== "messages")) return void tell(notice);
      if (waiting.length < MAX_WAITING) waiting.push(notice);
      else behind ||= notice.told !== undefined;
      go();
    },
    catchUp(engine) {
      own = engine;
      behind = true;
      go();
    },
    async end() {
      if (busy) await Promise.race([running, new Promise((resolve) => setTimeout(resolve, CLOSE_MS))]);
      over = true;
    },
  };
}

/** Those of a list that are still there; after a reset another message may have the seq. */
async function messages(store: Store, refs: Told): Promise<Message[]> {
  const found: Message[] = [];
  for (let i = 0; i < refs.length; i += 3) {
    const row = (await store.get("messages", [refs[i]!, refs[i + 1]!])) as unknown as Message | undefined;
    if (row?.id === refs[i + 2]) found.push(row as Message);
  }
  return found;
}
