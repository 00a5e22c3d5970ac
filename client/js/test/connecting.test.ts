/** Calls that need the server, while a client connects for the first time, and again. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { inspect } from "node:util";
import { BelfryError, type Client, type ClientOptions, type Events } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { asBelfryError, toFailure } from "../src/link.ts";
import { StoreError } from "../src/store.ts";
import { createFakeServer } from "../src/testing.ts";
import "./peer.ts"; // loads what a client loads only when it is made

let clients: Client[] = [];
beforeEach(() => void vi.useFakeTimers());
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
  vi.useRealTimers();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A client of alice, who has a message of bob; a token comes when the test says so. */
function world(options: Partial<ClientOptions> = {}) {
  const server = createFakeServer({ now: Date.now() });
  server.as("bob").send("u:alice", "hi");
  let give = () => {};
  const token = () => new Promise<string>((resolve) => (give = () => resolve(server.token("alice"))));
  const client = createClient({ url: server.url, user: "alice", token, WebSocket: server.WebSocket, tabs: false, ...options });
  clients.push(client);
  return { server, client, give: () => give(), connection: () => client.status.getSnapshot().connection };
}

/** What each of a client's calls that need the server comes to. */
const calls = (client: Client, signal?: AbortSignal) => {
  const options = signal && { signal };
  return Promise.allSettled([
    client.request("createGroup", { group: "lunch", kind: "private" }, options),
    client.getMessages("u:bob", { ...options }),
    client.findMessage("u:bob", 1, options),
    client.readReport("u:bob", 1, options),
    client.sendNow("u:bob", "now", options),
    client.setConversation("u:bob", { muted: true }, options),
  ]);
};
const outcomes = (results: Awaited<ReturnType<typeof calls>>) =>
  results.map((one) => (one.status === "rejected" ? `${(one.reason as BelfryError).code}: ${(one.reason as BelfryError).message}` : "done"));

test("what needs the server waits for the first connection, and for each later attempt", async () => {
  const { server, client, give, connection } = world();
  const first = calls(client);
  await pass(1000);
  expect(connection()).toBe("connecting");
  give();
  await pass(0);
  expect(outcomes(await first)).toEqual(Array(6).fill("done"));
  expect((await client.getMessages("u:bob")).messages.map(({ body }) => body)).toEqual(["hi"]);

  server.faults.delay(1000); // a login has its answer when the test says so
  server.faults.cut("alice");
  await pass(1000);
  expect(connection()).toBe("connecting");
  const again = calls(client);
  await pass(10);
  server.faults.delay(0);
  server.advance(1000);
  await pass(0);
  expect(outcomes(await again).slice(1)).toEqual(Array(5).fill("done"));
  expect(server.requests("createGroup", "alice")).toHaveLength(2);
});

test("it rejects when the attempt has failed, and at once until the next one, with the reason", async () => {
  const { server, client, give, connection } = world();
  server.faults.refuse(true);
  const waited = calls(client);
  await pass(0);
  give();
  await pass(0);
  expect(connection()).toBe("waiting");
  const reason = client.status.getSnapshot().error!.message;
  expect(reason).toContain("cannot connect");
  expect(outcomes(await waited)).toEqual(Array(6).fill(`offline: ${reason}`));
  expect(outcomes(await calls(client))).toEqual(Array(6).fill(`offline: ${reason}`));
  expect(connection()).toBe("waiting");
});

test("a signal ends the wait, and nothing is sent for it later", async () => {
  const { server, client, give } = world();
  const stop = new AbortController();
  const waited = calls(client, stop.signal);
  await pass(10);
  stop.abort();
  expect(outcomes(await waited)).toEqual(Array(6).fill("aborted: aborted"));
  give();
  await pass(0);
  expect(client.status.getSnapshot().synced).toBe(true);
  expect(["createGroup", "getMessage", "readReport", "send", "setConversation"].flatMap((op) => server.requests(op, "alice"))).toEqual([]);
});

test("close ends the wait", async () => {
  const { client, connection } = world();
  const waited = calls(client);
  await pass(10);
  expect(connection()).toBe("connecting");
  await client.close();
  expect(outcomes(await waited).map((text) => text.split(":")[0])).toEqual(Array(6).fill("closed"));
});

test.each(["forbidden", "bad_request"])("a login that is refused as %s is not tried again", async (code) => {
  const { server, client, give, connection } = world();
  server.faults.refuseNext("login", code as "forbidden");
  const waited = calls(client);
  await pass(0);
  give();
  await pass(600_000);
  expect(connection()).toBe("closed");
  expect(client.status.getSnapshot().error?.code).toBe(code);
  expect(server.requests("login")).toHaveLength(1);
  expect(outcomes(await waited).map((text) => text.split(":")[0])).toEqual(Array(6).fill(code));
  expect(outcomes(await calls(client)).slice(3)).toEqual(Array(3).fill("closed: closed"));
});

test("a token source that throws is no fault of the store", async () => {
  const errors: Events["error"][] = [];
  const { client } = world({ token: () => Promise.reject(new Error("my back end is down")) });
  client.on("error", (err) => errors.push(err));
  await pass(0);
  expect(errors).toMatchObject([{ code: "internal", message: "Error: my back end is down" }]);
  expect(client.status.getSnapshot().error).toEqual({ code: "internal", message: "Error: my back end is down" });
  await expect(client.request("getBlocked", {})).rejects.toMatchObject({ code: "offline", message: "Error: my back end is down" });
});

test("errors of the store are `storage`, and only they", () => {
  expect(toFailure(new StoreError("quota")).code).toBe("storage");
  expect(toFailure(new TypeError("x is undefined")).code).toBe("internal");
  expect(toFailure("thrown text")).toEqual({ code: "internal", message: "thrown text" });
  const own = new BelfryError("forbidden");
  expect(asBelfryError(own)).toBe(own);
});

test("a printed error shows nothing that it has not", () => {
  expect(inspect(new BelfryError("offline", "gone"))).not.toMatch(/undefined/);
  expect(inspect(new BelfryError("unavailable", "later", { retryAfterMs: 5, unknown: true }))).toMatch(/retryAfterMs: 5,\s+unknown: true/);
});
