#!/usr/bin/env bash
# Firefox 140 keeps no page in its back-forward cache that has a Web Lock, waits for
# one or has a WebSocket, though it lets go of them in "pagehide".
#
# Most would guess: as advice on the back-forward cache has it, a page that gives up
# in "pagehide" what it must not hold in the cache is kept. In Chromium 148 it is.
#
# What happens: Firefox 140.10 decides before "pagehide", whose `persisted` is false
# then, even for a request for a lock that was never granted. A page with a
# BroadcastChannel that it closes in "pagehide" is kept.
#
# Why it matters to us: every tab of client/js waits for the lock of the one that leads,
# so in Firefox a page that comes back is loaded anew. It has all in its store.
set -euo pipefail
command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are needed" >&2; exit 2; }
firefox=$(command -v firefox-esr || command -v firefox) || { echo "firefox is needed" >&2; exit 2; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private": true}' >package.json
npm install --no-audit --no-fund --ignore-scripts --silent ws@8.23.0

cat >try.cjs <<'JS'
const http = require("node:http");
const { spawn } = require("node:child_process");
const { mkdirSync, writeFileSync } = require("node:fs");
const { WebSocket, WebSocketServer } = require("ws");
const pages = {
  "nothing": ["", true],
  "a BroadcastChannel, closed in pagehide": ["const c = new BroadcastChannel('c'); addEventListener('pagehide', () => c.close());", true],
  "a lock, released in pagehide": ["await new Promise((held) => navigator.locks.request('mine', () => { held(); return new Promise((release) => addEventListener('pagehide', () => release())); }));", false],
  "a request for a lock, aborted in pagehide": ["const a = new AbortController(); navigator.locks.request('taken', { signal: a.signal }, () => {}).catch(() => {}); addEventListener('pagehide', () => a.abort());", false],
  "a WebSocket, closed in pagehide": ["const w = new WebSocket(location.origin.replace('http', 'ws')); await new Promise((open) => (w.onopen = open)); addEventListener('pagehide', () => w.close());", false],
};
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  const site = http.createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html>"));
  new WebSocketServer({ server: site });
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
  const origin = `http://127.0.0.1:${site.address().port}`;
  mkdirSync("profile");
  writeFileSync("profile/user.js", 'user_pref("network.proxy.type", 1);\nuser_pref("network.proxy.ssl", "127.0.0.1");\nuser_pref("network.proxy.ssl_port", 9);\n');
  const browser = spawn(process.argv[2], ["--headless", "--no-remote", "--profile", "profile", "--remote-debugging-port=0", "about:blank"],
    { stdio: ["ignore", "ignore", "pipe"], detached: true, env: { ...process.env, HOME: process.cwd() } });
  process.on("exit", () => process.kill(-browser.pid, "SIGKILL"));
  const address = await new Promise((found) => {
    let printed = "";
    browser.stderr.on("data", (text) => { printed += text; const match = /WebDriver BiDi listening on (ws:\S+)/.exec(printed); if (match) found(match[1]); });
  });
  const ws = new WebSocket(`${address}/session`);
  await new Promise((done) => ws.on("open", done));
  let last = 0;
  const waiting = new Map();
  ws.on("message", (text) => { const { id, result, message } = JSON.parse(text); waiting.get(id)?.(result ?? { message }); waiting.delete(id); });
  const call = (method, params = {}) => new Promise((done) => { waiting.set(++last, done); ws.send(JSON.stringify({ id: last, method, params })); });
  await call("session.new", { capabilities: {} });
  const open = async () => {
    const { context } = await call("browsingContext.create", { type: "tab" });
    const goto = (url) => call("browsingContext.navigate", { context, url, wait: "complete" });
    await goto(origin);
    return { goto, run: async (expression) => (await call("script.evaluate", { expression, target: { context }, awaitPromise: true })).result?.value, back: () => call("browsingContext.traverseHistory", { context, delta: -1 }) };
  };
  const other = await open();
  await other.run("new Promise((held) => navigator.locks.request('taken', () => { held(); return new Promise(() => {}); }))");
  let changed = false;
  for (const [what, [script, kept]] of Object.entries(pages)) {
    const page = await open();
    await page.run(`(async () => { ${script} window.mark = true; })()`);
    await page.goto(`${origin}/elsewhere`);
    await sleep(500);
    await page.back();
    let got;
    do { await sleep(200); got = await page.run("location.pathname === '/' && document.readyState === 'complete' ? String(window.mark === true) : ''"); } while (!got);
    console.log(`${what}: ${got === "true" ? "kept" : "loaded anew"}`);
    if (got !== String(kept)) { changed = true; console.log(`  expected ${kept ? "kept" : "loaded anew"}`); }
  }
  process.exit(changed ? 1 : 0);
})();
JS
HOME=$dir "$firefox" --version
node try.cjs "$firefox"
