import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { BelfryError, type TokenReason } from "../src/api.ts";
import type { Calls, Engine, EngineStatus, Notice } from "../src/link.ts";
import { memoryStore } from "../src/memory.ts";
import { type Store, StoreError } from "../src/store.ts";
// Loaded before any test sets the clock.
import "../src/lead.ts";
import { shareTabs, type TokenSource } from "../src/tabs.ts";
import "../src/told.ts"; // loaded before any test sets the clock
import type { Message } from "../src/wire.ts";
import { browser, type Page } from "./pages.ts";

const status: EngineStatus = { connection: "connecting", since: 0, synced: false, storage: { durability: "persistent" }, outbox: 0, ahead: 0 };

/** An engine of a tab, as the tests see it. */
interface Fake extends Engine {
  readonly store: Store;
  readonly token: TokenSource;
  readonly calls: [method: string, args: unknown][];
  notify(notice: Notice): void;
  closed: boolean;
}

interface Tab {
  readonly page: Page;
  readonly part: Engine;
  readonly notices: Notice[];
  /** The engines that ran here, the newest last. */
  readonly engines: Fake[];
  /** What its application answers when it is asked for a token; the default throws. */
  token: (reason: TokenReason) => Promise<string>;
}

let world: ReturnType<typeof browser>;
let store: Store;
let tabs: Tab[];

beforeEach(() => {
  world = browser();
  store = memoryStore();
  tabs = [];
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Calls that an engine answers never, until it is closed. */
const never = new Set<string>();
beforeEach(() => never.clear());

function fakeEngine(store: Store, token: TokenSource): Fake {
  const listeners = new Set<(notice: Notice) => void>();
  const open = new Set<(err: BelfryError) => void>();
  const engine: Fake = {
    store,
    token,
    calls: [],
    closed: false,
    call: (method, args, signal) => {
      if (engine.closed) return Promise.reject(new BelfryError("closed"));
      engine.calls.push([method, args]);
      const answer = { echo: args } as never;
      return new Promise((resolve, reject) => {
        open.add(reject);
        signal?.addEventListener("abort", () => reject(new BelfryError("aborted")));
        if (!never.has(method)) resolve(answer);
      });
    },
    listen: (fn) => (listeners.add(fn), () => listeners.delete(fn)),
    notify: (notice) => listeners.forEach((fn) => fn(notice)),
    status: () => status,
    leader: () => true,
    close: async () => {
      engine.closed = true;
      for (const reject of open) reject(new BelfryError("closed"));
    },
  };
  return engine;
}

function open(name: string, options: { alone?: boolean } = {}): Tab {
  const page = world.page(name);
  return page.run(() => {
    const tab: Omit<Tab, "part"> = {
      page,
      notices: [],
      engines: [],
      token: () => Promise.reject(new Error("no token here")),
    };
    const part = shareTabs({
      ...options,
      name: "belfry alice",
      store,
      status,
      token: ({ reason }) => tab.token(reason),
      start: async (fenced, token) => {
        await fenced.get("meta", ["device"]);
        const engine = fakeEngine(fenced, token);
        tab.engines.push(engine);
        return engine;
      },
    });
    part.listen((notice) => tab.notices.push(notice));
    const whole = Object.assign(tab, { part });
    tabs.push(whole);
    return whole;
  });
}

/** Lets all happen that is due within some milliseconds. */
const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const leaders = () => tabs.filter((tab) => tab.part.leader()).map((tab) => tab.page.name);
const ask = (tab: Tab, op = "getGroups", args: Record<string, unknown> = {}, signal?: AbortSignal) =>
  tab.page.run(() => tab.part.call("request", { op, args } as Calls["request"]["args"], signal));
const events = (tab: Tab) => tab.notices.flatMap((n) => (n.event ? [n.event.of] : []));
const write = (engine: Fake, value: string) => engine.store.write([{ table: "meta", key: ["test"], value }]);
const message = (seq: number): Notice => ({ event: { name: "typing", of: { conv: "u:bob", user: "bob", time: seq } as never } });

test("one tab leads, the others ask it and hear what it says", async () => {
  const [a, b, c] = [open("a"), open("b"), open("c")];
  await pass();
  expect(leaders()).toEqual(["a"]);
  expect(await ask(b)).toEqual({ echo: { op: "getGroups", args: {} } });
  expect(await ask(a)).toEqual({ echo: { op: "getGroups", args: {} } });
  a.engines[0]!.notify({ ...message(1), status: { ...status, connection: "online" } });
  await pass();
  for (const tab of [a, b, c]) {
    expect(events(tab)).toEqual([message(1).event!.of]);
    expect(tab.part.status().connection).toBe("online");
  }
  const d = open("d");
  await pass();
  expect(d.part.status().connection).toBe("online");
  expect(d.notices[0]?.changed).toEqual({ all: true });
});

test("errors of the engine reach the tab that asked", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  a.engines[0]!.call = () => Promise.reject(new BelfryError("rate_limited", "slower", { retryAfterMs: 70 }));
  await expect(ask(b)).rejects.toMatchObject({ code: "rate_limited", message: "slower", retryAfterMs: 70 });
});

test.each(["close", "crash", "freeze", "hide"] as const)("the next tab leads when the leading one ends by %s, and all read the store again", async (how) => {
  const [a, b, c] = [open("a"), open("b"), open("c")];
  await pass();
  b.notices.length = c.notices.length = 0;
  if (how === "close") await a.page.run(() => a.part.close());
  else a.page[how]();
  await pass();
  expect(leaders().filter((name) => name !== "a")).toEqual(["b"]);
  for (const tab of [b, c]) expect(tab.notices.filter((n) => n.changed?.all)).toHaveLength(1);
  expect(await ask(c)).toEqual({ echo: { op: "getGroups", args: {} } });
  if (how !== "crash") expect(a.engines[0]!.closed).toBe(true);
});

test("a page that was frozen or in the back-forward cache takes part again", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  for (const [into, back] of [["freeze", "thaw"], ["hide", "thaw"]] as const) {
    b.page[into]();
    await pass();
    const answer = ask(b); // it waits for the page to go on
    a.engines[0]!.notify(message(1));
    await pass();
    expect(events(b)).toEqual([]);
    b.notices.length = 0;
    b.page[back]();
    await pass();
    expect(b.notices.filter((n) => n.changed?.all)).toHaveLength(1);
    expect(await answer).toBeTruthy();
  }
  a.page.freeze();
  await pass();
  a.page.thaw();
  await pass();
  expect(leaders()).toEqual(["b"]);
  expect(await ask(a)).toBeTruthy();
});

test("a leader that hangs is replaced by a tab that is looked at, writes nothing when it wakes, and follows", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  const old = a.engines[0]!;
  await write(old, "by a");
  a.page.hang();
  await pass(12_000);
  expect(b.part.leader()).toBe(true);
  // What it does before it hears of its loss is the worst case.
  await expect(a.page.run(() => write(old, "late"))).rejects.toMatchObject({ failure: "fenced" });
  await write(b.engines[0]!, "by b");
  a.page.show(false); // and so it does not ask by and by
  a.page.goOn();
  await pass();
  expect(leaders()).toEqual(["b"]);
  expect(old.closed).toBe(true);
  expect(await store.get("meta", ["test"])).toBe("by b");
  expect(await ask(a)).toBeTruthy();
  expect(b.engines[0]!.calls.map(([method]) => method)).toContain("request");
});

test("a leader that hangs is left alone while nobody looks, and one that answers is never replaced", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  await pass(60_000);
  expect(leaders()).toEqual(["a"]);
  b.page.show(false);
  a.page.hang();
  await pass(60_000);
  expect(b.part.leader()).toBe(false);
  b.page.show(true);
  await pass(12_000);
  expect(b.part.leader()).toBe(true);
});

test("a kick by its own successor does not close a tab that has not heard of it", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  a.page.hang();
  await pass(12_000);
  expect(b.part.leader()).toBe(true);
  const [old] = a.engines;
  a.page.run(() => old!.notify({ status: { ...status, connection: "closed", error: { code: "kicked", message: "sameDevice" } } }));
  await pass();
  expect(a.part.status().connection).not.toBe("closed");
  a.page.goOn();
  await pass();
  expect(await ask(a)).toBeTruthy();
});

test("calls without an answer are made again at the next leader, but for those that must not happen twice", async () => {
  never.add("request").add("cancel");
  const [a, b, c] = [open("a"), open("b"), open("c")];
  await pass();
  const outcomes = {
    read: ask(c, "readReport", { conv: "u:bob", seq: 1 }),
    named: ask(c, "createGroup", { group: "x" }),
    unnamed: ask(c, "createGroup"),
    ephemeral: ask(c, "send", { conv: "u:bob", ttl: 0 }),
    cancel: c.page.run(() => c.part.call("cancel", { conv: "u:bob", cid: "1" })),
  };
  const own = ask(a, "getGroups");
  for (const outcome of Object.values(outcomes)) outcome.catch(() => {});
  await pass();
  never.clear();
  a.page.freeze();
  await pass();
  expect(b.part.leader()).toBe(true);
  for (const name of ["unnamed", "ephemeral", "cancel"] as const) {
    await expect(outcomes[name]).rejects.toMatchObject({ code: "offline", unknown: true });
  }
  expect(await outcomes.read).toBeTruthy();
  expect(await outcomes.named).toBeTruthy();
  expect(b.engines[0]!.calls.filter(([method]) => method === "request")).toHaveLength(2);
  a.page.thaw(); // what the frozen page itself asked for
  expect(await own).toBeTruthy();
});

test("aborting ends a call here and at the leader", async () => {
  never.add("request");
  const [a, b] = [open("a"), open("b")];
  await pass();
  let aborted = 0;
  const call = a.engines[0]!.call;
  a.engines[0]!.call = (method, args, signal) => {
    signal?.addEventListener("abort", () => aborted++);
    return call(method, args, signal);
  };
  const abort = new AbortController();
  const asked = ask(b, "getGroups", {}, abort.signal);
  asked.catch(() => {});
  await pass();
  abort.abort();
  await expect(asked).rejects.toMatchObject({ code: "aborted" });
  await pass();
  expect(aborted).toBe(1);
  await expect(ask(b, "getGroups", {}, AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
});

test("a closed client rejects what it asked, and what it asks", async () => {
  never.add("request");
  const [, b] = [open("a"), open("b")];
  await pass();
  const asked = ask(b);
  asked.catch(() => {});
  await pass();
  await b.page.run(() => b.part.close());
  await expect(asked).rejects.toMatchObject({ code: "closed" });
  await expect(ask(b)).rejects.toMatchObject({ code: "closed" });
});

test("more than 1,000 calls of a tab are refused", async () => {
  never.add("request");
  const a = open("a");
  await pass();
  for (let i = 0; i < 1000; i++) ask(a).catch(() => {});
  await expect(ask(a)).rejects.toMatchObject({ code: "rate_limited" });
});

test("the engine hears that nobody looks once all tabs are hidden or gone, not before", async () => {
  const [a, b, c] = [open("a"), open("b"), open("c")];
  await pass();
  const told = () => a.engines[0]!.calls.filter(([method]) => method === "background").map(([, args]) => args);
  a.page.show(false);
  b.page.show(false);
  await pass(5000);
  expect(told()).toEqual([]);
  c.page.show(false);
  await pass(500);
  b.page.show(true); // from one tab to another
  await pass(5000);
  expect(told()).toEqual([]);
  b.page.crash();
  await pass(5000);
  expect(told()).toEqual([true]);
  c.page.show(true);
  await pass();
  expect(told()).toEqual([true, false]);
  a.page.freeze(); // the next leader has to learn it anew
  await pass(5000);
  expect(c.engines[0]!.calls.filter(([method]) => method === "background")).toEqual([]);
});

const jwt = (seconds: number) => `h.${btoa(JSON.stringify({ sub: "alice", exp: Math.floor(Date.now() / 1000) + seconds }))}.s`;
const why = (reason: TokenReason) => ({ reason, signal: new AbortController().signal });

test("a token that one tab got serves the login of the next leader while it is good", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  const long = jwt(3600);
  a.token = async () => long;
  b.token = async () => "b's own";
  expect(await a.page.run(() => a.engines[0]!.token(why("login")))).toBe(long);
  await pass();
  const c = open("c");
  c.token = b.token;
  await pass();
  a.page.crash();
  await pass();
  b.page.crash();
  await pass();
  const source = c.engines[0]!.token;
  expect(await source(why("login"))).toBe(long);
  expect(await source(why("refused"))).toBe("b's own");
  vi.setSystemTime(Date.now() + 3_590_000);
  expect(await source(why("login"))).toBe("b's own");
});

test("another tab is asked for a token when the leader's application has none, unless it says that there is none", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  const asked: string[] = [];
  b.token = async (reason) => (asked.push(reason), "b's");
  expect(await a.engines[0]!.token(why("expiring"))).toBe("b's");
  a.token = () => Promise.reject(new BelfryError("unauthorized"));
  await expect(a.engines[0]!.token(why("expiring"))).rejects.toMatchObject({ code: "unauthorized" });
  expect(asked).toEqual(["expiring"]);
  a.token = () => Promise.reject(new Error("no network"));
  b.page.crash();
  const late = a.page.run(() => a.engines[0]!.token(why("expiring")));
  late.catch(() => {});
  await pass(11_000);
  await expect(late).rejects.toMatchObject({ code: "aborted" });
});

test("when the tab that is asked for a token does not answer, the next one is, and first the next time", async () => {
  const [a, b, c] = [open("a"), open("b"), open("c")];
  await pass();
  const asked: string[] = [];
  const source = a.engines[0]!.token;
  let give: (() => void) | undefined;
  b.token = () => new Promise((_, reject) => (asked.push("b"), (give = () => reject(new Error("too late")))));
  c.token = async () => (asked.push("c"), `c's ${asked.length}`);
  const first = a.page.run(() => source(why("expiring")));
  await pass(9_000);
  expect(asked).toEqual(["b"]);
  await pass(2_000);
  expect(asked).toEqual(["b", "c"]);
  await expect(first).resolves.toBe("c's 2");
  give!(); // nobody waits for it any more
  await pass();
  expect(await a.page.run(() => source(why("expiring")))).toBe("c's 3");
  c.token = () => (asked.push("c"), Promise.reject(new BelfryError("unauthorized")));
  b.token = async () => "b's";
  await expect(a.page.run(() => source(why("expiring")))).rejects.toMatchObject({ code: "unauthorized" });
  c.page.crash();
  const last = a.page.run(() => source(why("expiring")));
  await pass(11_000);
  await expect(last).resolves.toBe("b's");
});

test("a tab that is frozen while it asks others for a token has none", async () => {
  const [a, b, c] = [open("a"), open("b"), open("c")];
  await pass();
  b.token = c.token = () => new Promise(() => {});
  const asked = a.page.run(() => a.engines[0]!.token(why("expiring")));
  const answer = asked.then(String, (err: unknown) => err);
  await pass(1000);
  a.page.freeze();
  await pass(30_000);
  expect(await answer).toMatchObject({ code: "offline" });
});

/** An engine stores messages; told of them or not. */
async function bring(engine: Fake, seq: number, tell: boolean): Promise<void> {
  const messages = [seq * 2, seq * 2 + 1].map((seq) => ({ id: `id ${seq}`, conv: "u:bob", from: "bob", seq, time: 1, cid: "c", body: seq }));
  await engine.store.write([
    ...messages.map((value) => ({ table: "messages" as const, key: ["u:bob", value.seq], value })),
    ...messages.map(({ conv, seq, id }) => ({ table: "meta" as const, key: ["told", seq], value: [conv, seq, id] })),
  ]);
  if (tell) messages.forEach((message) => engine.notify({ told: message.seq, event: { name: "messages", of: [message] } }));
}
const seqs = (tab: Tab) => events(tab).flatMap((of) => (of as Message[]).map(({ seq }) => seq));

test("each tab hears of each message once, also of what was stored last by a leader that crashed, or while the tab was frozen", async () => {
  const [a, b, c] = [open("a"), open("b"), open("c")];
  await pass();
  await bring(a.engines[0]!, 1, true);
  await pass();
  c.page.freeze();
  await bring(a.engines[0]!, 2, true);
  await pass();
  await bring(a.engines[0]!, 3, false);
  a.page.crash();
  await pass();
  await bring(b.engines[0]!, 4, true);
  await pass();
  expect(seqs(a)).toEqual([2, 3, 4, 5]);
  expect(seqs(b)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
  const d = open("d");
  await pass();
  c.page.thaw();
  await pass();
  await bring(b.engines[0]!, 5, true);
  await pass();
  expect(seqs(c)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  expect(seqs(d)).toEqual([10, 11]);
});

test("what was being stored when a tab was closed or frozen is told, once", async () => {
  const a = open("a");
  await pass();
  const [first] = a.engines;
  a.page.freeze();
  await bring(first!, 1, true);
  a.page.thaw();
  await pass();
  expect(seqs(a)).toEqual([2, 3]);
  const second = a.engines[1]!;
  const close = second.close;
  second.close = async () => {
    await bring(second, 2, true);
    await close();
  };
  await a.page.run(() => a.part.close());
  expect(seqs(a)).toEqual([2, 3, 4, 5]);
});

test("an engine that has closed for good ends all clients, and the next one begins anew", async () => {
  const [a, b] = [open("a"), open("b")];
  await pass();
  a.engines[0]!.notify({ status: { ...status, connection: "closed" } });
  await pass();
  for (const tab of [a, b]) {
    expect(tab.part.status().connection).toBe("closed");
    await expect(ask(tab)).rejects.toMatchObject({ code: "closed" });
  }
  open("c");
  await pass();
  expect(leaders()).toEqual(["c"]);
});

test.each(["as it writes", "before it leads"])("a tab whose store was closed %s lets another one lead", async (when) => {
  const kept = store;
  let closed = false;
  const refuse = () => Promise.reject(new StoreError("closed"));
  store = { ...kept, get: (...of) => (closed ? refuse() : kept.get(...of)), write: (...of) => (closed ? refuse() : kept.write(...of)) };
  const [a] = when === "as it writes" ? [open("a")] : [undefined];
  await pass();
  const first = a ?? (store = kept, open("first"));
  await pass();
  if (!a) store = { ...kept, get: refuse, write: refuse };
  const b = a ? (store = kept, open("b")) : open("b");
  const c = (store = kept, open("c"));
  await pass();
  closed = true;
  if (a) await write(a.engines[0]!, "x").catch(() => {});
  else first.page.crash();
  await pass();
  expect((a ? b : c).part.leader()).toBe(true);
  expect((a ?? b).part.status()).toMatchObject({ connection: "closed", error: { code: "storage" } });
});

test("without other tabs to share with, the one that opens the store last has it", async () => {
  const a = open("a", { alone: true });
  await pass();
  expect(leaders()).toEqual(["a"]);
  a.page.freeze();
  await pass();
  expect(a.engines[0]!.closed).toBe(true);
  a.page.thaw();
  await pass();
  expect(await ask(a)).toBeTruthy();
  const b = open("b", { alone: true });
  await pass();
  await expect(write(a.engines[1]!, "late")).rejects.toMatchObject({ failure: "fenced" });
  await pass();
  expect(a.part.status()).toMatchObject({ connection: "waiting", error: { code: "closed", message: expect.stringMatching(/secure context/) } });
  await write(b.engines[0]!, "by b");
  expect(leaders()).toEqual(["b"]);
});

test("without other tabs to share with, the one that somebody comes back to takes the store", async () => {
  const a = open("a", { alone: true });
  await pass();
  const b = open("b", { alone: true });
  await pass();
  await expect(write(a.engines[0]!, "late")).rejects.toMatchObject({ failure: "fenced" });
  const asked = ask(a); // waits
  await pass();
  for (const [back, other] of [[a, b], [b, a], [a, b]] as const) {
    other.page.show(false);
    back.page.show(false);
    back.page.show(true);
    await pass();
    await expect(write(other.engines.at(-1)!, "late")).rejects.toMatchObject({ failure: "fenced" });
    await pass();
    expect([leaders(), other.part.status().connection]).toEqual([[back.page.name], "waiting"]);
    await write(back.engines.at(-1)!, `by ${back.page.name}`);
  }
  expect(await asked).toBeTruthy();
});

test("whatever tabs do, one writes at a time, and once they rest one leads and every call is answered", async () => {
  const step = fc.tuple(fc.constantFrom("open", "close", "crash", "freeze", "thaw", "hang", "goOn", "show", "unshow", "ask", "write", "pass"), fc.nat(5));
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      vi.useRealTimers();
      vi.unstubAllGlobals();
      world = browser();
      store = memoryStore();
      tabs = [];
      const gone = new Set<Tab>();
      const answers: { tab: Tab; answer: Promise<unknown> }[] = [];
      const writers: Fake[] = [];
      for (const [what, n] of steps) {
        const living = tabs.filter((tab) => !gone.has(tab));
        const tab = living[n % Math.max(1, living.length)];
        if (what === "open" && living.length < 5) open(`tab ${tabs.length}`);
        else if (what === "pass") await pass(n * 3000);
        else if (!tab) continue;
        else if (what === "close") {
          tab.page.goOn();
          void tab.page.run(() => tab.part.close());
          gone.add(tab);
        } else if (what === "crash") {
          tab.page.crash();
          gone.add(tab);
        } else if (what === "show" || what === "unshow") tab.page.show(what === "show");
        else if (what === "ask") {
          const answer = ask(tab);
          answer.catch(() => {}); // of a tab that is gone by then
          answers.push({ tab, answer });
        } else if (what === "write") {
          const engine = tab.engines.at(-1);
          if (!engine) continue;
          await write(engine, "x").then(() => writers.push(engine), () => {});
        } else if (what === "freeze" || what === "thaw" || what === "hang" || what === "goOn") tab.page[what]();
        if (what !== "pass" && n > 2) await pass();
      }
      // Nobody writes again after another one has.
      const order = writers.filter((engine, i) => engine !== writers[i - 1]);
      expect(new Set(order).size).toBe(order.length);

      const living = tabs.filter((tab) => !gone.has(tab));
      for (const tab of living) {
        tab.page.goOn();
        tab.page.thaw();
        tab.page.show(true);
      }
      await pass(30_000);
      expect(living.filter((tab) => tab.part.leader())).toHaveLength(living.length ? 1 : 0);
      expect(living.flatMap((tab) => tab.engines).filter((engine) => !engine.closed)).toHaveLength(living.length ? 1 : 0);
      for (const { tab, answer } of answers) if (!gone.has(tab)) expect(await answer).toBeTruthy();
      for (const tab of living) expect(await ask(tab)).toBeTruthy();
      for (const tab of living) await tab.page.run(() => tab.part.close());
    }),
    {
      numRuns: 150,
      examples: [
        // One that slept writes before it hears that it leads no more, or answers a tab that asks who does.
        [[["open", 3], ["open", 3], ["write", 0], ["hang", 0], ["pass", 5], ["write", 1], ["write", 0], ["goOn", 0]]],
        [[["open", 3], ["open", 3], ["hang", 0], ["pass", 5], ["open", 3], ["goOn", 3], ["ask", 5], ["pass", 1]]],
        [[["open", 3], ["open", 3], ["unshow", 4], ["hang", 0], ["open", 3], ["pass", 5], ["open", 0], ["goOn", 0], ["write", 0], ["write", 1], ["write", 2]]],
      ],
    },
  );
});

test("a tab whose engine takes long to start waits for it, and takes the lock from nobody", async () => {
  const page = world.page("a");
  let starts = 0;
  const part = page.run(() =>
    shareTabs({
      name: "belfry alice", store, status, token: async () => "t",
      start: async (fenced, token) => {
        starts++;
        await new Promise((resolve) => setTimeout(resolve, 20_000));
        return fakeEngine(fenced, token);
      },
    }),
  );
  await pass(30_000);
  expect([starts, part.leader()]).toEqual([1, true]);
  await page.run(() => part.close());
});

test("an engine is the first only once in a store's life, also in a tab that leads again", async () => {
  let life = 1000;
  const starts: [first: boolean, lost: boolean][] = [];
  const page = world.page("a");
  const part = page.run(() =>
    shareTabs({
      name: "belfry alice", store: Object.assign(store, { life: () => life }), status, token: async () => "t",
      start: async (fenced, token, ...of) => {
        starts.push(of);
        return fakeEngine(fenced, token);
      },
    }),
  );
  const again = async () => {
    page.freeze();
    await pass();
    page.thaw();
    await pass();
  };
  await pass();
  await again();
  life = 5000; // the browser has cleared it
  await again();
  await again();
  expect(starts).toEqual([[true, false], [false, false], [true, true], [false, false]]);
  await page.run(() => part.close());
});

test("alone, an engine that does not start is started again", async () => {
  let starts = 0;
  const notices: Notice[] = [];
  const part = shareTabs({
    name: "belfry alice", alone: true, store, status, token: async () => "t",
    start: async (fenced, token) => {
      if (starts++ < 2) throw new TypeError("Failed to fetch dynamically imported module");
      return fakeEngine(fenced, token);
    },
  });
  part.listen((notice) => notices.push(notice));
  await pass(30_000);
  expect([starts, part.leader(), part.status().connection]).toEqual([3, true, "connecting"]);
  expect(notices.filter(({ event }) => event?.name === "error")).toHaveLength(2);
  await part.close();
});

test("a tab that is frozen while its engine starts lets the next one lead at once", async () => {
  const page = world.page("a");
  page.run(() => shareTabs({ name: "belfry alice", store, status, token: async () => "t", start: () => new Promise(() => {}) }));
  await pass();
  open("b");
  await pass();
  expect(leaders()).toEqual([]);
  page.freeze();
  await pass();
  expect(leaders()).toEqual(["b"]);
});
