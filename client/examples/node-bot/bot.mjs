// An echo bot. It answers every message that it is sent, each once, also when it is
// killed and started again, or was away:
//
//     node bot.mjs ws://127.0.0.1:8080/v1/ws bot TOKEN [FOLDER]
//
// A message is marked as read when its answer is in the outbox on disk, and not before:
// so what is unread is what has no answer. An answer's cid is made of the message's id,
// so that one which was given twice is stored once.
import { createClient } from "@belfry/client";
import { fileStore } from "@belfry/client/file";
import { WebSocket } from "ws"; // Node 22 has one of its own

const [url, user, token, folder = "bot-data"] = process.argv.slice(2);
const client = createClient({
  url,
  user,
  token: async () => token,
  platform: "bot",
  manualRead: true,
  recents: "quiet",
  store: fileStore(folder),
  WebSocket,
});

const answered = new Set();

async function answer(message) {
  if (message.from === user || answered.has(message.id)) return;
  answered.add(message.id);
  await client.send(message.conv, { text: `you said: ${message.body?.text ?? "nothing"}` }, { cid: `echo-${message.id}` });
  await client.readReport(message.conv, message.seq);
}

client.on("messages", async (messages) => {
  for (const message of messages) await answer(message);
});

// What came in before, and was not answered then.
client.on("synced", async () => {
  for (const { conv, unread, readSeq, lastSeq } of client.conversations().getSnapshot().list) {
    for (let after = readSeq; unread > 0 && after < lastSeq; ) {
      const page = await client.getMessages(conv, { after, limit: 100 });
      for (const message of page.messages) await answer(message);
      if (page.to === 0) break;
      after = page.to;
    }
  }
  console.log("ready");
});

client.on("error", ({ code, message }) => console.error(`${code}: ${message}`));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => client.close());
