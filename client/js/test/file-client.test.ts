/** A client whose file store another process has open, or that cannot be had: nothing that `send` has resolved for is in memory only. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";

import type { Client, Status, StorageStatus } from "../src/api.ts";
import { createClient } from "../src/client.ts";
import { fileStore } from "../src/file.ts";
import type { OpenStore } from "../src/store.ts";
import { log, when } from "./waiting.ts";

const server = "127.0.0.1:9"; // nobody listens there
const user = "alice";

const root = mkdtempSync(join(tmpdir(), "belfry-holder-"));
const program = join(root, "holder.mjs");
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  await build({ entryPoints: [join(import.meta.dirname, "kill/holder.ts")], bundle: true, platform: "node", format: "esm", target: "node20", outfile: program, logLevel: "error" });
});
afterEach(async () => {
  for (const fn of undo.splice(0).reverse()) await fn();
});
afterAll(() => rmSync(root, { recursive: true }));
const newFolder = () => mkdtempSync(join(root, "store-"));

/** Another process with the folder's store. */
async function hold(folder: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [program, folder, server, user], { stdio: ["pipe", "pipe", "inherit"] });
  undo.push(() => child.kill("SIGKILL"));
  const ended = once(child, "exit").then(() => Promise.reject(new Error("the holder has ended")));
  ended.catch(() => {});
  await Promise.race([once(child.stdout!, "data"), ended]);
  return child;
}

function connect(store: OpenStore): { client: Client; told: ReturnType<typeof log<StorageStatus>>; status: () => Status } {
  const client = createClient({ url: `ws://${server}/v1/ws`, user, token: async () => "t", store, WebSocket });
  undo.push(() => client.close());
  const told = log<StorageStatus>();
  client.on("storage", (of) => told.push(of));
  return { client, told, status: () => client.status.getSnapshot() };
}

const outboxOf = async (folder: string) => {
  const { store } = await fileStore(folder)({ server, user });
  const entries = await store.list("outbox", {});
  await store.close();
  return entries.map(({ value }) => (value as { body: unknown }).body);
};

test("while another process has the store, send waits for it; when that one is killed the message is on the disk", async () => {
  const folder = newFolder();
  const holder = await hold(folder);
  const { client, told, status } = connect(fileStore(folder));
  let kept = false;
  const sending = client.send("u:bob", "hello").then(() => (kept = true));
  await told.until((all) => all.length === 1);
  expect(told.all[0]).toMatchObject({ cause: "blocked" });
  expect([status().connection, status().storage.cause, kept]).toEqual(["connecting", "blocked", false]);
  const wait = new AbortController();
  const given = client.send("u:bob", "given up", { signal: wait.signal });
  wait.abort();
  await expect(given).rejects.toMatchObject({ code: "aborted" });
  expect(kept).toBe(false);

  holder.kill("SIGKILL");
  await sending;
  await told.until((all) => all.length === 2);
  expect(told.all[1]).toEqual({ durability: "persistent" });
  await when(client.status, ({ outbox }) => outbox === 1);
  await client.close();
  expect(await outboxOf(folder)).toEqual(["hello"]);
});

test("close ends the wait for a store that another process has", async () => {
  const folder = newFolder();
  await hold(folder);
  const { client, told, status } = connect(fileStore(folder));
  const sending = client.send("u:bob", "hello");
  const refused = expect(sending).rejects.toMatchObject({ code: "closed" });
  await told.until((all) => all.length === 1);
  await client.close();
  await refused;
  expect(status().connection).toBe("closed");
});

test("two clients of one process take turns", async () => {
  const folder = newFolder();
  const first = connect(fileStore(folder));
  await first.client.send("u:bob", 1);
  const second = connect(fileStore(folder));
  await second.told.until((all) => all.length === 1);
  await first.client.close();
  await second.client.send("u:bob", 2);
  await second.client.close();
  expect(await outboxOf(folder)).toEqual([1, 2]);
});

test("a store that cannot be had closes the client, which says of which folder and why; send rejects", async () => {
  const file = join(newFolder(), "file");
  writeFileSync(file, "");
  const { client, status } = connect(fileStore(file));
  const sending = client.send("u:bob", "hello");
  await expect(sending).rejects.toMatchObject({ code: "storage", message: expect.stringContaining(file) as string });
  await expect(sending).rejects.toThrow("EEXIST");
  expect(status()).toMatchObject({ connection: "closed", error: { code: "storage", message: expect.stringContaining(file) as string } });
  await expect(client.send("u:bob", "again")).rejects.toMatchObject({ code: "storage" });
  await expect(client.localMessages("u:bob")).rejects.toMatchObject({ code: "storage" });
  await client.close();
  await expect(client.send("u:bob", "again")).rejects.toMatchObject({ code: "closed" });
});
