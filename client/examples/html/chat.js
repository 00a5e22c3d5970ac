// index.html#url=ws://127.0.0.1:8080/v1/ws&user=alice&peer=bob&token=…
const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
// To show unread counts give manualRead: true, and call readReport when a message was seen.
const client = belfry.createClient({
  url: given.url,
  user: given.user,
  token: async () => given.token,
  store: belfry.indexedDB(),
});
const $ = (id) => document.getElementById(id);
$("peer").textContent = given.peer;

const line = (text, kind) => Object.assign(document.createElement("li"), { textContent: text, className: kind });
const rows = client.messages(`u:${given.peer}`);
const show = () =>
  $("messages").replaceChildren(
    ...rows.getSnapshot().rows.map((row) => {
      if (row.kind === "gap") return line(`${row.to - row.from + 1} messages are not here: ${row.reason}`, "gap");
      if (row.kind === "pending") return line(row.body.text, "mine pending");
      return line(row.message.body.text, row.message.from === given.user ? "mine" : "");
    }),
  );
rows.subscribe(show);
show();

const tell = () => ($("status").textContent = client.status.getSnapshot().connection);
client.status.subscribe(tell);
tell();

document.forms[0].addEventListener("submit", (event) => {
  event.preventDefault();
  client.send(`u:${given.peer}`, { text: event.target.text.value });
  event.target.reset();
});
