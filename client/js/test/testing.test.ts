/** The fake server's clock and faults. What else it does is compared with the real server in testing-compare.test.ts. */
import { expect, test } from "vitest";

import { createFakeServer, type FakeServer } from "../src/testing.ts";
import { Device } from "./device.ts";

async function login(fake: FakeServer, user: string, args: object = {}): Promise<Device> {
  const device = await Device.connect(fake.WebSocket, fake.url);
  await device.request("login", { token: fake.token(user), device: "phone", ...args });
  await device.until("onSynced", () => device.pushes.some((p) => p.op === "onSynced"));
  device.take();
  return device;
}

const ended = async (device: Device): Promise<unknown> => {
  await device.until("the end", () => device.closed !== undefined);
  return device.closed;
};

const synced = (device: Device): Record<string, unknown> => device.pushes.find((p) => p.op === "onSynced")?.args ?? {};

test("cut ends connections of one user without a close frame", async () => {
  const fake = createFakeServer();
  const alice = await login(fake, "alice");
  const bob = await login(fake, "bob");
  fake.faults.cut("alice");
  expect(await ended(alice)).toEqual({ code: 1006, reason: "" });
  expect(await bob.request("ping")).toMatchObject({ ok: { serverTime: fake.now() } });
  expect([fake.online("alice"), fake.online("bob")]).toEqual([[], ["phone"]]);
});

test("refuse lets nobody in until it is over", async () => {
  const fake = createFakeServer();
  fake.faults.refuse(true);
  await expect(login(fake, "alice")).rejects.toThrow("not connected");
  fake.faults.refuse(false);
  await login(fake, "alice");
});

test("an answer that is lost was carried out, a request that is lost was not", async () => {
  const fake = createFakeServer();
  for (const [fault, seq] of [["loseNextAnswer", 1], ["loseNextRequest", 2]] as const) {
    const alice = await login(fake, "alice");
    fake.faults[fault]("send");
    void alice.request("send", { conv: "u:bob", cid: fault, body: 1 });
    await ended(alice);
    const again = await login(fake, "alice");
    const reply = await again.request("send", { conv: "u:bob", cid: fault, body: 1 });
    expect(reply).toMatchObject({ ok: { seq, ...(fault === "loseNextAnswer" && { duplicate: true }) } });
    again.close();
  }
});

test("refuseNext answers one request with an error", async () => {
  const fake = createFakeServer();
  const alice = await login(fake, "alice");
  fake.faults.refuseNext("send", "unavailable", 250);
  const args = { conv: "u:bob", cid: "c", body: 1 };
  expect(await alice.request("send", args)).toMatchObject({ err: { code: "unavailable", retryAfterMs: 250 } });
  expect(await alice.request("send", args)).toMatchObject({ ok: { seq: 1 } });
});

test("delayed frames come when the clock has moved", async () => {
  const fake = createFakeServer();
  const alice = await login(fake, "alice");
  fake.faults.delay(500);
  let answered = false;
  const ping = alice.request("ping").then(() => (answered = true));
  await new Promise((resolve) => setTimeout(resolve, 0)); // long after all microtasks
  fake.advance(499);
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect(answered).toBe(false);
  fake.advance(1);
  await ping;
});

test("kicked, expired and stopped sessions end as the server ends them", async () => {
  const fake = createFakeServer();
  const kicked = await login(fake, "alice");
  fake.faults.kick("alice");
  expect(await ended(kicked)).toMatchObject({ code: 4403 });
  expect(kicked.pushes.at(-1)).toEqual({ op: "onKicked", args: { reason: "admin" } });

  const old = fake.token("alice");
  const expired = await login(fake, "alice");
  fake.faults.expireToken("alice");
  expect(await ended(expired)).toMatchObject({ code: 4401 });
  const late = await Device.connect(fake.WebSocket, fake.url);
  expect(await late.request("login", { token: old, device: "phone" })).toMatchObject({ err: { code: "unauthorized" } });
  expect(await ended(late)).toMatchObject({ code: 4401 });

  const replaced = await login(fake, "alice");
  const stopped = await login(fake, "alice");
  expect(await ended(replaced)).toMatchObject({ code: 4403 });
  fake.faults.stop(1234);
  expect(await ended(stopped)).toEqual({ code: 1001, reason: "server going away; retry after 1234 ms" });
});

test("a token lasts by the fake's clock, and refreshToken makes it last longer", async () => {
  const fake = createFakeServer();
  const alice = await login(fake, "alice", { token: fake.token("alice", 10_000) });
  fake.advance(9_000);
  expect(await alice.request("refreshToken", { token: fake.token("alice", 10_000) })).toMatchObject({ ok: {} });
  fake.advance(9_000);
  expect(await alice.request("ping")).toMatchObject({ ok: {} });
  fake.advance(2_000);
  expect(await ended(alice)).toEqual({ code: 4401, reason: "token expired" });
});

test("messages expire by the fake's clock", async () => {
  const fake = createFakeServer();
  fake.as("alice").send("u:bob", "short", { ttl: 60 });
  fake.as("alice").send("u:bob", "long");
  fake.advance(60_000);
  const bob = await login(fake, "bob");
  expect(await bob.request("getMessage", { conv: "u:alice" })).toMatchObject({
    ok: { messages: [{ seq: 2 }], from: 1, to: 2, gaps: [{ from: 1, to: 1, reason: "expired" }] },
  });
});

test("lose, gap and reset are what a login tells", async () => {
  const fake = createFakeServer();
  for (let n = 1; n <= 6; n++) fake.as("alice").send("u:bob", n);
  fake.faults.lose("bob", "u:alice", 1, 3);
  fake.faults.gap("bob", "u:alice", 5, 5, "evicted");
  const bob = await login(fake, "bob", { autoRead: false });
  expect(synced(bob)).toMatchObject({ offline: 2, unreadTotal: 2, lost: [{ conv: "u:alice", from: 1, to: 3, count: 3 }] });
  expect(await bob.request("getMessage", { conv: "u:alice", after: 3 })).toMatchObject({ ok: { gaps: [{ from: 5, to: 5, reason: "evicted" }] } });
  const since = synced(bob)["cursor"];
  fake.faults.reset();
  expect(synced(await login(fake, "bob", { autoRead: false, since }))).toMatchObject({ reset: true, offline: 2 });
});

test("a session holds at most 256 frames unacked; the rest follows its acks", async () => {
  const fake = createFakeServer();
  const bob = await login(fake, "bob");
  for (let n = 1; n <= 300; n++) fake.as("alice").send("u:bob", n);
  await bob.request("ping");
  expect(bob.take()).toHaveLength(256);
  bob.notice("ack", { d: 256 });
  await bob.request("ping");
  expect(bob.take()).toHaveLength(44);
});

test("frames and requests can be looked at, by user", async () => {
  const fake = createFakeServer();
  const alice = await login(fake, "alice");
  fake.clear();
  await alice.request("getMessage", { conv: "u:bob" });
  expect(fake.requests("getMessage", "alice")).toEqual([{ conv: "u:bob" }]);
  expect(fake.requests("getMessage", "bob")).toEqual([]);
  expect(fake.frames().map((f) => [f.user, f.direction])).toEqual([["alice", "fromClient"], ["alice", "toClient"]]);
});

test("what is no frame closes the connection with 4400", async () => {
  const fake = createFakeServer();
  for (const text of ["[]", "{", '{"id":0,"op":"ping"}', '{"id":1.5,"op":"ping"}', '{"id":1}']) {
    const socket = new fake.WebSocket(fake.url, ["belfry.v1.json"]);
    const code = await new Promise((resolve) => {
      socket.onopen = () => socket.send(text);
      socket.onclose = (event: { code: number }) => resolve(event.code);
    });
    expect([text, code]).toEqual([text, 4400]);
  }
});
