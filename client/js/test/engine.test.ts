import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { BelfryError, type Client, type ClientOptions, type SendState } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { memoryStore } from "../src/memory.ts";
import { StoreError, type Store } from "../src/store.ts";
import type { Message } from "../src/wire.ts";
import { loginOK, playServer, synced, type Answer, type Peer } from "./peer.ts";

let clients: Client[] = [];
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Lets happen what needs no time. */
const settle = () => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A client whose server answers logins and what `answer` does. */
async function world(answer: Answer = () => undefined, options: Partial<ClientOptions> = {}, onLogin?: (peer: Peer) => void) {
  const logins: Record<string, unknown>[] = [];
  const server = playServer((request, peer) => {
    const special = answer(request, peer);
    if (request.op === "ping" && !options.platform) return { ok: { serverTime: Date.now() } };
    if (special || request.op !== "login") return special;
    logins.push(request.args);
    queueMicrotask(() => queueMicrotask(() => (onLogin ? onLogin(peer) : peer.push("onSynced", synced()))));
    return loginOK("alice");
  });
  const { client, events } = connect(server.WebSocket, options);
  await settle();
  return { client, events, server, logins, peer: () => server.peers.at(-1)! };
}

function connect(WebSocket: ClientOptions["WebSocket"] & {}, options: Partial<ClientOptions> = {}) {
  const client = createClient({ url: "ws://server", user: "alice", token: async () => "token", WebSocket, tabs: false, ...options });
  clients.push(client);
  const events: [name: string, of: unknown][] = [];
  for (const name of ["messages", "synced", "recall", "kicked", "storage", "error", "skipped", "typing"] as const) client.on(name, (of) => events.push([name, of]));
  return { client, events };
}

const kept = (store: Store): Partial<ClientOptions> => ({ store: async () => ({ store: { ...store, close: async () => {} } }) });
const message = (seq: number, more: Partial<Message> = {}): Message => ({
  id: `bob-${seq}`, conv: "u:bob", from: "bob", seq, time: 1000 + seq, cid: `c${seq}`, body: seq, ...more,
});
const token = (seconds: number) => `h.${btoa(JSON.stringify({ exp: Math.floor(Date.now() / 1000) + seconds }))}.s`;
const of = (events: readonly [string, unknown][], name: string) => events.filter(([n]) => n === name).map(([, e]) => e);
const sends = (peer: Peer) => peer.requests.filter(({ op }) => op === "send").map(({ args }) => args);

// Tokens and connections.

test("a token is replaced before it expires, not by all clients at once, and asked for once at a time", async () => {
  const reasons: string[] = [];
  const { peer } = await world(({ op }) => (op === "refreshToken" ? { ok: { exp: 0 } } : undefined), {
    token: async ({ reason }) => {
      reasons.push(reason);
      return token(600);
    },
  });
  await pass(479_000); // `exp` is in whole seconds
  expect(reasons).toEqual(["login"]);
  await pass(60_000);
  expect(reasons).toEqual(["login", "expiring"]);
  expect(peer().requests.filter(({ op }) => op === "refreshToken")).toHaveLength(1);
});

test("a token that the server refuses is asked for anew, as refused", async () => {
  const reasons: string[] = [];
  let good = false;
  const { client } = await world(({ op }, peer) => {
    if (op !== "login" || good) return undefined;
    queueMicrotask(() => peer.close(4401));
    return { err: { code: "unauthorized" } };
  }, {
    token: async ({ reason }) => {
      reasons.push(reason);
      return "t";
    },
  });
  expect(reasons).toEqual(["login"]);
  good = true;
  await pass(60_000);
  expect(reasons).toEqual(["login", "refused"]);
  expect(client.status.getSnapshot().connection).toBe("online");
});

test("a source that fails is asked again; one that refuses ends the client", async () => {
  const failures: unknown[] = [new Error("no network"), new Error("no network"), new BelfryError("unauthorized", "signed out")];
  let asked = 0;
  const { client, events } = await world(undefined, { token: async () => Promise.reject(failures[asked++]) });
  await pass(60_000);
  expect(asked).toBe(3);
  expect(client.status.getSnapshot()).toMatchObject({ connection: "closed", error: { code: "unauthorized", message: "signed out" } });
  expect(of(events, "error")).toHaveLength(2);
  await pass(600_000);
  expect(asked).toBe(3);
  await expect(client.request("getBlocked", {})).rejects.toMatchObject({ code: "closed" });
});

test("a token of somebody else ends the client", async () => {
  const { client } = await world(({ op }) => (op === "login" ? loginOK("mallory") : undefined));
  expect(client.status.getSnapshot()).toMatchObject({ connection: "closed", error: { code: "unauthorized" } });
});

test("a server that goes away is left alone for as long as it says", async () => {
  const { server, peer, client } = await world();
  peer().close(1001, "server going away; retry after 20000 ms");
  await settle();
  expect(client.status.getSnapshot()).toMatchObject({ connection: "waiting", synced: false, error: { code: "offline" } });
  await pass(19_999);
  expect(server.peers).toHaveLength(1);
  await pass(5_002);
  expect(server.peers).toHaveLength(2);
  expect(client.status.getSnapshot().connection).toBe("online");
});

test("attempts to connect become rarer, and begin anew after a good session", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0.999);
  const { server, peer, client } = await world();
  let attempts = 0;
  server.refuse.connections = true;
  client.status.subscribe(() => client.status.getSnapshot().connection === "connecting" && attempts++);
  peer().close(1006);
  await pass(1000);
  expect(attempts).toBe(2); // after 250 and 500 ms more
  await pass(300_000);
  expect(attempts).toBeLessThan(20);
  server.refuse.connections = false;
  await pass(40_000);
  expect(client.status.getSnapshot().synced).toBe(true);
  peer().close(1006);
  await pass(250);
  expect(client.status.getSnapshot().synced).toBe(true);
});

test("a kick ends the client, says why, and leaves the outbox", async () => {
  const { client, events, peer, server } = await world();
  peer().push("onKicked", { reason: "policy" });
  peer().close(4403);
  await settle();
  expect(of(events, "kicked")).toEqual([{ reason: "policy" }]);
  expect(client.status.getSnapshot()).toMatchObject({ connection: "closed", error: { code: "kicked", message: "policy" } });
  await pass(600_000);
  expect(server.peers).toHaveLength(1);
});

test("a silent server is pinged, and left when it does not answer", async () => {
  const { client, server, peer } = await world(undefined, { platform: "no pong" });
  await pass(25_000);
  expect(peer().requests.some(({ op }) => op === "ping")).toBe(true);
  await pass(9_900);
  expect(client.status.getSnapshot().connection).toBe("online");
  await pass(400);
  expect(server.peers).toHaveLength(2);
  expect(client.status.getSnapshot().connection).toBe("online");
});

test("an aborted call rejects at once, and its late answer is dropped", async () => {
  const { client, peer } = await world();
  const abort = new AbortController();
  const call = client.request("getGroup", { group: "g" }, { signal: abort.signal });
  await settle();
  abort.abort();
  await expect(call).rejects.toMatchObject({ code: "aborted" });
  peer().reply(peer().requests.find(({ op }) => op === "getGroup")!.id!, { ok: {} });
  await settle();
  expect(client.status.getSnapshot().connection).toBe("online");
});

test("calls without a connection reject as offline; one whose answer is lost says that it is unknown", async () => {
  const { client, peer, server } = await world();
  const call = client.request("block", { user: "bob" });
  const lost = expect(call).rejects.toMatchObject({ code: "offline", unknown: true });
  await settle();
  server.refuse.connections = true;
  peer().close(1006);
  await lost;
  await expect(client.request("getBlocked", {})).rejects.toMatchObject({ code: "offline" });
});

test("what the application throws stops nothing, and is not swallowed", async () => {
  const thrown: unknown[] = [];
  vi.spyOn(globalThis, "queueMicrotask").mockImplementation((fn) => void Promise.resolve().then(fn).catch((err: unknown) => thrown.push(err)));
  const { client, events, peer } = await world();
  client.status.subscribe(() => {
    throw new Error("in a subscriber");
  });
  client.on("messages", () => {
    throw new Error("in a handler");
  });
  client.on("messages", (messages) => events.push(["second", messages]));
  peer().push("onNewMessage", { d: 1, messages: [message(1)] });
  await settle();
  expect(of(events, "second")).toHaveLength(1);
  peer().close(1006);
  await pass(1000);
  expect(client.status.getSnapshot().synced).toBe(true);
  expect(new Set(thrown.map(String))).toEqual(new Set(["Error: in a handler", "Error: in a subscriber"]));
});

// The outbox.

test("a refused message stays refused with its code, over a restart, until it is taken back", async () => {
  const store = memoryStore();
  const refuse: Answer = ({ op }) => (op === "send" ? { err: { code: "forbidden", message: "blocked" } } : undefined);
  const { client } = await world(refuse, kept(store));
  const pending = await client.send("u:bob", "hi", { cid: "one" });
  await expect(pending.settled).resolves.toEqual({ state: "refused", code: "forbidden", message: "blocked" });
  await client.close();
  const again = await world(undefined, kept(store));
  expect(again.client.status.getSnapshot().outbox).toBe(0);
  expect(sends(again.peer())).toEqual([]);
  expect((await again.client.exportTrace()).outbox).toMatchObject([{ cid: "one", refused: "forbidden" }]);
  expect(await again.client.cancel("u:bob", "one")).toBe(true);
  expect((await again.client.exportTrace()).outbox).toEqual([]);
});

test("passing refusals keep a message queued and in its place", async () => {
  let open = false;
  let seq = 0;
  const { client, peer } = await world(({ op }) => {
    if (op !== "send") return undefined;
    return open ? { ok: { id: `i${++seq}`, seq, time: 1 } } : { err: { code: "unavailable", retryAfterMs: 5000 } };
  });
  const states: Promise<SendState>[] = [];
  for (const body of [1, 2, 3]) states.push((await client.send("u:bob", body)).settled);
  await pass(4000);
  expect(sends(peer()).map((args) => args.body)).toEqual([1]);
  open = true;
  await pass(3000);
  expect(sends(peer()).map((args) => args.body)).toEqual([1, 1, 2, 3]);
  expect((await Promise.all(states)).map((s) => s.state === "stored" && s.seq)).toEqual([1, 2, 3]);
});

test("conversations do not wait for each other", async () => {
  const { client, peer } = await world();
  await client.send("u:bob", 1);
  await client.send("u:bob", 2);
  await client.send("u:carol", 3);
  await settle();
  expect(sends(peer()).map((args) => args.body)).toEqual([1, 3]);
});

test("a repeat has the same cid, and is marked once the first is older than a minute", async () => {
  const { client, server, peer } = await world();
  await client.send("u:bob", "hi");
  await settle();
  const [first] = sends(peer());
  server.peers.at(-1)!.close(1006);
  await pass(30_000);
  const [second] = sends(peer());
  server.refuse.connections = true;
  peer().close(1006);
  await pass(60_000);
  server.refuse.connections = false;
  await pass(31_000);
  const [third] = sends(peer());
  expect([second, third]).toEqual([first, { ...first, retry: true }]);
});

test("a message whose answer was lost is settled by its push, and shown to no handler", async () => {
  let since: unknown;
  const { client, events, peer } = await world(undefined, {}, (p) => {
    if (since) p.push("onNewMessage", { d: 1, messages: [message(1, { from: "alice", cid: "mine", id: "x", body: "hi" })], cursor: "c2" });
    p.push("onSynced", synced());
    since = true;
  });
  const pending = await client.send("u:bob", "hi", { cid: "mine" });
  await settle();
  peer().close(1006);
  await pass(1000);
  await expect(pending.settled).resolves.toMatchObject({ state: "stored", seq: 1, id: "x" });
  expect(of(events, "messages")).toEqual([]);
  expect(client.status.getSnapshot().outbox).toBe(0);
});

test("a message that was never written can be taken back, one that was cannot", async () => {
  const { client, server, peer } = await world();
  const written = await client.send("u:bob", 1);
  await settle();
  expect(await written.cancel()).toBe(false);
  server.refuse.connections = true;
  peer().close(1006);
  await settle();
  const waiting = await client.send("u:carol", 2);
  expect(await waiting.cancel()).toBe(true);
  server.refuse.connections = false;
  await pass(60_000);
  expect(sends(peer()).map((args) => args.body)).toEqual([1]);
});

test("what is no body is refused before it is stored", async () => {
  const { client } = await world();
  const deep = JSON.parse("[".repeat(33) + "]".repeat(33)) as never;
  for (const body of [NaN, 2n ** 64n, new Date() as never, undefined as never, "\ud800", { $bin: "x" }, deep, [() => 1] as never]) {
    await expect(client.send("u:bob", body)).rejects.toMatchObject({ code: "bad_request" });
  }
  await expect(client.send("bob", 1)).rejects.toMatchObject({ code: "bad_request" });
  await expect(client.send("u:bob", 1, { ttl: 0 })).rejects.toMatchObject({ code: "bad_request" });
  await client.send("u:bob", JSON.parse("[".repeat(32) + "]".repeat(32)) as never);
});

test("a frame that is too large is refused without being sent", async () => {
  const { client, peer } = await world();
  const pending = await client.send("u:bob", "x".repeat(100_000));
  await expect(pending.settled).resolves.toMatchObject({ state: "refused", code: "too_large" });
  expect(sends(peer())).toEqual([]);
});

test("when 1,000 messages wait, a further one is refused", async () => {
  const { client, server, peer } = await world();
  server.refuse.connections = true;
  peer().close(1006);
  await settle();
  const all = await Promise.allSettled(Array.from({ length: 1001 }, (_, i) => client.send("u:bob", i)));
  expect(all.filter(({ status }) => status === "rejected")).toMatchObject([{ reason: { code: "rate_limited" } }]);
});

// What is pushed.

test("a device goes on from its cursors, and from none that it has not proven", async () => {
  const store = memoryStore();
  const first = await world(undefined, kept(store), (peer) => {
    peer.push("onNewMessage", { d: 1, messages: [message(1)], cursor: "c1" });
    peer.push("onNewMessage", { d: 2, messages: [message(1, { conv: "g:team", id: "t1" })], groupCursors: { team: "t1" } });
    peer.push("onSynced", synced({ cursor: "c2" }));
  });
  await first.client.close();
  const second = await world(undefined, kept(store), () => {});
  expect(second.logins).toMatchObject([{ since: "c2", groups: { team: "t1" } }]);
  // A sync of a server that did not know c2 gives its one cursor in its last frame.
  second.peer().push("onNewMessage", { d: 1, messages: [message(2)], cursor: "c3" });
  await settle();
  await second.client.close();
  const third = await world(undefined, kept(store), () => {});
  expect(third.logins).toMatchObject([{ since: "c2" }]);
  third.peer().push("onNewMessage", { d: 1, messages: [message(3)], cursor: "c4" });
  third.peer().push("onNewMessage", { d: 2, messages: [message(4)], cursor: "c5" });
  await settle();
  await third.client.close();
  const fourth = await world(undefined, kept(store));
  expect(fourth.logins).toMatchObject([{ since: "c5" }]);
});

test("another epoch: what this session did not bring is gone, what it brought is there once", async () => {
  const store = memoryStore();
  const before = await world(undefined, kept(store), (peer) => {
    peer.push("onNewMessage", { d: 1, messages: [message(1), message(2), message(3), message(1, { conv: "u:carol", id: "old" })], cursor: "c" });
    peer.push("onSynced", synced());
  });
  await before.client.close();
  // After a restore from a backup seq 2 is another message.
  const { client, events } = await world(undefined, kept(store), (peer) => {
    peer.push("onNewMessage", { d: 1, messages: [message(1), message(2, { id: "other", body: "new" })] });
    peer.push("onSynced", synced({ cursor: "d", reset: true }));
  });
  expect(of(events, "messages")).toEqual([[expect.objectContaining({ id: "other" })]]);
  expect((await client.localMessages("u:bob")).messages.map(({ id }) => id)).toEqual(["bob-1", "other"]);
  expect((await client.localMessages("u:carol")).messages).toEqual([]);
});

test("a refused cursor of one group costs that group alone, but for what the session brought", async () => {
  const store = memoryStore();
  const said = (group: string, seq: number) => message(seq, { conv: `g:${group}`, id: `${group}-${seq}` });
  const before = await world(undefined, kept(store), (peer) => {
    peer.push("onNewMessage", { d: 1, messages: [message(1)], cursor: "c" });
    peer.push("onNewMessage", { d: 2, messages: [said("team", 1), said("team", 2), said("all", 1)], groupCursors: { team: "bad", all: "good" } });
    peer.push("onSynced", synced());
  });
  await before.client.close();
  const { client, events, logins } = await world(undefined, kept(store), (peer) => {
    peer.push("onNewMessage", { d: 1, messages: [message(2)], cursor: "c2" });
    peer.push("onNewMessage", { d: 2, messages: [message(3)], cursor: "c3" });
    peer.push("onNewMessage", { d: 3, messages: [said("team", 2), said("team", 3), said("all", 2)], groupCursors: { all: "all2" } });
    const entry = { conv: "g:team", lastSeq: 3, time: 1003, readSeq: 0, unread: 3, cursor: "new" };
    peer.push("onSynced", synced({ cursor: "c3", reset: true, resetGroups: ["team"], groups: [entry] }));
  });
  await pass(1000);
  expect(logins).toMatchObject([{ since: "c", groups: { team: "bad", all: "good" } }]);
  const local = async (conv: string) => (await client.localMessages(conv)).messages.map(({ id }) => id);
  expect(await local("u:bob")).toEqual(["bob-1", "bob-2", "bob-3"]);
  expect(await local("g:team")).toEqual(["team-2", "team-3"]);
  expect(await local("g:all")).toEqual(["all-1", "all-2"]);
  expect((of(events, "messages") as Message[][]).flat().map(({ id }) => id)).toEqual(["bob-2", "bob-3", "team-3", "all-2"]);
  expect(client.status.getSnapshot().synced).toBe(true);
  await client.close();
  const after = await world(undefined, kept(store));
  expect(after.logins).toMatchObject([{ since: "c3", groups: { team: "new", all: "all2" } }]);
});

test("a group that counts no unread counts none, as long as it is set so, in later sessions too", async () => {
  const store = memoryStore();
  const said = (seq: number) => message(seq, { conv: "g:hall", id: `h${seq}` });
  const event = (more: object) => ({ group: "hall", by: "bob", time: 5, ...more });
  const first = await world(undefined, kept(store), (peer) => {
    peer.push("onSynced", synced());
    peer.push("onGroupEvent", event({ event: "joined", users: ["alice"], cursor: "h0", counts: false }));
    peer.push("onNewMessage", { d: 1, messages: [said(1)], groupCursors: { hall: "h1" } });
  });
  const unread = async (of: Client) => {
    of.conversations().subscribe(() => {});
    await settle();
    return of.conversations().getSnapshot().list.find(({ conv }) => conv === "g:hall")?.unread;
  };
  await settle();
  expect(await unread(first.client)).toBe(0);
  await first.client.close();

  const { client, peer } = await world(undefined, kept(store));
  peer().push("onNewMessage", { d: 1, messages: [said(2)], groupCursors: { hall: "h2" } });
  peer().push("onGroupEvent", event({ event: "roleChanged", users: ["bob"] }));
  peer().push("onNewMessage", { d: 2, messages: [said(3)], groupCursors: { hall: "h3" } });
  await settle();
  expect(await unread(client)).toBe(0);
  peer().push("onGroupEvent", event({ event: "changed" })); // it counts now: what is above the read cursor
  await settle();
  expect(await unread(client)).toBe(3);
  peer().push("onNewMessage", { d: 3, messages: [said(4)], groupCursors: { hall: "h4" } });
  await settle();
  expect(await unread(client)).toBe(4);
  peer().push("onGroupEvent", event({ event: "changed", counts: false }));
  await settle();
  expect(await unread(client)).toBe(0);
  await client.close();

  // What a login says of it holds, whatever was known before.
  const entry = { conv: "g:hall", lastSeq: 4, time: 1004, readSeq: 0, unread: 4, cursor: "h4" };
  const counting = await world(undefined, kept(store), (to) => to.push("onSynced", synced({ groups: [entry] })));
  counting.peer().push("onNewMessage", { d: 1, messages: [said(5)], groupCursors: { hall: "h5" } });
  await settle();
  expect(await unread(counting.client)).toBe(5);
});

test("lost messages are gaps until history has them", async () => {
  const { client } = await world(
    ({ op, args }) => (op === "getMessage" ? { ok: { messages: [message(2), message(3)], gaps: [], from: 2, to: 3, more: false, ...args } } : undefined),
    {},
    (peer) => {
      peer.push("onNewMessage", { d: 1, messages: [message(1), message(5)] });
      peer.push("onSynced", synced({ lost: [{ conv: "u:bob", from: 2, to: 3, count: 2 }] }));
    },
  );
  expect((await client.localMessages("u:bob")).gaps).toEqual([
    { from: 2, to: 3, reason: "lost" },
    { from: 4, to: 4, reason: "unknown" },
  ]);
  const page = await client.getMessages("u:bob", { range: [2, 3] });
  expect(page).toMatchObject({ gaps: [], from: 2, to: 3 });
  expect((await client.localMessages("u:bob")).gaps).toEqual([{ from: 4, to: 4, reason: "unknown" }]);
});

test("what two ask for at once is fetched once", async () => {
  const { client, peer } = await world(
    ({ op, args }) => (op === "getMessage" ? { ok: { messages: [1, 2, 3].map((seq) => message(seq)), gaps: [], from: 1, to: 3, more: false, ...args } } : undefined),
    {},
    (p) => {
      p.push("onNewMessage", { d: 1, messages: [message(4)] });
      p.push("onSynced", synced());
    },
  );
  const pages = await Promise.all([1, 2, 3].map(() => client.getMessages("u:bob", { limit: 4 })));
  expect(pages.map(({ messages }) => messages.length)).toEqual([4, 4, 4]);
  expect(peer().requests.filter(({ op }) => op === "getMessage").map(({ args }) => args)).toEqual([{ conv: "u:bob", before: 4, limit: 3 }]);
});

test("a message that was appended while the outbox could not be read is sent all the same", async () => {
  const store = memoryStore();
  let readable = true;
  const { client, peer } = await world(({ op }) => (op === "send" ? { ok: { id: "i", seq: 1, time: 1 } } : undefined), {
    store: async () => ({
      store: {
        ...store,
        close: async () => {},
        list: (table, range) => (table === "outbox" && !readable ? Promise.reject(new StoreError("broken")) : store.list(table, range)),
      },
    }),
  });
  readable = false;
  const pending = await client.send("u:bob", 1);
  await settle();
  expect(sends(peer())).toEqual([]);
  readable = true;
  peer().close(1006);
  await pass(1000);
  await expect(pending.settled).resolves.toMatchObject({ state: "stored" });
});

test("a recall takes the message from history and list; a deletion survives a later fetch", async () => {
  const { client, peer } = await world(({ op }) =>
    op === "getMessage" ? { ok: { messages: [message(1), message(2), message(3)], gaps: [], from: 1, to: 3, more: false } } : undefined, {}, (p) => {
    p.push("onNewMessage", { d: 1, messages: [message(2), message(3)] });
    p.push("onSynced", synced());
  });
  client.conversations().subscribe(() => {});
  peer().push("onRecall", { conv: "u:bob", ranges: [[3, 3]], by: "bob" });
  await settle();
  expect(list(client)).toMatchObject([{ conv: "u:bob", lastSeq: 2, last: { seq: 2 } }]);
  await client.deleteMessages("u:bob", [1, 2], { local: true });
  await settle();
  expect(list(client)).toEqual([]);
  const page = await client.getMessages("u:bob");
  expect(page.messages).toEqual([]);
  expect(page.gaps).toEqual([{ from: 1, to: 2, reason: "deleted" }, { from: 3, to: 3, reason: "recalled" }]);
  expect(peer().requests.filter(({ op }) => op === "getMessage")).toEqual([]);
});

/** The list as a view has it. */
function list(client: Client) {
  const view = client.conversations();
  return view.getSnapshot().list;
}

test("deleting a conversation takes it off the list, and a new message brings it back", async () => {
  const { client, peer } = await world(undefined, {}, (p) => {
    p.push("onNewMessage", { d: 1, messages: [message(1), message(2)] });
    p.push("onSynced", synced());
  });
  client.conversations().subscribe(() => {});
  await settle();
  expect(list(client)).toHaveLength(1);
  peer().push("onConversationDeleted", { conv: "u:bob", messages: true, upTo: 2 });
  await settle();
  expect(list(client)).toEqual([]);
  expect(await client.localMessages("u:bob")).toMatchObject({ messages: [], gaps: [{ from: 1, to: 2, reason: "deleted" }] });
  peer().push("onNewMessage", { d: 2, messages: [message(3)] });
  await settle();
  expect(list(client)).toMatchObject([{ lastSeq: 3 }]);
});

test("a message with a ttl is gone from history and list when its time is over", async () => {
  const { client, peer } = await world(undefined);
  client.conversations().subscribe(() => {});
  peer().push("onNewMessage", { d: 1, messages: [message(1), message(2, { ttl: 60, time: Date.now() })] });
  await settle();
  await pass(59_000);
  expect(list(client)).toMatchObject([{ lastSeq: 2 }]);
  await pass(1500);
  expect(list(client)).toMatchObject([{ lastSeq: 1 }]);
  expect(await client.localMessages("u:bob")).toMatchObject({ messages: [{ seq: 1 }], gaps: [{ from: 2, to: 2, reason: "expired" }] });
});

test("unread follows pushes, reports and logins", async () => {
  const { client, peer } = await world(({ op }) => (op === "readReport" ? { ok: { unread: 1 } } : undefined), { manualRead: true }, (p) => {
    p.push("onNewMessage", { d: 1, messages: [message(1), message(2)] });
    p.push("onSynced", synced({ conversations: [{ conv: "u:bob", lastSeq: 2, time: 1, readSeq: 0, unread: 2 }] }));
  });
  client.conversations().subscribe(() => {});
  await settle();
  const unread = () => client.conversations().getSnapshot().unreadTotal;
  expect(unread()).toBe(2);
  peer().push("onNewMessage", { d: 2, messages: [message(3), message(4, { from: "alice" })] });
  await settle();
  expect(unread()).toBe(3);
  await client.readReport("u:bob", 2);
  expect(unread()).toBe(1);
  expect(list(client)).toMatchObject([{ readSeq: 2, unread: 1 }]);
  peer().push("onReadReport", { conv: "u:bob", seq: 4 });
  await settle();
  expect(unread()).toBe(0);
});

test("ephemeral messages are handed over and stored nowhere", async () => {
  const { client, events, peer } = await world();
  const { seq: _, ...rest } = message(1);
  peer().push("onNewMessage", { d: 1, messages: [{ ...rest, ephemeral: true }], skipped: 3 });
  await settle();
  expect(of(events, "messages")).toHaveLength(1);
  expect(of(events, "skipped")).toEqual([3]);
  expect((await client.localMessages("u:bob")).messages).toEqual([]);
});

// Storage.

test("without storage nothing is kept but what tells new from old", async () => {
  for (const options of [{ withoutStorage: true }, {}]) {
    const { client, events, peer } = await world(({ op }) =>
      op === "getMessage" ? { ok: { messages: [message(1)], gaps: [], from: 1, to: 1, more: false } } : undefined, options);
    if (!options.withoutStorage) await client.disableStorage("u:bob");
    peer().push("onNewMessage", { d: 1, messages: [message(1)] });
    peer().push("onNewMessage", { d: 2, messages: [message(1), message(2)] });
    await settle();
    expect(of(events, "messages")).toMatchObject([[{ seq: 1 }], [{ seq: 2 }]]);
    expect((await client.localMessages("u:bob")).messages).toEqual([]);
    expect((await client.getMessages("u:bob")).messages).toMatchObject([{ seq: 1 }]);
    expect((await client.localMessages("u:bob")).messages).toEqual([]);
  }
});

test("a full store makes room by forgetting old rows, says so, and goes on", async () => {
  const store = memoryStore();
  let room = true;
  const full: Store = {
    ...store,
    close: async () => {},
    write: (changes) => {
      const adds = changes.some((change) => change.table === "messages" && "value" in change);
      if (!room && adds) throw new StoreError("quota");
      if (changes.some((change) => change.table === "messages" && "remove" in change)) room = true;
      return store.write(changes);
    },
  };
  const { client, events, peer } = await world(undefined, { store: async () => ({ store: full }) }, (p) => {
    for (let d = 1; d <= 5; d++) p.push("onNewMessage", { d, messages: Array.from({ length: 60 }, (_, i) => message((d - 1) * 60 + i + 1)), cursor: `c${d}` });
    p.push("onSynced", synced());
  });
  room = false;
  peer().push("onNewMessage", { d: 6, messages: [message(301)], cursor: "c6" });
  await settle();
  expect(of(events, "storage")).toEqual([{ durability: "memory", cause: "quota" }, { durability: "memory" }]);
  expect(client.status.getSnapshot().storage).toEqual({ durability: "memory" });
  const page = await client.localMessages("u:bob", { limit: 100 });
  expect(page.messages.at(-1)).toMatchObject({ seq: 301 });
  expect((await client.localMessages("u:bob", { range: [1, 101] })).gaps).toEqual([{ from: 1, to: 100, reason: "unknown" }]);
  expect(peer().requests.filter(({ op }) => op === "ack").at(-1)!.args).toEqual({ d: 6 });
});

test("a store that lost a part is filled again from the server, as a new device's", async () => {
  const store = memoryStore();
  const before = await world(undefined, kept(store), (peer) => {
    peer.push("onNewMessage", { d: 1, messages: [message(1), message(2)], cursor: "c" });
    peer.push("onSynced", synced({ conversations: [{ conv: "u:bob", lastSeq: 2, time: 1, readSeq: 2 }] }));
  });
  await before.client.close();
  await store.write([{ table: "messages", remove: { from: ["u:bob", 1], to: ["u:bob", 2] } }, { table: "meta", remove: {} }]);
  const asked: unknown[] = [];
  const { client, events, logins } = await world(
    ({ op, args }) => (op === "getMessage" && asked.push(args) ? { ok: { messages: [message(1), message(2)], gaps: [], from: 1, to: 2, more: false } } : undefined),
    { store: async () => ({ store: { ...store, close: async () => {} }, lost: true }) },
  );
  expect(logins[0]).not.toHaveProperty("since");
  expect(of(events, "storage")).toMatchObject([{ lost: true }]);
  expect((await client.getMessages("u:bob")).messages).toHaveLength(2);
  expect(asked).toHaveLength(1);
});

test("what was lost is filled again once, whoever leads later", async () => {
  const store = memoryStore();
  const lost: Partial<ClientOptions> = { device: "d", store: async () => ({ store: { ...store, close: async () => {} }, lost: true }) };
  const first = await world(undefined, lost, (peer) => {
    peer.push("onNewMessage", { d: 1, messages: [message(1), message(2)], cursor: "c" });
    peer.push("onSynced", synced({ conversations: [{ conv: "u:bob", lastSeq: 2, time: 1, readSeq: 2 }] }));
  });
  await first.client.close();
  const { client, logins, events, peer } = await world(undefined, lost);
  expect(logins[0]).toMatchObject({ since: "c" });
  expect((await client.getMessages("u:bob")).messages).toHaveLength(2);
  expect(peer().requests.filter(({ op }) => op === "getMessage")).toEqual([]);
  expect(of(events, "storage")).toMatchObject([{ lost: true }]);
});

test("what is imported is there by its seq, and what was there stays", async () => {
  const { client, peer } = await world();
  peer().push("onNewMessage", { d: 1, messages: [message(2)] });
  await settle();
  await client.importMessages([message(1, { body: { text: "Old news" } }), message(2, { body: "another" })]);
  expect((await client.localMessages("u:bob")).messages.map(({ body }) => body)).toEqual([{ text: "Old news" }, 2]);
  expect(await client.findMessage("u:bob", 1)).toMatchObject({ seq: 1 });
  expect(await client.searchLocal("NEW")).toMatchObject([{ seq: 1 }]);
  expect(await client.searchLocal("ew", { mode: "words" })).toEqual([]);
  expect(await client.searchLocal("ld NE", { mode: "substring" })).toMatchObject([{ seq: 1 }]);
  expect(await client.searchLocal("new", { conv: "u:carol" })).toEqual([]);
});

test("what is imported says nothing of newer messages", async () => {
  const { client } = await world(({ op, args }) =>
    op === "getMessage" ? { ok: args.after === 1 ? { messages: [message(2)], gaps: [], from: 2, to: 2, more: false } : { messages: [], gaps: [], from: 0, to: 0, more: false } } : undefined);
  await client.importMessages([message(1)]);
  expect((await client.getMessages("u:bob")).messages.map(({ seq }) => seq)).toEqual([1, 2]);
  await expect(client.importMessages([message(0)])).rejects.toMatchObject({ code: "bad_request" });
});

test("what comes while a deletion is on its way stays", async () => {
  const { client, peer } = await world(undefined, {}, (p) => {
    p.push("onNewMessage", { d: 1, messages: [message(1)] });
    p.push("onSynced", synced());
  });
  const deletion = client.deleteConversation("u:bob", { messages: true });
  await settle();
  peer().push("onNewMessage", { d: 2, messages: [message(2)] });
  peer().reply(peer().requests.find(({ op }) => op === "deleteConversation")!.id!, { ok: {} });
  await deletion;
  expect(await client.localMessages("u:bob")).toMatchObject({ messages: [{ seq: 2 }], gaps: [{ from: 1, to: 1, reason: "deleted" }] });
});

test("of refused messages the newest 200 are kept", async () => {
  const { client } = await world(({ op }) => (op === "send" ? { err: { code: "forbidden" } } : undefined));
  for (let i = 0; i < 205; i++) await (await client.send("u:bob", i, { cid: `c${i}` })).settled;
  const { outbox } = await client.exportTrace();
  expect(outbox.map(({ cid }) => cid)).toEqual(Array.from({ length: 200 }, (_, i) => `c${i + 5}`));
});

test("what was received is read, where nothing says otherwise", async () => {
  const { client } = await world(undefined, {}, (p) => {
    p.push("onNewMessage", { d: 1, messages: [message(1), message(2)] });
    p.push("onSynced", synced({ conversations: [{ conv: "u:bob", lastSeq: 2, time: 1, readSeq: 0, unread: 2 }] }));
  });
  client.conversations().subscribe(() => {});
  await settle();
  expect(list(client)).toMatchObject([{ unread: 0, readSeq: 2 }]);
});

test("signing out erases the store and ends the client", async () => {
  const store = memoryStore();
  let erased = false;
  const { client, peer } = await world(({ op }) => (op === "logout" ? { ok: {} } : undefined), {
    store: async () => ({ store: { ...store, erase: async () => void (erased = true), close: async () => {} } }),
  });
  await client.signOut();
  expect(erased).toBe(true);
  expect(peer().requests.at(-1)).toMatchObject({ op: "logout" });
  expect(client.status.getSnapshot().connection).toBe("closed");
  await expect(client.send("u:bob", 1)).rejects.toMatchObject({ code: "closed" });
});

test("the trace has frames without bodies or tokens", async () => {
  const { client } = await world(({ op }) => (op === "send" ? { ok: { id: "i", seq: 1, time: 1 } } : undefined), { token: async () => "secret-token" });
  await (await client.send("u:bob", "secret body")).settled;
  const trace = await client.exportTrace();
  expect(JSON.stringify(trace)).not.toContain("secret");
  expect(trace.frames.map(([, direction, what]) => `${direction} ${what}`)).toEqual(expect.arrayContaining(["out login", "in ok", "in onSynced", "out send"]));
  for (let i = 0; i < 600; i++) client.typing("u:bob");
  await settle();
  expect((await client.exportTrace()).frames).toHaveLength(500);
});
