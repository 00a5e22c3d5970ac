/**
 * An application that is killed (kill.test.ts): it writes what it is told to a log, and
 * sends all the while.
 *
 *     node app.mjs URL USER TOKEN FOLDER PEER LIFE sync|async
 *
 * The log has a line `begin N ID…` for each list of messages, `BODY ID` for each message, on
 * the disk before the next, and `end N`. Standard output has `heard BODY` and `promised NAME`.
 */
import { fdatasyncSync, openSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { WebSocket } from "ws";
import { createClient } from "../../src/client.ts";
import { fileStore } from "../../src/file.ts";
import type { Message } from "../../src/wire.ts";

const [url, user, token, folder, peer, life, how] = process.argv.slice(2) as [string, string, string, string, string, string, string];

process.stdin.on("end", () => process.exit(1)).resume(); // whoever started this is gone
const say = (line: string) => process.stdout.write(`${line}\n`);

const path = join(folder, "log");
const fd = openSync(path, "a");
const file = await open(path, "a");
const client = createClient({ url, user, token: async () => token, store: fileStore(join(folder, "store")), WebSocket });

let lists = 0;
const began = (messages: readonly Message[]) => `begin ${life}/${++lists} ${messages.map(({ id }) => id).join(" ")}\n`;
const effect = ({ id, body }: Message) => `${String(body)} ${id}\n`;

function sync(messages: readonly Message[]): void {
  writeSync(fd, began(messages));
  for (const message of messages) {
    writeSync(fd, effect(message));
    fdatasyncSync(fd);
    say(`heard ${String(message.body)}`);
  }
}

async function slow(messages: readonly Message[]): Promise<void> {
  await file.appendFile(began(messages));
  for (const message of messages) {
    await file.appendFile(effect(message));
    await file.datasync();
    say(`heard ${String(message.body)}`);
  }
}

client.on("messages", how === "sync" ? sync : slow);
client.on("error", ({ code, message }) => process.stderr.write(`${code}: ${message}\n`));

let sending = true;
process.once("SIGTERM", () => {
  sending = false;
  void client.close().then(() => process.exit(0));
});
for (let n = 1; sending; n++) {
  const name = `${life}-${n}`;
  const pending = await client.send(`u:${peer}`, name).catch(() => undefined);
  if (!pending) break;
  say(`promised ${name}`);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
