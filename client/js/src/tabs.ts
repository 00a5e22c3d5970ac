/**
 * One engine for all tabs, without a SharedWorker: the tab that holds a Web Lock runs
 * it, the others ask that tab over a BroadcastChannel and hear its notices.
 *
 * - The lock is let go when the page is closed, crashes, is frozen or goes into the
 *   back-forward cache. A leader that is suspended without any event (Safari on phones, a
 *   debugger) does not answer pings: a tab that is looked at then takes the lock away.
 * - Whoever gets the lock first claims the store, which refuses writes of earlier leaders
 *   from then on (fence.ts). So there is one writer, whatever wakes up.
 * - A call whose leader is gone is made again at the next one where that changes
 *   nothing twice, and else rejects with `unknown`.
 * - Tabs that are looked at hold a lock each: one that crashes is not believed to be
 *   looked at for ever.
 */
import { BelfryError, type ClientOptions, type ErrorCode } from "./api.ts";
import { type Channel, openChannel, unanswered } from "./channel.ts";
import { newestTold } from "./history.ts";
import type { Leading } from "./lead.ts";
import { campaign, type Campaign } from "./leader.ts";
import { isVisible, watchPage } from "./lifecycle.ts";
import { newHub, next } from "./listen.ts";
import { type Calls, type Engine, type EngineStatus, type Notice, toFailure } from "./link.ts";
import { type Store, StoreError } from "./store.ts";
import { randomID } from "./token.ts";
import type { Teller } from "./told.ts";
import { aborted } from "./wait.ts";

export type TokenSource = ClientOptions["token"];

export interface TabsOptions {
  /** Names the store: the same in all tabs that share an engine, and in no others. */
  readonly name: string;
  readonly store: Store;
  readonly token: TokenSource;
  /** What `status` returns until an engine says more. */
  readonly status: EngineStatus;
  /**
   * Makes the engine when this tab comes to lead, and another one when it does again.
   * It has nothing of the store in memory from before, and writes to no other one.
   * `first`: no other one was started since the store was made, or lost a part; `lost`: that
   * it did so since this tab has opened it, too.
   */
  start(store: Store, token: TokenSource, first: boolean, lost: boolean): Promise<Engine>;
  /** Loads what `start` needs. */
  load?(): Promise<unknown>;
  /** There are no other tabs: leads at once. Another client that opens the store ends this one. */
  readonly alone?: boolean;
}

/** How often a tab that is looked at asks whether the leader is there, and after how many questions without an answer it takes its place. */
const PING_MS = 2000;
const PINGS = 3;

/** Calls of one tab that may be under way; further ones reject as `rate_limited`. */
const MAX_CALLS = 1000;

/** What tabs tell each other. `lead`, `left` and `of` name a leadership, not a tab: a tab may lead again. */
type News =
  | { readonly lead: string; readonly status: EngineStatus; readonly token: string | undefined }
  | { readonly left: string }
  | { readonly of: string; readonly notice: Notice }
  /** A tab is there, looked at or not. With `ask` it wants to know who leads. */
  | { readonly hello: boolean; readonly ask: boolean }
  /** The lock is held, and its holder is making ready. */
  | { readonly soon: true }
  | { readonly bye: true }
  | { readonly token: string };

interface Lead {
  readonly id: string;
  readonly tab: string;
  readonly call: Engine["call"];
  over: boolean;
}

/** Whether tabs can share an engine here. */
export function canShare(): boolean {
  return typeof document !== "undefined" && typeof BroadcastChannel !== "undefined" && typeof navigator !== "undefined" && !!navigator.locks;
}

const loadTeller = () => import("./told.ts");

/** This tab's part in the engine of all tabs. */
export function shareTabs(o: TabsOptions): Engine {
  const tab = randomID();
  const { listen, tell } = newHub<Notice>();
  const arrivals = newHub<void>(); // of a leader, or of the end
  let status = o.status;
  let lead: Lead | undefined;
  let calls = 0;
  let done = false;
  let shared: string | undefined; // the newest token that any tab got

  // While the page is not suspended:
  let race: Campaign | undefined;
  let channel: Channel<News> | undefined;
  let pinging: ReturnType<typeof setInterval> | undefined;
  let missed = 0;
  let unsee: (() => void) | undefined; // gives back the lock that says that this tab is looked at

  // While this tab holds the lock:
  let leading: Leading | undefined;
  let elected = false;
  let failed = false; // the last engine did not start, or what it relied on is gone
  let takeBack: (() => void) | undefined; // the store that a client took with which this one cannot share it
  let closing: Promise<void> = Promise.resolve(); // of the engine before

  const life = o.store.life?.() ?? 0;
  // Lists of messages that are told before the teller is there it finds in the store.
  const first = newestTold(o.store).catch(() => 0);
  let teller: Teller | undefined;
  const catchUp = async () => {
    if (!teller) {
      const { newTeller } = await loadTeller();
      const newest = await first;
      teller ??= newTeller(o.store, newest, tell, () => done);
    }
    teller.catchUp(leading?.engine);
  };

  const deliver = (notice: Notice) => {
    status = notice.status ?? status;
    if (teller) teller.hear(notice);
    else if (notice.told === undefined) tell(notice);
    // Whoever signs in again begins anew; this tab's client is over, as all of them are.
    if (notice.status?.connection === "closed") stop();
  };
  const follow = (next: Lead | undefined) => {
    const last = lead;
    lead = next;
    missed = 0;
    if (last) {
      last.over = true;
      channel?.drop(last.tab);
    }
    if (next) {
      void catchUp().catch(() => {}); // it could not be loaded: with the next leader
      deliver({ changed: { all: true }, status }); // what the last one said may have been lost with it
      arrivals.tell();
    } else if (last && !done) deliver({ status: { ...status, connection: "connecting", since: Date.now(), synced: false } });
  };

  /** Ends this tab's part for good; others may go on. */
  const quit = (code: ErrorCode, message: string) => {
    if (!done) deliver({ status: { ...status, connection: "closed", since: Date.now(), synced: false, error: { code, message } } });
  };

  /** Leads for as long as this tab holds the lock. */
  const conduct = async (ended: AbortSignal): Promise<void> => {
    await closing;
    if (ended.aborted) return;
    const id = randomID();
    let over = false;
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    // All of it at once: a page that is being suspended runs no further.
    const end = () => {
      if (over) return;
      over = true;
      elected = false;
      if (leading) closing = leading.engine.close().catch(() => {});
      leading = undefined;
      channel?.tell({ left: id });
      if (lead?.id === id) follow(undefined);
      greet(true); // whoever took our place may have said so already
      release();
    };
    const lost = (emptied = false) => {
      if (over) return;
      failed = emptied;
      end();
    };
    const pass = (notice: Notice) => {
      if (!over) channel?.tell({ of: id, notice });
      const { status: _, ...rest } = notice;
      deliver(over ? rest : notice); // what was stored last, before the engine has closed
    };
    const begin = async () => {
      const [{ startLeading }] = await Promise.all([import("./lead.ts"), loadTeller(), o.load?.()]);
      const started = await startLeading({ ...o, callTab, share, shared: () => shared, pass, quit, lost, life, over: () => over });
      if (over) return (closing = started.engine.close().catch(() => {}));
      leading = started;
      status = leading.engine.status();
      channel?.tell({ lead: id, status, token: shared });
      follow({ id, tab, over: false, call: leading.call });
      leading.look();
      if (started.emptied) pass({ event: { name: "storage", of: status.storage } });
    };
    elected = true;
    failed = false;
    ended.addEventListener("abort", end);
    channel?.tell({ soon: true });
    begin().catch((err: unknown) => {
      if (over) return;
      if (err instanceof StoreError && err.failure === "closed") return quit("storage", "the store is closed");
      failed = true;
      deliver({ event: { name: "error", of: toFailure(err) } });
      setTimeout(end, PING_MS);
    });
    await released;
  };
  const share = (token: string) => {
    shared = token;
    channel?.tell({ token });
  };
  const callTab: Channel<News>["call"] = async (...call) => {
    if (!channel) throw unanswered();
    return channel.call(...call);
  };

  const greet = (ask: boolean) => channel?.tell({ hello: unsee !== undefined, ask });
  const see = () => {
    unsee?.();
    unsee = undefined;
    leading?.look();
    const seen = () => {
      if (!channel || !isVisible()) return;
      return new Promise<void>((resolve) => {
        unsee = resolve;
        greet(false);
      });
    };
    if (channel && isVisible()) navigator.locks.request(`${o.name} ${tab}`, seen).catch(() => {});
    else greet(false);
  };

  const hearNews = (news: News, from: string) => {
    if ("hello" in news) {
      if (lead && leading) {
        if (news.ask) channel?.tell({ lead: lead.id, status, token: shared });
        leading.hello(from, news.hello);
      } else if (elected) channel?.tell({ soon: true });
    } else if ("lead" in news) {
      // One that leads hears this from one that was suspended: it will hear from the lock.
      if (!leading && news.lead !== lead?.id) {
        status = news.status;
        shared = news.token ?? shared;
        const call = ((method, args, signal) => callTab(from, method, args, signal)) as Engine["call"];
        follow({ id: news.lead, tab: from, over: false, call });
        greet(false);
      }
    } else if ("left" in news) {
      if (news.left !== lead?.id) return;
      follow(undefined);
      greet(true);
    } else if ("of" in news) {
      if (news.of === lead?.id) deliver(news.notice);
    } else if ("token" in news) shared = news.token;
    else if ("soon" in news) missed = 0;
    else leading?.bye(from);
  };
  const serve = async (method: string, args: unknown, signal: AbortSignal): Promise<unknown> => {
    if (method === "ping") return null;
    if (method === "token") return o.token({ reason: args as "login", signal });
    if (!leading) throw unanswered();
    return leading.call(method as keyof Calls, args as never, signal);
  };
  const ping = () => {
    if (elected || !isVisible()) missed = 0;
    else if (missed++ >= PINGS) {
      missed = 0;
      race?.steal();
    } else if (lead) channel?.call(lead.tab, "ping", null).then(() => (missed = 0), () => {});
    else greet(true);
  };

  const start = () => {
    if (race || done) return;
    if (o.alone) {
      const end = new AbortController();
      race = { steal: () => {}, end: () => end.abort() };
      void (async () => {
        while (!end.signal.aborted) {
          await conduct(end.signal);
          if (failed || end.signal.aborted) continue;
          const error = { code: "closed", message: "another client opened the store; sharing it needs a secure context" } as const;
          if (typeof document === "undefined") return quit(error.code, error.message);
          // It goes to the tab that somebody came to last.
          deliver({ status: { ...status, connection: "waiting", error } });
          await new Promise<void>((resolve) => (takeBack = resolve));
        }
      })();
      return;
    }
    channel = openChannel(o.name, tab, { news: hearNews, serve });
    race = campaign(o.name, conduct);
    pinging = setInterval(ping, PING_MS);
    see();
    greet(true);
  };
  /** Lets go of everything, at once. */
  const suspend = () => {
    clearInterval(pinging);
    race?.end();
    race = undefined;
    unsee?.();
    unsee = undefined;
    channel?.tell({ bye: true });
    follow(undefined);
    channel?.close();
    channel = undefined;
  };
  const wake = () => void engineOfAll.call("wake", null).catch(() => {});
  const unwatch = watchPage({
    suspend,
    resume: start,
    visible(now) {
      if (o.alone) leading?.look();
      else see();
      if (now) takeBack?.();
      if (now) wake(); // a hidden tab's timers may be a minute late
    },
    online: wake,
  });
  const stop = () => {
    done = true;
    unwatch();
    suspend();
    arrivals.tell();
  };

  const engineOfAll: Engine = {
    async call(method, args, signal) {
      if (calls >= MAX_CALLS) throw new BelfryError("rate_limited", `${MAX_CALLS} calls wait already`);
      calls++;
      try {
        for (;;) {
          if (done) throw new BelfryError("closed");
          if (signal?.aborted) throw aborted();
          const at = lead;
          if (!at) {
            await next(arrivals.listen, signal);
            continue;
          }
          try {
            return await at.call(method, args, signal);
          } catch (err) {
            if (done) throw new BelfryError("closed", "the client was closed", { unknown: true });
            if (!at.over) throw err;
            if (!repeatable(method, args)) throw unanswered();
          }
        }
      } finally {
        calls--;
      }
    },
    listen,
    status: () => status,
    leader: () => leading !== undefined,
    async close() {
      stop();
      await closing;
      await teller?.end();
    },
  };
  start();
  return engineOfAll;
}

/**
 * Whether a call may be made twice. What the server is asked is safe to repeat
 * (docs/semantics.md, Sending 2), but for what it keeps in memory only or makes up a name for.
 */
function repeatable(method: keyof Calls, args: unknown): boolean {
  if (method === "cancel") return false; // the second answer would be no
  if (method !== "request") return true;
  const { op, args: of } = args as Calls["request"]["args"];
  return op === "createGroup" ? of.group !== undefined : op !== "send" && op !== "typing";
}
