/**
 * Times how a new device receives 10,000 messages that wait, with storage and without, by
 * turns, in client/: npx vite-node js/test/bench/receive.ts [rounds] [file] [chromium] [firefox]
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { WebSocket } from "ws";

import { createClient } from "../../src/client.ts";
import { fileStore } from "../../src/file.ts";
import { startBelfry } from "../belfry.ts";
import { launchChromium } from "../browser/chromium.ts";
import type { Driver } from "../browser/driver.ts";
import { launchFirefox } from "../browser/firefox.ts";
import { makeProfile } from "../browser/process.ts";
import { serve } from "../browser/site.ts";
import { backlog, receive } from "./receiving.ts";

const given = process.argv.slice(2);
const rounds = Number(given[0] ?? 5);
const chosen = given.slice(1);

const site = await serve({ "/": "../bench/receivepage.ts" });
const server = await startBelfry(
  "--allowed-origins", site.origin, "--send-rate", "0", "--frame-rate", "0", "--offline-max-messages", "20000", "--offline-max-bytes", "64MiB", "--user-bytes", "256MiB",
);
const sender = createClient({ url: server.url, user: "alice", token: async () => server.token("alice"), WebSocket });
// Past the outbox, which has one message of a conversation on its way at a time.
const send = sender.request as (op: string, args: object) => Promise<unknown>;
await until(() => sender.status.getSnapshot().connection === "online");
for (let sent = 0; sent < backlog; sent += 100) {
  const some = Array.from({ length: 100 }, (_, i) => `${sent + i}`);
  await Promise.all(some.map((cid) => send("send", { conv: "u:bob", cid, body: { text: "a message of some length, as people write them, or so: 128 bytes in all with what is around it" } })));
}
await sender.close();

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 10));
}

let devices = 0;
const base = () => ({ url: server.url, user: "bob", token: server.token("bob"), device: `device${devices++}` });

async function inFile(stored: boolean): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "belfry-bench-"));
  const ms = await receive({ ...base(), WebSocket, ...(stored ? { store: fileStore(folder) } : { withoutStorage: true }) });
  rmSync(folder, { recursive: true });
  return ms;
}

const inBrowser = (launch: (options: { folder: string }) => Promise<Driver>) => async (stored: boolean): Promise<number> => {
  const profile = await makeProfile();
  const browser = await launch({ folder: profile.folder });
  const tab = await browser.open(null);
  await tab.goto(site.url("/"));
  const ms = Number(await tab.evaluate(`page.run(${JSON.stringify(base())}, ${stored}).then(String)`));
  await browser.quit();
  await profile.remove();
  return ms;
};

const all = { file: inFile, chromium: inBrowser(launchChromium), firefox: inBrowser(launchFirefox) };
const median = (of: number[]) => of.sort((a, b) => a - b)[of.length >> 1]!;
for (const [name, run] of Object.entries(all)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  const off: number[] = [];
  const on: number[] = [];
  for (let i = 0; i < rounds; i++) {
    off.push(await run(false));
    on.push(await run(true));
  }
  console.log(`${name}: ${backlog} messages in ${median(off).toFixed(0)} ms without storage, ${median(on).toFixed(0)} ms with it: ${(median(off) / median(on)).toFixed(2)} of the rate (${off.map((n) => n.toFixed(0))} and ${on.map((n) => n.toFixed(0))})`);
}
await server.end();
await site.close();
process.exit(0); // whatever vite-node keeps open
