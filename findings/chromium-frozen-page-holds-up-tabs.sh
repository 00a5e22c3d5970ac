#!/usr/bin/env bash
# A page that Chromium 148 has frozen in place keeps its locks, answers messages, and
# holds up what other tabs want to write to IndexedDB.
#
# Most would guess: a frozen page does nothing until it is resumed. So what it holds is
# let go, or at least a tab that asks it for a sign of life gets none and can take its
# place; and a database transaction that nobody works on ends by itself.
#
# What happens, once the page has had its "freeze" event (a hidden tab to save energy;
# here Page.setWebLifecycleState):
# - it keeps its Web Lock, and its BroadcastChannel's onmessage runs and may answer;
# - its own IndexedDB transaction, also a read-only one, stays open until it is resumed
#   if it waits for the page's script, even only to see that no request follows. Other
#   tabs' writes to the same object store wait. Ended with commit() right after its
#   requests it does not;
# - its open connection does not get "versionchange", so another tab's deleteDatabase
#   or upgrade waits, and gets no "blocked" event.
#
# Why it matters to us: client/js/src/lifecycle.ts lets go of the lock, the channel and
# the socket in that very event, and client/js/src/indexeddb.ts makes all requests of a
# transaction in one go, commits, and closes its connection.
set -euo pipefail
command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are needed" >&2; exit 2; }
chromium=$(command -v chromium) || { echo "chromium is needed" >&2; exit 2; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private": true}' >package.json
npm install --no-audit --no-fund --ignore-scripts --silent ws@8.23.0

cat >try.cjs <<'JS'
const http = require("node:http");
const { spawn } = require("node:child_process");
const { WebSocket } = require("ws");
const expected = {
  "the lock of a frozen page": "held",
  "a message to a frozen page": "answered",
  "a write beside its reading transaction": "waits",
  "a write beside its writing transaction": "waits",
  "a write beside its committed transaction": "done",
  "deleteDatabase beside its connection": "waits",
};
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  const site = http.createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html>"));
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
  const browser = spawn(process.argv[2], ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", `--user-data-dir=${process.cwd()}/profile`, "about:blank"], { stdio: ["ignore", "ignore", "pipe"], detached: true });
  process.on("exit", () => process.kill(-browser.pid, "SIGKILL"));
  const address = await new Promise((found) => {
    let printed = "";
    browser.stderr.on("data", (text) => { printed += text; const match = /ws:\/\/\S+/.exec(printed); if (match) found(match[0]); });
  });
  const ws = new WebSocket(address);
  await new Promise((done) => ws.on("open", done));
  let last = 0;
  const waiting = new Map();
  ws.on("message", (text) => { const { id, result, error } = JSON.parse(text); waiting.get(id)?.(error ? { error } : result); waiting.delete(id); });
  const call = (method, params = {}, sessionId) => new Promise((done) => { waiting.set(++last, done); ws.send(JSON.stringify({ id: last, method, params, sessionId })); });
  const open = async () => {
    const { targetId } = await call("Target.createTarget", { url: `http://127.0.0.1:${site.address().port}/` });
    const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
    await call("Page.enable", {}, sessionId);
    await sleep(1000);
    return {
      run: async (fn, arg) => (await call("Runtime.evaluate", { expression: `(${fn})(${JSON.stringify(arg)})`, awaitPromise: true, returnByValue: true }, sessionId)).result?.value,
      state: (state) => call("Page.setWebLifecycleState", { state }, sessionId),
      front: () => call("Target.activateTarget", { targetId }),
    };
  };
  const database = `const database = (name) => new Promise((done) => {
    const r = indexedDB.open(name);
    r.onupgradeneeded = () => r.result.createObjectStore("s");
    r.onsuccess = () => { r.result.onversionchange = () => r.result.close(); done(r.result); };
  });`;
  const got = {};

  const watcher = await open();
  const frozen = await open();
  await watcher.front();
  await sleep(500);
  await frozen.run(() => new Promise((held) => {
    window.channel = new BroadcastChannel("c");
    channel.onmessage = () => channel.postMessage("here");
    navigator.locks.request("l", () => { held(); return new Promise(() => {}); });
  }));
  await frozen.state("frozen");
  await sleep(500);
  got["the lock of a frozen page"] = await watcher.run(() => navigator.locks.request("l", { ifAvailable: true }, (lock) => (lock ? "free" : "held")));
  got["a message to a frozen page"] = await watcher.run(() => new Promise((done) => {
    const channel = new BroadcastChannel("c");
    channel.onmessage = () => done("answered");
    channel.postMessage("are you there?");
    setTimeout(done, 2000, "no answer");
  }));
  await frozen.state("active");

  for (const [what, mode, commit] of [["reading", "readonly", false], ["writing", "readwrite", false], ["committed", "readwrite", true]]) {
    const page = await open();
    await watcher.front();
    await sleep(500);
    await page.run(`async ({ what, mode, commit }) => { ${database}
      const db = await database(what);
      document.addEventListener("freeze", () => {
        const tx = db.transaction("s", mode);
        mode === "readonly" ? tx.objectStore("s").get(1) : tx.objectStore("s").put(1, 1);
        if (commit) tx.commit();
      });
    }`, { what, mode, commit });
    await page.state("frozen");
    await sleep(500);
    got[`a write beside its ${what} transaction`] = await watcher.run(`async (what) => { ${database}
      const tx = (await database(what)).transaction("s", "readwrite");
      tx.objectStore("s").put(2, 2);
      return new Promise((done) => { tx.oncomplete = () => done("done"); setTimeout(done, 3000, "waits"); });
    }`, what);
    await page.state("active");
  }

  const holder = await open();
  await watcher.front();
  await sleep(500);
  await holder.run(`async () => { ${database} window.db = await database("held"); }`);
  await holder.state("frozen");
  await sleep(500);
  got["deleteDatabase beside its connection"] = await watcher.run(() => new Promise((done) => {
    const r = indexedDB.deleteDatabase("held");
    r.onsuccess = () => done("done");
    r.onblocked = () => done("blocked");
    setTimeout(done, 3000, "waits");
  }));

  let changed = false;
  for (const [what, value] of Object.entries(got)) {
    console.log(`${what}: ${value}`);
    if (value !== expected[what]) { changed = true; console.log(`  expected ${expected[what]}`); }
  }
  process.exit(changed ? 1 : 0);
})();
JS
"$chromium" --version
node try.cjs "$chromium"
