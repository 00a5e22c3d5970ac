import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Events } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import "./peer.ts"; // loads what a client loads only when it is made
import { createFakeServer } from "../src/testing.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
/** Lets a call's frames go to and fro. */
const done = async <T>(call: Promise<T>): Promise<T> => (await Promise.all([call, pass(0)]))[0];

function world() {
  const server = createFakeServer({ now: Date.now() });
  for (const user of ["bob", "carl"]) {
    server.as(user).send("u:alice", "hi");
    const socket = new server.WebSocket(server.url, ["belfry.v1.json"]);
    socket.onopen = () => socket.send(JSON.stringify({ id: 1, op: "login", args: { token: server.token(user), device: user } }));
  }
  server.as("bob").request("createGroup", { group: "show", kind: "live" });
  server.as("bob").request("createGroup", { group: "room", kind: "chatroom" });
  const options = { url: server.url, user: "alice", token: async () => server.token("alice"), WebSocket: server.WebSocket, tabs: false };
  return { server, options };
}

test("live groups and watched users are so in the next session too, and messages wait for it", async () => {
  const { server, options } = world();
  const client = createClient(options);
  await pass(0);
  const presence: Events["presence"][] = [];
  const heard: unknown[] = [];
  client.on("presence", (of) => presence.push(of));
  client.on("messages", (list) => heard.push(...list.map(({ body }) => body)));
  await done(client.request("joinGroup", { group: "show" }));
  await done(client.request("joinGroup", { group: "room" }));
  await done(client.request("subscribePresence", { users: ["bob", "carl"] }));

  server.faults.cut("alice");
  server.faults.cut("bob"); // goes while nobody is told
  server.clear();
  const sent = await done(client.send("g:show", "mine"));
  await pass(1000);
  expect(server.requests("joinGroup", "alice")).toEqual([{ group: "show" }]);
  expect(presence.map(({ user, status }) => [user, status])).toEqual([["bob", "offline"], ["carl", "online"]]);
  expect(sent.state.getSnapshot()).toMatchObject({ state: "stored", seq: 0 });
  server.as("bob").send("g:show", "live");
  server.faults.cut("carl");
  await pass(0);
  expect(heard).toEqual(["live"]);
  expect(presence.at(-1)).toMatchObject({ user: "carl", status: "offline" });

  await done(client.request("leaveGroup", { group: "show" }));
  server.clear();
  server.faults.cut("alice");
  await pass(1000);
  expect(client.status.getSnapshot().synced).toBe(true);
  expect(server.requests("joinGroup")).toEqual([]);
  await done(client.close());
});

test("what may pass is asked for again, and what is refused is told once and given up", async () => {
  const { server, options } = world();
  const client = createClient(options);
  const errors: Events["error"][] = [];
  client.on("error", (of) => errors.push(of));
  await pass(0);
  await done(client.request("joinGroup", { group: "show" }));
  await done(client.request("subscribePresence", { users: ["bob"] }));
  server.faults.refuseNext("joinGroup", "unavailable", 3000);
  server.faults.refuseNext("subscribePresence", "rate_limited", 2000);
  server.faults.cut("alice");
  server.clear();
  await pass(6000);
  expect(server.requests("joinGroup")).toHaveLength(2);
  expect(server.requests("subscribePresence")).toHaveLength(2);
  expect(errors).toEqual([]);

  server.faults.refuseNext("joinGroup", "forbidden");
  server.faults.cut("alice");
  await pass(1000);
  expect(errors).toMatchObject([{ code: "forbidden" }]);
  server.clear();
  server.faults.cut("alice");
  await pass(1000);
  expect(server.requests("joinGroup")).toEqual([]);
  await done(client.close());
});

test("of more than 1,000 users those that were asked for last stay watched", async () => {
  const { server, options } = world();
  const client = createClient(options);
  await pass(0);
  const users = Array.from({ length: 1100 }, (_, i) => `user${i}`);
  for (let i = 0; i < users.length; i += 100) await done(client.request("subscribePresence", { users: users.slice(i, i + 100) }));
  await done(client.request("subscribePresence", { users: ["user1099", "user1098"] }));
  server.clear();
  server.faults.cut("alice");
  await pass(1000);
  const asked = server.requests("subscribePresence").map((args) => args["users"] as string[]);
  expect(asked.map((list) => list.length)).toEqual(Array(10).fill(100));
  expect(asked.flat().sort()).toEqual(users.slice(100).sort());
  await done(client.close());
});

test("the status has the server's limits from the first login on", async () => {
  const { server, options } = world();
  server.faults.refuse(true);
  const client = createClient(options);
  await pass(0);
  expect(client.status.getSnapshot().limits).toBeUndefined();
  server.faults.refuse(false);
  await pass(60_000);
  expect(client.status.getSnapshot().limits).toEqual({ maxBody: 12_288, maxFrame: 90_112, window: 256, idleMs: 60_000 });
  server.faults.refuse(true);
  server.faults.cut("alice");
  await pass(1000);
  expect(client.status.getSnapshot()).toMatchObject({ connection: expect.not.stringMatching("online"), limits: { maxBody: 12_288 } });
  await done(client.close());
});
