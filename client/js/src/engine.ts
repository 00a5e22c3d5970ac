/**
 * The engine: logs in, and again when a connection ends; what the server pushes goes
 * into the store, what the outbox holds goes out. There is one per store at any time.
 */
import { BelfryError, type ClientOptions, type StorageStatus, type TokenReason } from "./api.ts";
import { newFetcher } from "./fetch.ts";
import { json } from "./json.ts";
import { asBelfryError, firstStatus, toFailure, type Calls, type Engine, type EngineStatus, type Notice } from "./link.ts";
import { newHub, next } from "./listen.ts";
import { newOutbox } from "./outbox.ts";
import { asking, deleteConversation, gone, listed, newMessage, receiver, single, type Ask } from "./receive.ts";
import { dial, type Push, type Session } from "./session.ts";
import { StoreError, type Opened, type Store } from "./store.ts";
import { backoff, randomID, refreshIn, spread } from "./token.ts";
import { newTies } from "./ties.ts";
import { newTrace } from "./trace.ts";
import type { Limits, Message, Operations } from "./wire.ts";
import { abortable, within } from "./wait.ts";
import { newWriter, type Writer } from "./writer.ts";

/** The most groups whose cursors a login names: those with the newest messages. */
const MAX_CURSORS = 200;
/** A login's frame holds so many bytes; cursors of groups that have no room are left out. */
const MAX_LOGIN = 32 << 10;
/** The longest time that a timer can wait (ms). */
const MAX_TIMER = 2 ** 31 - 1;
/** A close frame has room for so many characters of ours. */
const MAX_REASON = 100;
/** For the application to return a token. */
const TOKEN_MS = 30_000;
const LOGIN_MS = 10_000;
const LOGOUT_MS = 2_000;
/** How long a session must have lasted for the pauses between attempts to begin anew. */
const STABLE_MS = 5_000;

/** Codes after which a login is not tried again. */
const FINAL = new Set<string>(["bad_request", "forbidden", "kicked", "closed"]);

/** Starts the engine of a store that is open: with `first`, the first one since that was made or lost a part. Rejects with a StoreError if it cannot be read. */
export async function startEngine(options: ClientOptions, opened: Opened, first = true): Promise<Engine> {
  const { store, lost } = opened;
  const codec = options.codec ?? json;
  const trace = newTrace();
  const { listen, tell } = newHub<Notice>();
  const stopped = new AbortController();
  let session: Session | undefined; // logged in
  let ask: Ask | undefined; // of the session
  let background = false;
  let skipPause: (() => void) | undefined;
  let told = false; // how long to pause, by the server
  let over: BelfryError | undefined;
  let status = firstStatus(opened);
  const setStatus = (patch: Partial<EngineStatus>) => {
    const moved = patch.connection !== undefined && patch.connection !== status.connection;
    status = { ...status, ...patch, ...(moved && { since: Date.now() }) };
    tell({ status });
  };
  const now = () => Date.now() + status.ahead;
  const report = (err: unknown) => tell({ event: { name: "error", of: toFailure(err) } });
  const { storage: before } = status;
  /** The store failed, or with undefined, works again. */
  const storeFailed = (err: StoreError | undefined) => {
    if (err && err.failure !== "quota" && err.failure !== "broken") return; // another engine goes on
    const storage: StorageStatus = err ? { ...before, cause: err.failure === "quota" ? "quota" : "broken" } : before;
    if (storage.cause === status.storage.cause) return;
    setStatus({ storage });
    tell({ event: { name: "storage", of: storage } });
  };

  let expiry: ReturnType<typeof setTimeout> | undefined;
  const expire = () => {
    clearTimeout(expiry);
    void writer.expire(now()).then((at) => {
      clearTimeout(expiry);
      if (at < Infinity && !over) expiry = setTimeout(expire, Math.min(MAX_TIMER, Math.max(1, at - now())));
    }, report);
  };

  const writer: Writer = await newWriter({ store, user: options.user, withoutStorage: !!options.withoutStorage, tell, now, expires: () => expire(), failed: storeFailed });
  const device = await prepare(options, store, writer, first && !!lost);
  const failed = (err: unknown) => {
    report(err);
    const { code, message } = asBelfryError(err);
    session?.close(1000, code === "storage" ? "the store failed" : message.slice(0, MAX_REASON));
  };
  const outbox = newOutbox({ store, writer, user: options.user, now, failed, changed: () => setStatus({ outbox: outbox.count(), taken: outbox.taken() }) });
  await outbox.load();
  const ties = newTies(tell, report);
  const request: Ask = async (...args) => {
    while (status.connection === "connecting") await next(listen, args[3]);
    if (over) throw over;
    if (!ask) throw new BelfryError("offline", status.error?.message);
    return ask(...args);
  };
  const fetcher = newFetcher(store, writer, (signal) => (args) => request("getMessage", args, undefined, signal) as Promise<Operations["getMessage"]["ok"]>, now);

  expire();

  // Sessions.

  const askToken = (reason: TokenReason) =>
    within(TOKEN_MS, stopped.signal, async (signal) => options.token({ reason, signal })).catch((err: unknown) => {
      if (isRefusal(err)) end(err);
      throw err;
    });

  const login = async (attempt: number, token: string) => {
    const urls = [options.url, ...(options.moreUrls ?? [])];
    const since = (await store.get("meta", ["cursor"])) as string | undefined;
    const cursors = since ? groupCursors(writer) : {};
    const pushes: Push[] = [];
    let take = (push: Push): void => void pushes.push(push);
    const one = await dial({
      url: urls[attempt % urls.length]!, codec, trace, signal: stopped.signal,
      WebSocket: options.WebSocket ?? (globalThis.WebSocket as never),
      onPush: (push) => take(push),
    });
    try {
      const { manualRead, platform, recents, groupBacklog } = options;
      const args = {
        token, device, autoRead: !manualRead, ...(platform && { platform }), ...(recents && { recents }),
        ...(groupBacklog !== undefined && { groupBacklog }), ...(since && { since }),
      };
      const named = fitting(cursors, JSON.stringify(args).length);
      const ok = (await within(LOGIN_MS, stopped.signal, (signal) => one.request("login", { ...args, groups: named }, signal))) as {
        user: string; serverTime: number; limits: Limits;
      };
      if (ok.user !== options.user) end(new BelfryError("unauthorized", `the token is of ${ok.user}, not ${options.user}`));
      one.limit(ok.limits.maxFrame);
      if (stopped.signal.aborted) throw new BelfryError("closed");
      let kicked: string | undefined;
      const receive = receiver({
        store, writer, outbox, session: one, user: options.user, manualRead: !!manualRead, since, tell, failed,
        synced() {
          setStatus({ synced: true });
          expire();
        },
      });
      take = (push) => {
        if (push.op === "onGroupEvent" && (push.args.event === "dismissed" || push.args.users?.includes(options.user))) ties.left(push.args.group);
        if (push.op !== "onKicked") return receive(push);
        // The close that follows leaves no time for what waits.
        kicked = push.args.reason;
        tell({ event: { name: "kicked", of: push.args } });
      };
      pushes.forEach(take);
      return { one, receive, limits: ok.limits, ahead: ok.serverTime - Date.now(), kicked: () => kicked };
    } catch (err) {
      one.close();
      throw err;
    }
  };

  /** Replaces tokens before they expire, for as long as the session lasts. */
  const keepToken = (one: Session, token: string) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let failures = 0;
    const plan = (of: string) => {
      const ms = refreshIn(of, now());
      if (ms !== undefined) timer = setTimeout(refresh, Math.min(MAX_TIMER, ms), of);
    };
    const refresh = async (old: string) => {
      try {
        const fresh = await askToken("expiring");
        await one.request("refreshToken", { token: fresh });
        failures = 0;
        plan(fresh);
      } catch (err) {
        if (session !== one) return;
        report(err);
        timer = setTimeout(refresh, 1000 + backoff(failures++), old);
      }
    };
    plan(token);
    void one.ended.then(() => clearTimeout(timer));
  };

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      skipPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const end = (err: BelfryError) => {
    if (over) return;
    over = err;
    stopped.abort();
    outbox.close();
    clearTimeout(expiry);
    skipPause?.();
    const { code, message } = err;
    setStatus({ connection: "closed", synced: false, error: { code, message } });
  };

  const run = async () => {
    let reason: TokenReason = "login";
    let failures = 0;
    for (let attempt = 0; !over; attempt++) {
      let wait: number | undefined;
      let why: BelfryError;
      try {
        setStatus({ connection: "connecting" });
        const token = await askToken(reason);
        const { one, receive, ahead, limits, kicked } = await login(attempt, token);
        session = one;
        ask = asking(one, receive);
        reason = "login";
        const { error: _, ...rest } = status;
        status = rest;
        setStatus({ connection: "online", ahead, limits });
        if (background) void one.request("setState", { background }).catch(() => {});
        // Who is in no live group may not send there.
        await ties.renew(one);
        outbox.online(ask);
        keepToken(one, token);
        const { code, reason: text } = await one.ended;
        if (status.synced && Date.now() - status.since >= STABLE_MS) failures = 0;
        session = ask = undefined;
        outbox.online(undefined);
        why = new BelfryError(code === 4401 ? "unauthorized" : "offline", text || `the connection ended with ${code}`);
        if (code === 4401) reason = "refused";
        if (code === 4403) end(new BelfryError("kicked", kicked() ?? text));
        const named = /retry after (\d+) ms/.exec(text);
        if (code === 1001 && named) wait = spread(Number(named[1]));
      } catch (err) {
        why = asBelfryError(err);
        if (why.code === "unauthorized") reason = "refused";
        else if (FINAL.has(why.code)) end(why);
        else if (why.code !== "offline") report(err);
        if (why.retryAfterMs !== undefined) wait = spread(why.retryAfterMs);
      }
      if (over) return;
      setStatus({ connection: "waiting", synced: false, error: { code: why.code, message: why.message } });
      told = wait !== undefined;
      await pause(wait ?? backoff(failures++));
    }
  };

  // Calls.

  const calls: { [M in keyof Calls]: (args: Calls[M]["args"], signal?: AbortSignal) => Promise<Calls[M]["ok"]> } = {
    async request({ op, args }, signal) {
      if (op === "typing") {
        session?.notify(op, args);
        return null;
      }
      // What comes while a deletion is on its way is not deleted.
      const upTo = writer.entries.get(String(args.conv))?.newest;
      const effect = effects[op];
      const ok = await request(op, args, effect && ((ok) => effect(writer, args as never, ok, upTo)), signal);
      ties.note(op, args, ok);
      return ok;
    },
    fill: ({ conv, page }, signal) => fetcher.fill(conv, page, signal),
    outbox: () => outbox.load(),
    makeRoom: () => writer.makeRoom(),
    cancel: ({ conv, cid }) => outbox.cancel(conv, cid),
    deleteLocal: ({ conv, seqs }) => gone(writer, conv, single(seqs), "deleted"),
    deleteConversationLocal: ({ conv, messages }) => writer.commit((batch) => deleteConversation(batch, conv, messages)),
    import: ({ messages }) => importMessages(writer, messages),
    disableStorage: ({ conv }) =>
      writer.commit((batch) => {
        batch.remove("messages", [conv], [conv, ""]);
        batch.edit(conv, { unstored: true, covered: [], lost: [], last: undefined });
      }),
    async background(hidden) {
      background = hidden;
      await session?.request("setState", { background }).catch(() => {});
    },
    async wake() {
      if (!told) skipPause?.();
    },
    handled: (told) => writer.handled(told),
    async trace() {
      return {
        user: options.user, device, tabs: 1, frames: trace.frames(),
        status: { ...status, leader: true },
        cursor: String((await store.get("meta", ["cursor"])) ?? ""),
        outbox: outbox.items().map(({ conv, cid, tried, refused }) => ({ conv, cid, tried, ...(refused && { refused: refused.code }) })),
      };
    },
    async signOut() {
      const one = session;
      if (one) await within(LOGOUT_MS, undefined, (signal) => one.request("logout", {}, signal)).catch(() => {});
      end(new BelfryError("closed", "signed out"));
      await writer.commit(() => {});
      await store.erase();
      tell({ changed: { all: true } });
    },
  };

  const engine: Engine = {
    call(method, args, signal) {
      if (over && method !== "trace" && method !== "handled") return Promise.reject(over);
      return abortable(calls[method](args, signal), signal).catch((err: unknown) => Promise.reject(asBelfryError(err)));
    },
    listen,
    status: () => status,
    leader: () => true,
    async close() {
      end(new BelfryError("closed"));
      await running;
      await writer.commit(() => {});
    },
  };
  const running = run();
  return engine;
}

/** The device's name; a store that lost a part begins anew, but for the outbox. */
async function prepare(options: ClientOptions, store: Store, writer: Writer, lost: boolean): Promise<string> {
  const stored = (await store.get("meta", ["device"])) as string | undefined;
  const device = options.device ?? stored ?? randomID();
  await writer.commit((batch) => {
    if (device !== stored) batch.put("meta", ["device"], device);
    // Cursors are of a device: one that has another name is a new one.
    if (!lost && (stored === undefined || device === stored)) return;
    batch.remove("meta", ["cursor"], ["cursor", ""]);
    batch.remove("meta", ["listed"], ["listed", ""]);
    if (!lost) return;
    batch.remove("messages", [], ["\uffff"]);
    for (const conv of writer.entries.keys()) batch.edit(conv, { covered: [], cursor: "", last: undefined });
  }).catch((err: unknown) => {
    // A new device on a full disk can do without its name there; the next start gets another one.
    if (lost || stored !== undefined || !(err instanceof StoreError && err.failure === "quota")) throw err;
  });
  return device;
}

function groupCursors(writer: Writer): Record<string, string> {
  const groups = [...writer.entries.values()].filter((entry) => entry.cursor && entry.conv.startsWith("g:"));
  groups.sort((a, b) => b.time - a.time);
  return Object.fromEntries(groups.slice(0, MAX_CURSORS).map(({ conv, cursor }) => [conv.slice(2), cursor!]));
}

/** As many of the cursors as a login's frame has room for. */
function fitting(cursors: Record<string, string>, bytes: number): Record<string, string> {
  let left = MAX_LOGIN - bytes - 200;
  return Object.fromEntries(Object.entries(cursors).filter(([group, cursor]) => (left -= group.length + cursor.length + 6) > 0));
}

function isRefusal(err: unknown): err is BelfryError {
  return err instanceof BelfryError && err.code === "unauthorized";
}

/** What the answer to a request changes in the store. `upTo` is the newest seq as it was made. */
type Effect = (writer: Writer, args: never, ok: never, upTo: number | undefined) => Promise<unknown>;
type Args<Op extends keyof Operations> = Operations[Op]["args"];
type OK<Op extends keyof Operations> = Operations[Op]["ok"];

const lists: Effect = (writer, _, { conversations }: OK<"getRecents">) =>
  writer.commit(async (batch) => {
    for (const entry of conversations) {
      if (entry.last && !batch.covers(entry.conv, entry.last.seq)) newMessage(batch, entry.last, writer.unstored(entry.conv));
      await listed(batch, entry);
    }
  });

const joined: Effect = async (writer, args: Args<"joinGroup">, { cursor, group = args.group }: { cursor?: string; group?: string }) => {
  if (!cursor) return;
  const conv = `g:${group}`;
  await writer.commit((batch) => {
    const had = batch.entry(conv);
    batch.edit(conv, { cursor: had.cursor || cursor, listed: true, time: had.time || Date.now(), ...(!had.cursor && { top: false }) });
  });
};

const effects: { readonly [op: string]: Effect } = {
  readReport: (writer, { conv, seq }: Args<"readReport">, { unread }: OK<"readReport">) =>
    writer.commit(async (batch) => {
      await batch.readTo(conv, seq, unread);
      if (batch.known(conv)) batch.edit(conv, { markedUnread: false });
    }),
  deleteMessage: (writer, { conv, seqs }: Args<"deleteMessage">) => gone(writer, conv, single(seqs), "deleted"),
  deleteConversation: (writer, { conv, messages = false }: Args<"deleteConversation">, _, upTo) =>
    writer.commit((batch) => deleteConversation(batch, conv, messages, upTo)),
  recall: (writer, { conv, seq }: Args<"recall">) => gone(writer, conv, [[seq, seq]], "recalled"),
  setConversation: (writer, { conv, muted, pinned, unread }: Args<"setConversation">) =>
    writer.commit((batch) => batch.edit(conv, {
      ...(muted !== undefined && { muted }), ...(pinned !== undefined && { pinned }), ...(unread !== undefined && { markedUnread: unread }),
    })),
  getRecents: lists,
  getConversations: lists,
  joinGroup: joined,
  createGroup: joined,
};

async function importMessages(writer: Writer, messages: readonly Message[]): Promise<void> {
  // In parts, so that no batch is too large for a store.
  for (let i = 0; i < messages.length; i += 500) {
    await writer.commit((batch) => {
      for (const message of messages.slice(i, i + 500)) {
        const { top = false } = batch.entry(message.conv); // an old message says nothing of newer ones
        if (!batch.covers(message.conv, message.seq)) newMessage(batch, message, writer.unstored(message.conv));
        batch.edit(message.conv, { top });
      }
    });
  }
}
