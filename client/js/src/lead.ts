/**
 * What a tab does while it leads: it runs the engine, gets tokens for it, from other tabs
 * if need be, and knows which tabs are looked at. Loaded with the engine.
 */
import { BelfryError, type ErrorCode, type Trace } from "./api.ts";
import type { Channel } from "./channel.ts";
import { fence } from "./fence.ts";
import { isVisible } from "./lifecycle.ts";
import type { Engine, Notice } from "./link.ts";
import type { TabsOptions, TokenSource } from "./tabs.ts";
import { expiry } from "./token.ts";
import { within } from "./wait.ts";

/** How long nobody must have looked at any tab before the engine hears of it: going from one to another takes a moment. */
const AWAY_MS = 1000;

/** How long another tab is waited for when it is asked for a token. */
const TOKEN_MS = 10_000;

/** How long a token must be good for, for a login of another tab than the one that got it. */
const TOKEN_LEFT_MS = 30_000;

/** A leadership, as its tab sees it. */
export interface Leading {
  readonly engine: Engine;
  /** The store had been emptied before it began. */
  readonly emptied: boolean;
  /** The engine's, as all tabs use it. */
  readonly call: Engine["call"];
  /** Another tab is there, looked at or not. */
  hello(from: string, visible: boolean): void;
  /** It is gone, or suspended. */
  bye(from: string): void;
  /** This tab is looked at, or not any more. */
  look(): void;
}

/** What a leadership needs of its tab. */
export interface Seat extends Pick<TabsOptions, "name" | "store" | "token" | "start"> {
  /** The newest token that any tab got. */
  shared(): string | undefined;
  /** Gives it to all tabs. */
  share(token: string): void;
  /** Asks another tab. */
  readonly callTab: Channel<never>["call"];
  /** Tells all tabs. */
  pass(notice: Notice): void;
  /** Another tab leads already, or with `failed` the store was emptied: another engine is to be started. */
  lost(failed?: boolean): void;
  /** The store's when this tab opened it. */
  readonly life: number;
  /** Ends this tab's client for good. */
  quit(code: ErrorCode, message: string): void;
  /** This leadership has ended. */
  over(): boolean;
}

/** Claims the store, and starts the engine. Rejects as that does. */
export async function startLeading(seat: Seat): Promise<Leading> {
  const present = new Map<string, boolean>(); // other tabs: whether they are looked at
  const silent = new Set<string>(); // those that had no token when they were asked last
  let away = false; // what the engine was told last
  let awayTimer: ReturnType<typeof setTimeout> | undefined;
  let leaving: Promise<unknown> | undefined;

  /** Asks one tab after the other, until one has a token or says that there is none: first those that are looked at, last those that had none before. */
  const askOthers = async ({ reason, signal }: Parameters<TokenSource>[0], failure: unknown): Promise<string> => {
    const rank = ([tab, visible]: [string, boolean]) => (silent.has(tab) ? 2 : visible ? 0 : 1);
    for (const [tab] of [...present].sort((a, b) => rank(a) - rank(b))) {
      if (seat.over() || signal.aborted || (failure instanceof BelfryError && failure.code === "unauthorized")) break;
      silent.add(tab);
      try {
        const token = String(await within(TOKEN_MS, signal, (late) => seat.callTab(tab, "token", reason, late)));
        silent.delete(tab);
        return token;
      } catch (err) {
        failure = err;
      }
    }
    throw failure;
  };
  const token: TokenSource = async (why) => {
    const shared = seat.shared();
    if (why.reason === "login" && shared !== undefined && (expiry(shared) ?? 0) > Date.now() + TOKEN_LEFT_MS) return shared;
    let fresh: string;
    try {
      fresh = await seat.token(why);
    } catch (err) {
      fresh = await askOthers(why, err);
    }
    seat.share(fresh);
    return fresh;
  };

  const { store, claim, first, holds } = fence(seat.store, (why) => {
    if (why !== "closed") seat.lost(why === "lost");
    else seat.quit("storage", "a newer version of this page or a sign-out closed the store");
  });
  await claim().catch(() => {}); // where the store cannot be written to, the engine finds out
  const emptied = first() && (seat.store.life?.() ?? 0) > seat.life;
  const engine = await seat.start(store, token, first(), emptied);

  const finish = async (notice: Notice) => {
    // It may be our own successor that had us kicked, if we were suspended and have not heard of it.
    if (!(await holds().catch(() => true))) return seat.lost();
    // Who signed out gets an answer first.
    await leaving?.catch(() => {});
    setTimeout(seat.pass, 0, notice);
  };
  engine.listen((notice) => {
    if (notice.status?.connection === "closed" || notice.event?.name === "kicked") void finish(notice);
    else seat.pass(notice);
  });

  /** Tells the engine whether nobody looks at any tab. */
  const look = () => {
    clearTimeout(awayTimer);
    const set = (now: boolean) => {
      if (!seat.over() && away !== now) engine.call("background", (away = now)).catch(() => {});
    };
    if (isVisible() || [...present.values()].includes(true)) set(false);
    else awayTimer = setTimeout(set, AWAY_MS, true);
  };

  return {
    engine,
    emptied,
    look,
    async call(method, args, signal) {
      const answer = engine.call(method, args, signal);
      if (method === "signOut") leaving = answer;
      const ok = await answer;
      return method === "trace" ? ({ ...(ok as Trace), tabs: present.size + 1 } as typeof ok) : ok;
    },
    hello(from, visible) {
      const before = present.get(from);
      present.set(from, visible);
      look();
      if (!visible || before) return;
      const unseen = () => {
        if (present.has(from)) present.set(from, false);
        look();
      };
      navigator.locks.request(`${seat.name} ${from}`, unseen).catch(() => {});
    },
    bye(from) {
      present.delete(from);
      look();
    },
  };
}
