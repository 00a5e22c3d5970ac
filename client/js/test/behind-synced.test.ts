import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, Message } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import type { StoredConversation } from "../src/link.ts";
import { memoryStore } from "../src/memory.ts";
import { loginOK, playServer, synced, type Peer } from "./peer.ts";

// An onSynced says what was at the login: what is newer than that stays.

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settle = () => vi.advanceTimersByTimeAsync(0);
const message = (seq: number, more: Partial<Message> = {}): Message => ({
  id: `m${seq}`, conv: "g:team", from: "bob", seq, time: 1000 + seq, cid: `c${seq}`, body: seq, ...more,
});
const team = (more: object = {}) => ({ conv: "g:team", lastSeq: 20, time: 1020, readSeq: 10, unread: 10, cursor: "team", ...more });

/** A client that had 20 messages of a group in its first session; its logins after that are the test's to sync. */
async function world() {
  const store = memoryStore();
  const server = playServer(({ op, args }) => {
    if (op === "login") return loginOK("alice");
    if (op === "send") return { ok: { id: "m21", seq: 21, time: 1021 } };
    return { ok: op === "readReport" ? { unread: 20 - Number(args.seq) } : {} };
  });
  const client: Client = createClient({
    url: "ws://server", user: "alice", token: async () => "t", WebSocket: server.WebSocket, tabs: false, manualRead: true,
    store: async () => ({ store: { ...store, close: async () => {} } }),
  });
  const sync = async (more: object = {}) => {
    server.peers.at(-1)!.push("onSynced", synced({ groups: [team(more)], conversations: [team(more)] }));
    await settle();
  };
  const login = async (): Promise<Peer> => {
    server.peers.at(-1)?.close(1006);
    await vi.advanceTimersByTimeAsync(30_000);
    return server.peers.at(-1)!;
  };
  const entry = async () => (await store.get("conversations", ["g:team"])) as unknown as StoredConversation;
  client.conversations().subscribe(() => {});
  await settle();
  server.peers[0]!.push("onNewMessage", { d: 1, messages: Array.from({ length: 20 }, (_, i) => message(i + 1)) });
  await sync();
  return { client, login, sync, entry, list: () => client.conversations().getSnapshot().list, end: () => Promise.all([client.close(), settle()]) };
}

test.each([
  { name: "a read report", act: (client: Client) => client.readReport("g:team", 15), readSeq: 15, unread: 5 },
  { name: "a send to a group", act: async (client: Client) => (await client.send("g:team", "hi")).settled, readSeq: 21, unread: 0 },
])("$name that is answered before onSynced counts behind it, and a cursor that was set back does at the next login", async ({ act, readSeq, unread }) => {
  const { client, login, sync, entry, end } = await world();
  expect(await entry()).toMatchObject({ readSeq: 10, unread: 10 });
  await login();
  await Promise.all([act(client), settle()]);
  await sync({ markedUnread: true });
  expect(await entry()).toMatchObject({ readSeq, unread, markedUnread: false });
  await login();
  await sync({ lastSeq: 21, readSeq: 5, unread: 15 });
  expect(await entry()).toMatchObject({ readSeq: 5, unread: 15 });
  await end();
});

test("settings whose change is answered before onSynced are kept, and taken over again from the next login", async () => {
  const { client, login, sync, entry, end } = await world();
  await login();
  await Promise.all([client.setConversation("g:team", { pinned: true, unread: true }), settle()]);
  await sync({ muted: true });
  expect(await entry()).toMatchObject({ muted: true, pinned: true, markedUnread: true });
  await login();
  await sync();
  expect(await entry()).toMatchObject({ muted: false, pinned: false, markedUnread: false });
  await end();
});

test.each([
  { name: "here alone, long ago", early: false, local: true },
  { name: "here alone, since the login", early: true, local: true },
  { name: "by an answer since the login", early: true, local: false },
])("a conversation that was deleted $name stays off the list until there is a new message", async ({ early, local }) => {
  const { client, login, sync, list, entry, end } = await world();
  expect(list()).toHaveLength(1);
  const remove = () => Promise.all([client.deleteConversation("g:team", { local, messages: true }), settle()]);
  if (!early) await remove();
  const peer = await login();
  if (early) await remove();
  await sync({ markedUnread: true });
  expect(list()).toEqual([]);
  expect(await entry()).toMatchObject({ unread: 0 });
  peer.push("onNewMessage", { d: 2, messages: [message(21)] });
  await settle();
  expect(list()).toMatchObject([{ conv: "g:team", lastSeq: 21, unread: 1 }]);
  await end();
});

test("a newest message that was deleted here alone is neither the last one again nor unread", async () => {
  const { client, login, sync, list, end } = await world();
  await Promise.all([client.deleteMessages("g:team", [19, 20], { local: true }), settle()]);
  await login();
  await sync();
  expect(list()).toMatchObject([{ lastSeq: 18, time: 1018, unread: 8, last: { id: "m18" } }]);
  await end();
});
