/** A process that writes to the file store of a folder until it is killed, and prints how many batches it has been promised. */

import { writeSync } from "node:fs";

import { fileStore } from "../../src/file.ts";

const { store, cause } = await fileStore(process.argv[2] ?? "")({ server: "ws://127.0.0.1/v1/ws", user: "alice" });
if (cause) throw new Error(cause);
const body = "x".repeat(20_000);
for (let i = Number((await store.get("meta", ["count"])) ?? 0); ; i++) {
  await Promise.all([
    store.write([
      { table: "messages", key: [i], value: body.slice(0, (i * 7919) % body.length) },
      { table: "messages", remove: { to: [Math.max(0, i - 99)] } }, // the newest 100 are kept
      { table: "meta", key: ["count"], value: i + 1 },
    ]),
    store.append("outbox", i),
  ]);
  if (i % 100 === 0) await store.write([{ table: "outbox", remove: {} }]);
  writeSync(1, `${i + 1}\n`);
}
