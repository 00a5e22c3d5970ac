/** A chat in one React component: index.html#url=ws://127.0.0.1:8080/v1/ws&user=alice&peer=bob&token=… */
import { type FormEvent, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

import { type Client, createClient, type Row } from "@belfry/client";
import { indexedDB } from "@belfry/client/indexeddb";
import { useMessages, useStatus } from "@belfry/client/react";

const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const { url = "", user = "", peer = "", token = "" } = given;
// To show unread counts give manualRead: true, and call readReport when a message was seen.
const client = createClient({ url, user, token: async () => token, store: indexedDB() });

function text(body: unknown): string {
  return typeof body === "object" && body !== null && "text" in body ? String(body.text) : "";
}

function Line({ row }: { row: Row }) {
  switch (row.kind) {
    case "message":
      return <li className={row.message.from === user ? "mine" : ""}>{text(row.message.body)}</li>;
    case "pending":
      return <li className="mine pending">{text(row.body)}</li>;
    case "gap":
      return <li className="gap">{`${row.to - row.from + 1} messages are not here: ${row.reason}`}</li>;
  }
}

function Chat({ client, conv }: { client: Client; conv: string }) {
  const [draft, setDraft] = useState("");
  const { connection, outbox } = useStatus(client);
  const { rows, before, older } = useMessages(client, conv);
  const send = (event: FormEvent) => {
    event.preventDefault();
    void client.send(conv, { text: draft });
    setDraft("");
  };
  return (
    <main>
      <h1>{conv}</h1>
      <p role="status">{connection}{outbox > 0 && `, ${outbox} to send`}</p>
      {before === "more" && <button onClick={() => void older()}>Older</button>}
      <ol aria-live="polite">{rows.map((row) => <Line key={row.key} row={row} />)}</ol>
      <form onSubmit={send}>
        <input aria-label="Message" value={draft} onChange={(event) => setDraft(event.target.value)} required />
        <button>Send</button>
      </form>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Chat client={client} conv={`u:${peer}`} />
  </StrictMode>,
);
