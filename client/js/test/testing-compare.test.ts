/** The fake server against the real one: the same frames go in, the same have to come out. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";

import type { WebSocketConstructor } from "../src/api.ts";
import { createFakeServer } from "../src/testing.ts";
import { startBelfry, type Server } from "./belfry.ts";
import { Device, type Push, type Reply } from "./device.ts";

/** A server, as a scenario sees it. */
interface World {
  /** Connects a device and logs it in. Returns what that pushed, up to onSynced. */
  login(user: string, device: string, args?: object): Promise<void>;
  /** Sends a request of a device and notes the answer, and what all devices were pushed since. */
  ask(device: string, op: string, args?: object): Promise<void>;
  /** Acks all that a device was pushed. */
  ack(device: string): Promise<void>;
  drop(device: string): Promise<void>;
  /** The cursors that a device holds. */
  since(device: string): object;
}

type Scenario = (w: World) => Promise<void>;

/** What a scenario came to: answers in order, and what each device was pushed. */
interface Transcript {
  readonly answers: string[];
  readonly pushes: Record<string, string[]>;
  /** How many pushes each device had after each step. */
  readonly steps: Record<string, number>[];
}

interface Side {
  readonly WebSocket: WebSocketConstructor;
  readonly url: string;
  readonly token: (user: string) => string;
  /** Makes names of users and groups this run's own. */
  readonly prefix: string;
  /** The other side's: after each step every device is waited for until it has had as many pushes. */
  readonly like?: Transcript;
}

/** Runs a scenario, with names instead of what servers make up. */
async function play(scenario: Scenario, { WebSocket, url, token, prefix, like }: Side): Promise<Transcript> {
  const answers: string[] = [];
  const pushes: Record<string, string[]> = {};
  const steps: Record<string, number>[] = [];
  const devices = new Map<string, Device>();
  const held = new Map<string, { since?: string; groups: Record<string, string> }>();
  const acked = new Map<string, number>();
  const ids = new Map<string, string>();

  const plain = (v: unknown, key = ""): unknown => {
    if (typeof v === "string" && key === "id") return ids.get(v) ?? "not yet answered";
    if (key === "time" || key === "serverTime" || key === "lastSeen") return typeof v === "number" && v > 0 ? "time" : v;
    if (key === "cursor") return "cursor";
    if (key === "message") return undefined;
    if (typeof v === "string") return v.length > 200 ? `${v.length} characters` : v.replaceAll(prefix, "");
    if (Array.isArray(v)) return v.map((e) => plain(e));
    if (typeof v !== "object" || v === null) return v;
    const fields = Object.entries(v).map(([k, e]) => [k.replaceAll(prefix, ""), plain(e, k)] as const);
    return Object.fromEntries(fields.filter(([, e]) => e !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  const named = (args: object): object => JSON.parse(JSON.stringify(args).replaceAll(/"(u:|g:)?@/g, `"$1${prefix}`)) as object;

  /** Notes messages one by one: how they lie in frames is the server's choice, and when cursors come. */
  const take = (name: string, { op, args }: Push): void => {
    const of = held.get(name) ?? { groups: {} };
    held.set(name, of);
    if (typeof args["cursor"] === "string" && op !== "onGroupEvent") of.since = args["cursor"];
    Object.assign(of.groups, args["groupCursors"]);
    if (op === "onNewMessage") acked.set(name, Number(args["d"]));
    for (const list of [args["conversations"], args["groups"]]) {
      for (const c of Array.isArray(list) ? (list as { conv: string; cursor?: string }[]) : []) if (c.cursor !== undefined) of.groups[c.conv.slice(2)] = c.cursor;
    }
    const each = op === "onNewMessage" ? (args["messages"] as unknown[]) : [args];
    (pushes[name] ??= []).push(...each.map((e) => `${op} ${JSON.stringify(plain(e))}`));
  };
  const settle = async (): Promise<void> => {
    const wanted = like?.steps[steps.length] ?? {};
    for (const [name, device] of devices) {
      await device.until(`${wanted[name]} pushes to ${name}, step ${steps.length}: ${answers.at(-1)}\n${JSON.stringify(pushes[name], null, 1)}`, () => {
        for (const push of device.take()) take(name, push);
        return (pushes[name]?.length ?? 0) >= (wanted[name] ?? 0);
      });
    }
    for (const [name, device] of devices) {
      await device.request("ping");
      for (const push of device.take()) take(name, push);
    }
    steps.push(Object.fromEntries([...devices.keys()].map((name) => [name, pushes[name]?.length ?? 0])));
  };
  const answer = (reply: Reply): string => {
    if (!("ok" in reply)) return `refused ${reply.err.code}`;
    const { id } = reply.ok;
    if (typeof id === "string" && !ids.has(id)) ids.set(id, `id${ids.size + 1}`);
    return JSON.stringify(plain(reply.ok));
  };

  try {
    await scenario({
      async login(user, name, args = {}) {
        const device = await Device.connect(WebSocket, url);
        const reply = await device.request("login", { token: token(prefix + user), device: name, ...named(args) });
        answers.push(`${name} login ${"ok" in reply ? "ok" : reply.err.code}`);
        if ("ok" in reply) {
          await device.until("onSynced", () => device.pushes.some((p) => p.op === "onSynced"));
          devices.set(name, device);
        }
        await settle();
      },
      async ask(name, op, args = {}) {
        const reply = await devices.get(name)?.request(op, named(args));
        answers.push(`${name} ${op} ${JSON.stringify(args).slice(0, 200)} → ${reply === undefined ? "?" : answer(reply)}`);
        await settle();
      },
      async ack(name) {
        const d = acked.get(name);
        if (d !== undefined) devices.get(name)?.notice("ack", { d });
        await settle();
      },
      async drop(name) {
        const device = devices.get(name);
        devices.delete(name);
        device?.close();
        await device?.until("closed", () => device.closed !== undefined);
      },
      since: (name) => ({ since: held.get(name)?.since, groups: { ...held.get(name)?.groups } }),
    });
  } finally {
    for (const device of devices.values()) device.close();
  }
  return { answers, pushes, steps };
}

const scenarios: Record<string, Scenario> = {
  async "offline messages, acks and a second device"(w) {
    await w.login("alice", "A");
    for (const n of [1, 2, 3]) await w.ask("A", "send", { conv: "u:@bob", cid: `m${n}`, body: { n } });
    await w.login("bob", "B1");
    await w.ask("B1", "getMessage", { conv: "u:@alice" });
    await w.ack("B1");
    await w.login("bob", "B2");
    await w.ask("B2", "getMessage", { conv: "u:@alice", limit: 2 });
    await w.ask("B2", "getMessage", { conv: "u:@alice", before: 2 });
    await w.ask("B2", "getMessage", { conv: "u:@alice", after: 1, limit: 1 });
    await w.ask("B2", "getMessage", { conv: "u:@alice", range: [2, 9] });
    await w.ask("B2", "getMessage", { conv: "u:@alice", before: 1 });
    await w.ask("B2", "getMessage", { conv: "u:@nobody" });
    await w.ask("B2", "send", { conv: "u:@alice", cid: "b1", body: "hi" });
  },
  async "manual reads, receipts and resuming"(w) {
    await w.login("alice", "A");
    for (const n of [1, 2, 3]) await w.ask("A", "send", { conv: "u:@bob", cid: `m${n}`, body: n });
    await w.login("bob", "B1", { autoRead: false });
    await w.ack("B1");
    await w.ask("B1", "readReport", { conv: "u:@alice", seq: 2 });
    await w.login("bob", "B2", { autoRead: false });
    await w.ask("B2", "readReport", { conv: "u:@alice", seq: 3 });
    await w.ask("B2", "readReport", { conv: "u:@alice", seq: 3 });
    await w.ask("B2", "readReport", { conv: "u:@alice", seq: 1 });
    await w.ask("B2", "readReport", { conv: "u:@nobody", seq: 1 });
    const since = w.since("B1");
    await w.drop("B1");
    await w.ask("A", "send", { conv: "u:@bob", cid: "m4", body: 4 });
    await w.ask("B2", "send", { conv: "u:@alice", cid: "b1", body: "yes" });
    await w.ask("B2", "readReport", { conv: "u:@alice", seq: 9 });
    await w.login("bob", "B1", { autoRead: false, ...since });
    await w.login("alice", "A2", { recents: "quiet" });
    await w.login("alice", "A3", { recents: "off" });
    await w.login("bob", "B3", { since: "nonsense" });
  },
  async "recall, deletion and gaps"(w) {
    await w.login("alice", "A");
    await w.login("bob", "B");
    for (const n of [1, 2, 3, 4, 5, 6]) await w.ask("A", "send", { conv: "u:@bob", cid: `m${n}`, body: n });
    const since = w.since("B");
    await w.ack("B");
    await w.drop("B");
    await w.ask("A", "recall", { conv: "u:@bob", seq: 2 });
    await w.ask("A", "recall", { conv: "u:@bob", seq: 2 });
    await w.ask("A", "recall", { conv: "u:@bob", seq: 9 });
    await w.login("bob", "B2");
    await w.ask("B2", "recall", { conv: "u:@alice", seq: 3 });
    await w.ask("B2", "deleteMessage", { conv: "u:@alice", seqs: [5, 3, 6] });
    await w.ask("B2", "deleteMessage", { conv: "u:@alice", seqs: [7] });
    await w.ask("B2", "getMessage", { conv: "u:@alice" });
    await w.ask("B2", "getMessage", { conv: "u:@alice", limit: 1 });
    await w.ask("B2", "getMessage", { conv: "u:@alice", after: 1, limit: 1 });
    await w.ask("B2", "getMessage", { conv: "u:@alice", range: [2, 3] });
    await w.ask("B2", "getRecents");
    await w.login("bob", "B", since);
    await w.ask("B", "deleteConversation", { conv: "u:@alice", messages: true });
    await w.ask("B", "getMessage", { conv: "u:@alice" });
    await w.ask("B", "getConversations");
    await w.ask("A", "send", { conv: "u:@bob", cid: "m7", body: 7 });
    await w.ask("B", "getConversations");
  },
  async "repeats, refusals and what is stored nowhere"(w) {
    await w.login("alice", "A");
    await w.login("alice", "A2");
    await w.ask("A", "send", { conv: "u:@bob", cid: "m1", body: { a: 1, b: 2 } });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m1", body: { b: 2, a: 1 } });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m1", body: { a: 1 } });
    await w.ask("A", "send", { conv: "u:@carol", cid: "m1", body: { a: 1 } });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m2", body: null, ttl: 0 });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m2", body: null, ttl: 0 });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m3", body: null, ttl: 604_801 });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m3" });
    await w.ask("A", "send", { conv: "bob", cid: "m3", body: 1 });
    await w.ask("A", "send", { conv: "u:@bob", cid: "", body: 1 });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m4", body: "x".repeat(12_286) });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m4", body: "x".repeat(12_285) });
    await w.ask("A", "fly");
    await w.ask("A", "getMessage", { conv: "u:@bob", before: 1, after: 1 });
    await w.ask("A", "getMessage", { conv: "u:@bob", limit: 101 });
    await w.ask("A", "send", { conv: "u:@alice", cid: "note", body: "to me" });
    await w.ask("A", "getConversations");
    await w.login("bob", "B", { autoRead: false });
    await w.ask("B", "block", { user: "@alice" });
    await w.ask("B", "block", { user: "@bob" });
    await w.ask("B", "getBlocked");
    await w.ask("A", "send", { conv: "u:@bob", cid: "m5", body: 5 });
    await w.ask("B", "send", { conv: "u:@alice", cid: "b1", body: "still" });
    await w.ask("B", "unblock", { user: "@alice" });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m6", body: 6 });
  },
  async "settings of conversations"(w) {
    await w.login("alice", "A");
    await w.login("bob", "B", { autoRead: false });
    await w.login("bob", "B2", { autoRead: false });
    await w.ask("A", "send", { conv: "u:@bob", cid: "m1", body: 1 });
    const since = w.since("B2");
    await w.drop("B2");
    await w.ask("B", "setConversation", { conv: "u:@alice", muted: true });
    await w.ask("B", "setConversation", { conv: "u:@alice", pinned: true, unread: true });
    await w.ask("B", "setConversation", { conv: "u:@nobody", pinned: true });
    await w.login("bob", "B2", { autoRead: false, ...since });
    await w.ask("B", "readReport", { conv: "u:@alice", seq: 1 });
    await w.ask("B", "getRecents");
    await w.ask("B", "typing", { conv: "u:@alice" });
    await w.ask("A", "getPresence", { users: ["@bob"] });
    await w.ask("B", "getPresence", { users: ["@alice", "@carol"] });
  },
  async "limits of the queue"(w) {
    await w.login("alice", "A");
    await w.login("carol", "C");
    await w.ask("C", "send", { conv: "u:@bob", cid: "c1", body: "quiet" });
    for (let n = 1; n <= 9; n++) await w.ask("A", "send", { conv: "u:@bob", cid: `m${n}`, body: n });
    await w.login("bob", "B", { autoRead: false });
    await w.ask("B", "getMessage", { conv: "u:@alice" });
    const since = w.since("B");
    await w.drop("B");
    for (let n = 10; n <= 12; n++) await w.ask("A", "send", { conv: "u:@bob", cid: `m${n}`, body: n });
    await w.login("bob", "B", { autoRead: false, ...since });
    await w.ask("B", "readReport", { conv: "u:@alice", seq: 6 });
    await w.login("bob", "B2", { autoRead: false });
  },
  async "a group"(w) {
    await w.login("alice", "A");
    await w.login("bob", "B");
    await w.ask("A", "createGroup", { group: "@team", kind: "private", name: "Team", members: ["@bob", "@carol"] });
    await w.ask("A", "createGroup", { group: "@team", kind: "public" });
    for (let n = 1; n <= 4; n++) await w.ask("A", "send", { conv: "g:@team", cid: `m${n}`, body: n });
    await w.ask("B", "getGroup", { group: "@team" });
    await w.ask("B", "getMembers", { group: "@team" });
    await w.ask("B", "getGroups");
    await w.ask("B", "readReport", { conv: "g:@team", seq: 2 });
    await w.ask("B", "send", { conv: "g:@team", cid: "b1", body: "b" });
    await w.login("carol", "C", { groupBacklog: 3 });
    await w.ask("C", "getMessage", { conv: "g:@team", limit: 2 });
    const since = w.since("C");
    await w.drop("C");
    await w.ask("A", "recall", { conv: "g:@team", seq: 2 });
    await w.ask("B", "deleteMessage", { conv: "g:@team", seqs: [1] });
    await w.ask("B", "getMessage", { conv: "g:@team" });
    await w.ask("A", "addMembers", { group: "@team", users: ["@dora", "@bob"] });
    await w.ask("A", "send", { conv: "g:@team", cid: "m6", body: 6 });
    await w.login("carol", "C", since);
    await w.login("dora", "D");
    await w.ask("D", "getMessage", { conv: "g:@team" });
    await w.ask("A", "removeMembers", { group: "@team", users: ["@dora", "@zoe"] });
    await w.ask("D", "getMessage", { conv: "g:@team" });
    await w.ask("D", "send", { conv: "g:@team", cid: "d1", body: 1 });
    await w.ask("D", "send", { conv: "g:@none", cid: "d1", body: 1 });
    await w.ask("B", "leaveGroup", { group: "@team" });
    await w.ask("A", "leaveGroup", { group: "@team" });
    await w.ask("A", "setGroup", { group: "@team", name: "The team", mutedAll: true });
    await w.ask("C", "send", { conv: "g:@team", cid: "c1", body: 1 });
    await w.ask("A", "dismissGroup", { group: "@team" });
    await w.ask("C", "getGroup", { group: "@team" });
  },
  // Who speaks last has the name that comes first, so that the lists are in one order even within a millisecond.
  async "groups that count no unread"(w) {
    await w.login("alice", "A");
    await w.login("bob", "B");
    await w.ask("A", "createGroup", { group: "@hall", kind: "chatroom", members: ["@bob"] });
    await w.ask("A", "createGroup", { group: "@team", kind: "private", members: ["@bob"] });
    await w.ask("A", "addMembers", { group: "@hall", users: ["@carol"] });
    await w.login("bob", "B2", { recents: "off" }); // nothing was said yet
    for (const group of ["team", "hall"]) await w.ask("A", "send", { conv: `g:@${group}`, cid: "m1", body: 1 });
    await w.ask("B", "getRecents");
    await w.ask("B", "getConversations");
    await w.login("bob", "B3");
    await w.login("bob", "B4", { recents: "off" });
    const since = w.since("B3");
    await w.login("bob", "B5", { recents: "off", ...since });
    await w.ask("A", "setGroup", { group: "@team", unread: false });
    await w.ask("A", "setGroup", { group: "@hall", unread: true });
    await w.login("bob", "B6", { recents: "off", ...since });
  },
  async "cursors of groups that are refused"(w) {
    await w.login("alice", "A");
    await w.ask("A", "createGroup", { group: "@hall", kind: "chatroom", members: ["@bob"] });
    await w.ask("A", "createGroup", { group: "@team", kind: "private", members: ["@bob"] });
    await w.ask("A", "createGroup", { group: "@read", kind: "private", members: ["@bob"] });
    for (const group of ["team", "read", "hall"]) await w.ask("A", "send", { conv: `g:@${group}`, cid: "m1", body: 1 });
    await w.login("bob", "B");
    await w.ask("B", "readReport", { conv: "g:@read", seq: 1 });
    await w.drop("B");
    await w.login("bob", "B", { since: (w.since("B") as { since: string }).since });
    const { since, groups } = w.since("B") as { since: string; groups: Record<string, string> };
    const wrong = (...names: string[]) => Object.fromEntries(Object.entries(groups).map(([id, at]) => [id, names.some((name) => id.endsWith(name)) ? "wrong" : at]));
    await w.login("bob", "B1", { since, groups: wrong("team") });
    await w.login("bob", "B2", { since, groups: wrong("hall", "read"), recents: "off" });
    await w.login("bob", "B3", { since: "wrong", groups: wrong("team"), recents: "quiet" });
  },
  async "groups that are joined"(w) {
    await w.login("alice", "A");
    await w.login("bob", "B");
    await w.ask("A", "createGroup", { group: "@room", kind: "chatroom" });
    await w.ask("A", "send", { conv: "g:@room", cid: "m1", body: 1 });
    await w.ask("B", "send", { conv: "g:@room", cid: "b0", body: 0 });
    await w.ask("B", "joinGroup", { group: "@room" });
    await w.ask("B", "getMessage", { conv: "g:@room" });
    await w.ask("B", "send", { conv: "g:@room", cid: "b1", body: 1 });
    await w.ask("A", "setMember", { group: "@room", user: "@bob", role: "admin" });
    await w.ask("A", "createGroup", { group: "@club", kind: "public" });
    await w.ask("B", "joinGroup", { group: "@club", message: "please" });
    await w.ask("A", "getGroup", { group: "@club" });
    await w.ask("A", "answerJoin", { group: "@club", user: "@bob", accept: true });
    await w.ask("A", "createGroup", { group: "@show", kind: "live" });
    await w.ask("B", "joinGroup", { group: "@show" });
    await w.ask("B", "send", { conv: "g:@show", cid: "l1", body: "live" });
    await w.ask("A", "getMessage", { conv: "g:@show" });
    await w.ask("B", "getMessage", { conv: "g:@none" });
  },
};

let server: Server;
beforeAll(async () => {
  server = await startBelfry("--offline-max-messages=5", "--shards=1");
}, 300_000);
afterAll(() => server?.end());

let runs = 0;
test.each(Object.keys(scenarios))("%s: the fake does as the server does", async (name) => {
  const scenario = scenarios[name] as Scenario;
  const prefix = `t${++runs}.`;
  const fake = createFakeServer({ limits: { offlineMessages: 5 } });
  const played = await play(scenario, { WebSocket: fake.WebSocket, url: fake.url, token: fake.token, prefix });
  const { url, token } = server;
  const real = await play(scenario, { WebSocket: NodeWebSocket, url, token, prefix, like: played });
  expect(played.answers).toEqual(real.answers);
  expect(played.pushes).toEqual(real.pushes);
}, 300_000);
