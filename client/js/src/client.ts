/** A tab's client: it reads the store, appends to the outbox and asks the engine for all else. */
import {
  BelfryError, type Client, type ClientOptions, type ErrorCode, type Events, type Pending, type SendState, type Status,
} from "./api.ts";
import { checkBody } from "./body.ts";
import { asValue, conversation, localPage, reachesBeyond } from "./history.ts";
import type { Base, Calls, Engine, EngineStatus, Notice, Settled, StoredSend } from "./link.ts";
import { openMemory } from "./memory.ts";
import { abortable } from "./wait.ts";
import type { Opened, Store } from "./store.ts";
import { canShare, shareTabs } from "./tabs.ts";
import { randomID } from "./token.ts";
import { messageWindow } from "./window.ts";
import { conversationsView } from "./views.ts";
import type { Message, Operations } from "./wire.ts";

/** The most messages that wait in the outbox. */
const MAX_OUTBOX = 1000;
/** Among how many of the newest rows a message that was sent is looked for when its news was lost. */
const SENT_AMONG = 500;

/**
 * Makes a client, which connects at once and stays connected until `close`. Throws
 * `bad_request` if an option is wrong.
 */
export function createClient(options: ClientOptions): Client {
  check(options);
  const { user } = options;
  const listeners = new Set<(notice: Notice) => void>();
  const tell = (notice: Notice) => [...listeners].forEach((fn) => guarded(fn, notice));
  let closed = false;
  let engine: Engine | undefined;
  let status: Status = { connection: "connecting", since: Date.now(), synced: false, storage: { durability: "memory" }, outbox: 0, leader: false };
  let ahead = 0;
  let appended = 0; // to the outbox, and not counted in the status yet

  const handlers = new Map<keyof Events, Set<(event: never) => void>>();
  const emit = ({ name, of }: NonNullable<Notice["event"]>) => {
    for (const fn of [...(handlers.get(name) ?? [])]) guarded(fn, of as never);
  };

  const hear = (notice: Notice) => {
    if (notice.status) take(notice.status);
    tell(notice);
    if (notice.event) emit(notice.event);
  };
  const take = ({ ahead: ms, ...rest }: EngineStatus) => {
    ahead = ms;
    status = { ...rest, leader: !!engine?.leader() };
  };

  const ready = (async (): Promise<{ store: Store; engine: Engine }> => {
    const opened = await open(options);
    const started = await start(options, opened);
    if (closed) {
      await started.engine.close();
      await started.store.close();
      throw new BelfryError("closed");
    }
    engine = started.engine;
    engine.listen(hear);
    hear({ status: engine.status(), changed: { all: true } });
    if (opened.cause || opened.lost) emit({ name: "storage", of: engine.status().storage });
    return started;
  })();
  ready.catch(() => {});
  const store = ready.then((started) => started.store);
  store.catch(() => {});

  const call = async <M extends keyof Calls>(method: M, args: Calls[M]["args"], signal?: AbortSignal): Promise<Calls[M]["ok"]> => {
    if (closed) throw new BelfryError("closed");
    return (await abortable(ready, signal)).engine.call(method, args, signal);
  };
  const request = async <Op extends keyof Operations>(op: Op, args: Operations[Op]["args"], signal?: AbortSignal) =>
    (await call("request", { op, args: args as Record<string, unknown> }, signal)) as Operations[Op]["ok"];

  const listen: Base["listen"] = (fn) => {
    listeners.add(fn);
    return () => listeners.delete(fn);
  };
  const base: Base = {
    user, store, listen,
    status: () => status,
    fill: (conv, page, signal) => call("fill", { conv, page }, signal),
    now: () => Date.now() + ahead,
  };
  let list: ReturnType<Client["conversations"]> | undefined;

  const client: Client = {
    user,
    status: {
      getSnapshot: () => status,
      subscribe: (fn) => listen((notice) => notice.status && fn()),
    },
    conversations: () => (list ??= conversationsView(base)),
    messages: (conv, window) => messageWindow(base, conv, window),

    async send(conv, body, { ttl, mentions, cid = randomID(), signal } = {}) {
      checkConv(conv);
      const copy = checkBody(body);
      const named = checkMentions(mentions);
      if (ttl !== undefined && !(Number.isInteger(ttl) && ttl >= 1 && ttl <= 604_800)) throw wrong("ttl", "must be a whole number of seconds, 1-604800");
      if (closed) throw new BelfryError("closed");
      const to = await abortable(store, signal);
      if (status.connection === "closed") throw new BelfryError("closed");
      if (status.outbox + appended >= MAX_OUTBOX) throw new BelfryError("rate_limited", `${MAX_OUTBOX} messages wait already`);
      const entry: StoredSend = { conv, cid, body: copy, tried: 0, ...(ttl !== undefined && { ttl }), ...(named && { mentions: named }) };
      const pending = pendingOf(base, call, entry);
      appended++;
      try {
        await to.append("outbox", asValue(entry));
      } catch (cause) {
        appended--;
        pending.stop();
        throw new BelfryError("storage", "the message could not be stored", { cause });
      }
      tell({ changed: { outbox: [conv] } });
      // An engine that does not hear of it finds it when it starts, or with the next one.
      void call("outbox", null).catch(() => {}).finally(() => appended--);
      return pending.pending;
    },
    cancel: (conv, cid) => call("cancel", { conv, cid }),
    async sendNow(conv, body, { mentions, cid = randomID(), signal } = {}) {
      checkConv(conv);
      const named = checkMentions(mentions);
      const args = { conv, body: checkBody(body), cid, ttl: 0, ...(named && { mentions: named }) };
      return (await call("request", { op: "send", args }, signal)) as { id: string; time: number };
    },
    typing: (conv) => void call("request", { op: "typing", args: { conv } }).catch(() => {}),

    async getMessages(conv, { signal, ...page } = {}) {
      checkConv(conv);
      checkPage(page);
      const from = await abortable(store, signal);
      const local = await localPage(from, conv, page, base.now());
      const complete = !reachesBeyond(await conversation(from, conv), page) && local.gaps.every(({ reason }) => reason !== "unknown" && reason !== "lost");
      if (complete) return local;
      return (await call("fill", { conv, page }, signal)) ?? localPage(from, conv, page, base.now());
    },
    async localMessages(conv, page = {}) {
      checkPage(page);
      return localPage(await store, conv, page, base.now());
    },
    async findMessage(conv, seq, { signal } = {}) {
      const page = await client.getMessages(conv, { range: [seq, seq], limit: 1, ...(signal && { signal }) });
      return page.messages[0];
    },
    async searchLocal(text, which = {}) {
      return (await import("./search.ts")).search(await store, text, which, base.now());
    },

    readReport: (conv, seq, { signal } = {}) => request("readReport", { conv, seq }, signal),
    async deleteMessages(conv, seqs, { local, signal } = {}) {
      if (local) return void (await call("deleteLocal", { conv, seqs: [...seqs] }, signal));
      for (let i = 0; i < seqs.length; i += 100) await request("deleteMessage", { conv, seqs: seqs.slice(i, i + 100) }, signal);
    },
    async deleteConversation(conv, { messages = false, local, signal } = {}) {
      if (local) await call("deleteConversationLocal", { conv, messages }, signal);
      else await request("deleteConversation", { conv, messages }, signal);
    },
    async setConversation(conv, settings, { signal } = {}) {
      await request("setConversation", { conv, ...settings }, signal);
    },
    async recall(conv, seq, { signal } = {}) {
      await request("recall", { conv, seq }, signal);
    },
    async importMessages(messages) {
      for (const { conv, seq, id, time } of messages) {
        checkConv(conv);
        if (!(Number.isSafeInteger(seq) && seq >= 1)) throw wrong("seq", "must be a whole number from 1 on");
        if (!id || !Number.isSafeInteger(time)) throw wrong("id", "must be set, and so must time");
      }
      await call("import", { messages });
    },
    async disableStorage(conv) {
      checkConv(conv);
      await call("disableStorage", { conv });
    },

    request: (op, args, { signal } = {}) => request(op, args, signal),
    on(name, fn) {
      const fns = handlers.get(name) ?? new Set();
      handlers.set(name, fns.add(fn));
      return () => fns.delete(fn);
    },
    async signOut() {
      await call("signOut", null).catch(async (err: unknown) => {
        // The engine is over, by a kick or for want of a token, and nobody else erases.
        if (closed || status.connection !== "closed") throw err;
        await (await store).erase();
      });
      await client.close();
    },
    async close() {
      if (closed) return;
      closed = true;
      const started = await ready.catch(() => undefined);
      await started?.engine.close();
      await started?.store.close();
      hear({ status: { ...status, connection: "closed", synced: false, since: Date.now(), ahead } });
    },
    exportTrace: () => call("trace", null),
  };
  return client;
}

/** Calls what is the application's. What it throws is seen where its other faults are, and stops nothing here. */
function guarded<T>(fn: (of: T) => void, of: T): void {
  try {
    fn(of);
  } catch (err) {
    queueMicrotask(() => {
      throw err;
    });
  }
}

function open({ url, user, store, withoutStorage }: ClientOptions): Promise<Opened> {
  const opener = (withoutStorage ? undefined : store) ?? openMemory;
  return opener({ server: new URL(url).host, user });
}

/** The engine, or this tab's part in that of all tabs. A store that cannot be read is left as it is, and one in memory takes its place. */
async function start(options: ClientOptions, of: Opened): Promise<{ store: Store; engine: Engine }> {
  const readable = await of.store.list("conversations", { limit: 1 }).catch(() => undefined);
  const opened: Opened = readable ? of : { ...(await openMemory({ server: "", user: options.user })), cause: "corrupt" };
  const { store, cause, lost } = opened;
  const engine = shareTabs({
    name: `belfry ${JSON.stringify([new URL(options.url).host, options.user])}`,
    store,
    token: options.token,
    status: {
      connection: "connecting", since: Date.now(), synced: false, outbox: 0, ahead: 0,
      storage: { durability: store.durability, ...(cause && { cause }), ...(lost && { lost }) },
    },
    start: async (fenced, token) => (await import("./engine.ts")).startEngine({ ...options, token }, { ...opened, store: fenced }),
    // A store in memory is this tab's own, and so are its device and its socket.
    alone: store.durability === "memory" || !(options.tabs ?? canShare()),
  });
  return { store, engine };
}

/** Follows a message through the outbox, until it is settled or the client closes. */
function pendingOf(base: Base, call: <M extends "cancel">(method: M, args: Calls[M]["args"]) => Promise<Calls[M]["ok"]>, { conv, cid }: StoredSend): { pending: Pending; stop(): void } {
  let state: SendState = { state: "queued" };
  const watchers = new Set<() => void>();
  let resolve: (state: SendState) => void;
  let reject: (err: BelfryError) => void;
  const settled = new Promise<SendState>((ok, no) => {
    resolve = ok;
    reject = no;
  });
  settled.catch(() => {}); // nobody has to wait for it
  const stop = base.listen((notice) => {
    for (const one of notice.settled ?? []) {
      if (one.conv !== conv || one.cid !== cid) continue;
      if (one.state === "cancelled") quit("aborted", "the message was taken back");
      else settle(stateOf(one));
    }
    // The tab that led was closed: what it did last may not have been told.
    if (notice.changed?.all) void base.store.then((store) => lookUp(store, base, conv, cid)).then((found) => found && settle(found), () => {});
    if (notice.status?.connection === "closed" && state.state === "queued") quit("closed", "the message waits in the outbox");
  });
  const quit = (code: ErrorCode, message: string) => {
    stop();
    reject(new BelfryError(code, message));
  };
  const settle = (to: SendState) => {
    if (state.state === "stored") return;
    state = to;
    if (to.state === "stored") stop();
    resolve(to);
    watchers.forEach((fn) => fn());
  };
  const view = {
    getSnapshot: () => state,
    subscribe: (fn: () => void) => {
      watchers.add(fn);
      return () => void watchers.delete(fn);
    },
  };
  const cancel = () => call("cancel", { conv, cid });
  return { pending: { cid, conv, state: view, settled, cancel }, stop };
}

function stateOf(settled: Exclude<Settled, { state: "cancelled" }>): SendState {
  if (settled.state === "refused") return { state: "refused", code: settled.code, message: settled.message };
  return { state: "stored", id: settled.id, seq: settled.seq, time: settled.time };
}

/** What became of a message, as the store says; undefined while it waits, or if it cannot be told. */
async function lookUp(store: Store, base: Base, conv: string, cid: string): Promise<SendState | undefined> {
  for (const { value } of await store.list("outbox", {})) {
    const send = value as unknown as StoredSend;
    if (send.conv !== conv || send.cid !== cid) continue;
    return send.refused && { state: "refused", code: send.refused.code, message: send.refused.message };
  }
  const rows = await store.list("messages", { from: [conv], to: [conv, ""], limit: SENT_AMONG, reverse: true });
  const found = rows.map(({ value }) => value as unknown as Partial<Message>).find((row) => row.cid === cid && row.from === base.user);
  return found && { state: "stored", id: found.id!, seq: found.seq!, time: found.time! };
}

function wrong(field: string, rule: string): BelfryError {
  return new BelfryError("bad_request", `${field}: ${rule}`);
}

function check({ url, moreUrls = [], user, token, device, groupBacklog = 0, WebSocket }: ClientOptions): void {
  for (const one of [url, ...moreUrls]) if (!/^wss?:\/\/./.test(one)) throw wrong("url", "must begin with ws: or wss:");
  if (!user) throw wrong("user", "must be set");
  if (typeof token !== "function") throw wrong("token", "must be a function");
  if (device !== undefined && (device === "" || device.length > 64)) throw wrong("device", "must be 1-64 bytes");
  if (!(groupBacklog >= 0 && groupBacklog <= 100)) throw wrong("groupBacklog", "must be 0-100");
  if (!WebSocket && !globalThis.WebSocket) throw wrong("WebSocket", "must be given where there is no global one");
}

function checkConv(conv: string): void {
  if (!/^[ug]:./.test(conv)) throw wrong("conv", "must be u: and a user or g: and a group");
}

/** Returns a copy. */
function checkMentions(mentions: readonly string[] | undefined): readonly string[] | undefined {
  if (mentions === undefined) return undefined;
  if (!Array.isArray(mentions)) throw wrong("mentions", "must be a list of users");
  return Array.from(mentions, (user: unknown) => {
    if (typeof user !== "string" || /\p{Surrogate}/u.test(user)) throw wrong("mentions", "must be well-formed texts");
    return user;
  });
}

function checkPage({ limit = 1, before, after, range }: { limit?: number; before?: number; after?: number; range?: readonly [number, number] }): void {
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= 100)) throw wrong("limit", "must be 1-100");
  if ([before, after, range].filter((one) => one !== undefined).length > 1) throw wrong("before", "must not be given with after or range");
}
