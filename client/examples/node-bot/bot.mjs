// An echo bot. It answers every message that it is sent, each once, also when it is
// killed and started again, or was away:
//
//     node bot.mjs ws://127.0.0.1:8080/v1/ws bot TOKEN [FOLDER]
//
// A message whose handler has not ended when the bot is killed comes again. The cid of an
// answer is made of the message's id, so that one which is given twice is stored once.
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

// Registered in the same go as the client is made: what an earlier run left comes first.
client.on("messages", async (messages) => {
  for (const message of messages) if (message.from !== user) await answer(message);
});

async function answer({ id, conv, body, seq, time }) {
  // The server knows the cid of a recent send by itself, and looks for that of an older one if
  // it is told to. A clock that lags has it look, too.
  const age = Date.now() - time;
  const retry = age < 0 || age >= 60_000;
  await client.send(conv, { text: `you said: ${body?.text ?? "nothing"}` }, { cid: `echo-${id}`, retry });
  // On disk: it goes out, whatever happens to this process.
  read.set(conv, seq);
  void report();
}

// That a message is read is for people to see: what cannot be reported now is after the next login.
const read = new Map();
async function report() {
  for (const [conv, seq] of read) {
    try {
      await client.readReport(conv, seq);
      if (read.get(conv) === seq) read.delete(conv);
    } catch (err) {
      if (err.code === "not_found") read.delete(conv); // the conversation was deleted
    }
  }
}

client.on("synced", () => {
  console.log("ready");
  void report();
});
client.on("storage", ({ cause }) => {
  // As when a new version is started before the old one has ended: it begins when that has.
  if (cause === "blocked") console.error(`waiting: another process uses ${folder}`);
});
let ending = false;
client.status.subscribe(() => {
  const { connection, error } = client.status.getSnapshot();
  if (connection !== "closed" || ending) return;
  console.error(`${error.code}: ${error.message}`); // for good: the folder cannot be used, or there are no more tokens
  process.exit(1);
});
client.on("error", ({ code, message }) => console.error(`${code}: ${message}`));
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    ending = true;
    void client.close();
  });
}
