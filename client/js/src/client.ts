/** A tab's client: it reads the store, appends to the outbox and asks the engine for all else. */
import { BelfryError, type Client, type ClientOptions, type Status } from "./api.ts";
import { checkBody } from "./body.ts";
import { checkConv, checkEvent, checkMessage, checkOptions, checkPage, checkSend, checkWindow, wrong } from "./check.ts";
import { asValue, conversation, localPage, reachesBeyond } from "./history.ts";
import { type Base, type Calls, type Engine, type EngineStatus, firstStatus, type Notice, type StoredSend } from "./link.ts";
import { newHub } from "./listen.ts";
import { openMemory } from "./memory.ts";
import { newPendings } from "./pending.ts";
import { abortable } from "./wait.ts";
import type { Opening, Store, StoreError } from "./store.ts";
import { canShare, shareTabs } from "./tabs.ts";
import { randomID } from "./token.ts";
import { messageWindow } from "./window.ts";
import { conversationsView } from "./views.ts";
import type { Operations } from "./wire.ts";

/** The most messages that wait in the outbox. */
const MAX_OUTBOX = 1000;

/**
 * Makes a client, which connects at once and stays connected until `close`. Throws
 * `bad_request` if an option is wrong.
 */
export function createClient(options: ClientOptions): Client {
  checkOptions(options);
  const { user } = options;
  const { listen, tell } = newHub<Notice>();
  let closed = false;
  let engine: Engine | undefined;
  let known = firstStatus({ store: { durability: "memory" } });
  let status!: Status;
  const appended = new Set<{ key?: number }>(); // to the outbox, until the engine has heard of it

  const hear = (notice: Notice) => {
    if (notice.status) take(notice.status);
    const results = tell(notice);
    for (const { conv, cid, ...as } of notice.settled ?? []) {
      if (as.state !== "cancelled") tell({ event: { name: "sent", of: { conv, cid, state: as } } });
    }
    return results;
  };
  const take = (now: EngineStatus) => {
    const { ahead: _, taken: __, ...rest } = (known = now);
    status = { ...rest, leader: !!engine?.leader() };
  };
  take(known);

  const opening = new AbortController();
  const tellStorage = () => tell({ event: { name: "storage", of: known.storage } });
  const waits: Opening["waits"] = (cause) => {
    hear({ status: { ...known, storage: { ...known.storage, cause } } });
    tellStorage();
  };
  const ready = (async (): Promise<{ store: Store; engine: Engine }> => {
    const started = await start(options, { signal: opening.signal, waits });
    if (closed) {
      await started.engine.close();
      await started.store.close();
      throw new BelfryError("closed");
    }
    engine = started.engine;
    engine.listen(hear);
    const waited = known.storage.cause;
    hear({ status: engine.status(), changed: { all: true } });
    const { cause, lost } = known.storage;
    if (waited || cause || lost) tellStorage();
    return started;
  })().catch((err: unknown) => {
    if (closed) throw new BelfryError("closed");
    const failure = err instanceof BelfryError ? err : new BelfryError("storage", `the store could not be opened: ${String(err)}`, { cause: err });
    const { code, message } = failure;
    hear({ status: { ...known, connection: "closed", since: Date.now(), error: { code, message } } });
    throw failure;
  });
  ready.catch(() => {});
  const store = ready.then((started) => started.store);
  store.catch(() => {});

  const call = async <M extends keyof Calls>(method: M, args: Calls[M]["args"], signal?: AbortSignal): Promise<Calls[M]["ok"]> => {
    if (closed) throw new BelfryError("closed");
    return (await abortable(ready, signal)).engine.call(method, args, signal);
  };
  const request = async <Op extends keyof Operations>(op: Op, args: Operations[Op]["args"], signal?: AbortSignal) =>
    (await call("request", { op, args: args as Record<string, unknown> }, signal)) as Operations[Op]["ok"];

  const base: Base = {
    user, store, listen,
    status: () => status,
    fill: (conv, page, signal) => call("fill", { conv, page }, signal),
    now: () => Date.now() + known.ahead,
  };
  const cancel: Client["cancel"] = (conv, cid) => call("cancel", { conv, cid });
  const append = async (entry: StoredSend) => (await store).append("outbox", asValue(entry));
  const announce = (conv: string) => {
    tell({ changed: { outbox: [conv] } });
    // An engine that does not hear of it finds it when it starts, or with the next one.
    return call("outbox", null).catch(() => {});
  };
  const pendings = newPendings(base, cancel, (settled) => hear({ settled }), async (entry) => {
    await append(entry);
    void announce(entry.conv);
  });
  let list: ReturnType<Client["conversations"]> | undefined;

  const client: Client = {
    user,
    status: {
      getSnapshot: () => status,
      subscribe: (fn) => listen((notice) => notice.status && fn()),
    },
    conversations: () => (list ??= conversationsView(base)),
    messages(conv, window = {}) {
      checkWindow(conv, window);
      return messageWindow(base, conv, window);
    },

    async send(conv, body, options = {}) {
      const { cid = randomID(), signal } = options;
      const entry: StoredSend = { conv, cid, body: checkBody(body), queued: base.now(), tried: 0, ...checkSend(conv, options) };
      if (options.cid) entry.since = options.retry ? 0 : base.now(); // an earlier process may have sent it just now
      if (closed) throw new BelfryError("closed");
      const to = await abortable(store, signal);
      if (status.connection === "closed") throw new BelfryError("closed");
      const uncounted = [...appended].filter(({ key = Infinity }) => key > (known.taken ?? 0)).length;
      if (status.outbox + uncounted >= MAX_OUTBOX) throw new BelfryError("rate_limited", `${MAX_OUTBOX} messages wait already`);
      const pending = pendings.follow(entry, to.life?.());
      const one: { key?: number } = {};
      appended.add(one);
      try {
        one.key = await append(entry).catch(async (err: StoreError) => {
          if (err.failure !== "quota") throw err;
          await call("makeRoom", null);
          return append(entry);
        });
      } catch (cause) {
        appended.delete(one);
        pendings.forget(pending);
        throw new BelfryError("storage", "the message could not be stored", { cause });
      }
      void announce(conv).finally(() => appended.delete(one));
      return pending;
    },
    cancel,
    async outbox() {
      return (await import("./waiting.ts")).waitingIn(await store);
    },
    async sendNow(conv, body, options = {}) {
      const { cid = randomID(), signal } = options;
      const args = { conv, cid, body: checkBody(body), ...checkSend(conv, options), ttl: 0 };
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
    async findMessage(conv, seq, options) {
      return (await client.getMessages(conv, { ...options, range: [seq, seq], limit: 1 })).messages[0];
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
      messages.forEach(checkMessage);
      await call("import", { messages });
    },
    async disableStorage(conv) {
      checkConv(conv);
      await call("disableStorage", { conv });
    },

    request: (op, args, { signal } = {}) => request(op, args, signal),
    on(name, fn) {
      checkEvent(name);
      return listen(({ event }) => event?.name === name && fn(event.of as never));
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
      opening.abort();
      const started = await ready.catch(() => undefined);
      await started?.engine.close();
      await started?.store.close();
      hear({ status: { ...known, connection: "closed", since: Date.now(), synced: false } });
    },
    exportTrace: () => call("trace", null),
  };
  return client;
}

/** Opens the store, and the engine or this tab's part in that of all tabs. */
async function start(options: ClientOptions, opening: Opening): Promise<{ store: Store; engine: Engine }> {
  const names = { server: new URL(options.url).host, user: options.user };
  const open = (options.withoutStorage ? undefined : options.store) ?? openMemory;
  const opened = await open(names, opening);
  if (!opened?.store) wrong("store", "must open a store: it is what a call returns, as indexedDB()");
  const { store } = opened;
  const engine = shareTabs({
    name: `belfry ${JSON.stringify([names.server, names.user])}`,
    store,
    token: options.token,
    status: firstStatus(opened),
    load: () => import("./engine.ts"),
    start: async (fenced, token, first, lost) => (await import("./engine.ts")).startEngine({ ...options, token }, { ...opened, ...(lost && { lost }), store: fenced }, first),
    // A store in memory is this tab's own, and so are its device and its socket.
    alone: store.durability === "memory" || !(options.tabs ?? canShare()),
  });
  return { store, engine };
}
