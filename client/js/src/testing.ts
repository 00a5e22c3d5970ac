/**
 * A fake server for the tests of applications. It speaks `belfry.v1` over WebSockets in
 * memory and behaves as the real server for what it plays; the SDK's own tests run the same
 * scenarios against both and compare.
 *
 * ```ts
 * const fake = createFakeServer();
 * const client = createClient({
 *   url: fake.url, WebSocket: fake.WebSocket, user: "alice", token: async () => fake.token("alice"),
 * });
 * fake.as("bob").send("u:alice", { text: "hi" });    // another user, whom the test plays
 * fake.faults.cut("alice");                          // the connection breaks
 * fake.advance(60_000);                              // the fake's clock, which stands still otherwise
 * fake.requests("getMessage", "alice");              // what the client has asked for
 * ```
 *
 * It plays devices and sessions, one-to-one conversations and groups, the offline queue,
 * history with gaps, recents, cursors, recall, deletion, read reports and receipts,
 * settings, blocks, typing and presence. It does not play rate limits, the limits of
 * bytes, session policies, bans and offers of ownership, the time-outs of connections, nor
 * the list of a session's last requests that makes other repeats than those of `send` safe.
 *
 * Nothing in it waits: frames come as microtasks, and its clock moves only with `advance`.
 */
export { createFakeServer } from "./testing/fake.ts";
export type { Actor, FakeServer, FakeServerOptions, Faults, SeenFrame } from "./testing/fake.ts";
export type { Limits } from "./testing/state.ts";
