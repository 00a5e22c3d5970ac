#!/usr/bin/env bash
# undici 6.29.0's WebSocket fires "error" but never "close" when the handshake fails.
#
# Most would guess: as in a browser, every WebSocket that is given up fires
# "close" in the end, after "error" too (WHATWG WebSockets, "fail the WebSocket
# connection"), and its readyState becomes 3 (CLOSED).
#
# What happens: on an answer other than 101, and where nobody listens, undici
# 6.29.0 fires "error" alone, and readyState stays 0 (CONNECTING). undici 7.30.2
# and ws 8.23.0 fire both. The WebSocket of Node 20.20.2 (--experimental-websocket),
# which is undici 6, does as undici 6.29.0.
#
# Why it matters to us: clients reconnect in onclose. One that is refused once, as
# by a server that restarts, never comes back. docs/clients.md says what to do.
set -euo pipefail
command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are needed" >&2; exit 2; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private": true}' >package.json
npm install --no-audit --no-fund --ignore-scripts --silent undici6@npm:undici@6.29.0 undici7@npm:undici@7.30.2 ws@8.23.0

cat >try.cjs <<'JS'
const http = require("node:http");
const net = require("node:net");
const clients = {
  "undici 6.29.0": require("undici6").WebSocket,
  "undici 7.30.2": require("undici7").WebSocket,
  "ws 8.23.0": require("ws").WebSocket,
};
const expected = {
  "undici 6.29.0": "error; readyState 0",
  "undici 7.30.2": "error, close 1006; readyState 3",
  "ws 8.23.0": "error, close 1006; readyState 3",
};
(async () => {
  const refusing = http.createServer();
  refusing.on("upgrade", (_, socket) => socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
  await new Promise((done) => refusing.listen(0, "127.0.0.1", done));
  const nobody = await new Promise((done) => {
    const s = net.createServer().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => done(port)); });
  });
  let changed = false;
  for (const [name, WebSocket] of Object.entries(clients)) {
    for (const [what, port] of [["status 503", refusing.address().port], ["nobody listens", nobody]]) {
      const seen = [];
      const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
      ws.onerror = () => seen.push("error");
      ws.onclose = (e) => seen.push(`close ${e.code}`);
      await new Promise((done) => setTimeout(done, 2000));
      const got = `${seen.join(", ")}; readyState ${ws.readyState}`;
      console.log(`${name}, ${what}: ${got}`);
      if (got !== expected[name]) { changed = true; console.log(`  expected ${expected[name]}`); }
    }
  }
  process.exit(changed ? 1 : 0);
})();
JS
echo "node $(node --version)"
node try.cjs
