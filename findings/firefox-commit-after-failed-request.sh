#!/usr/bin/env bash
# Firefox 140 (Debian's firefox-esr) commits an IndexedDB transaction although one of its requests has failed, if
# commit() was called.
#
# Most would guess: a request that fails, and whose error event nobody prevents, aborts its
# transaction, and nothing of it is made. So says the specification (Indexed Database API,
# "fire an error event"), whether commit() was called or not. Chromium does so.
#
# What happens: an add() of a key that is there fails with ConstraintError, the transaction
# then says `complete`, and the put() behind it has been made. Without commit() it says
# `abort`, and nothing has been made.
#
# Why it matters to us: a tab that has lost its place writes behind an add() that fails, so
# that it changes nothing. With commit(), which keeps frozen pages of Chromium from blocking
# others, it would have changed all of it.
set -euo pipefail
command -v node >/dev/null || { echo "node is needed" >&2; exit 2; }
command -v npm >/dev/null || { echo "npm is needed" >&2; exit 2; }
command -v firefox-esr >/dev/null || { echo "firefox-esr is needed (Debian)" >&2; exit 2; }

dir=$(mktemp -d)
firefox=
trap '[ -z "$firefox" ] || kill "$firefox" 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"
firefox-esr --version
npm install --no-audit --no-fund --silent --ignore-scripts ws@8.23.0

mkdir profile
HOME=$dir firefox-esr --headless --no-remote --profile "$dir/profile" --remote-debugging-port=0 about:blank 2>log >/dev/null &
firefox=$!
cat >page.mjs <<'JS'
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";

let address;
for (let i = 0; i < 1200 && !address; i++) {
  address = /WebDriver BiDi listening on (ws:\S+)/.exec(readFileSync("log", "utf8"))?.[1];
  if (!address) await sleep(100);
}
const socket = new WebSocket(`${address}/session`);
await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
const waiting = new Map();
socket.on("message", (data) => {
  const { id, result, error, message } = JSON.parse(data);
  waiting.get(id)?.(error ? Promise.reject(new Error(message)) : result);
});
let last = 0;
const call = (method, params) =>
  new Promise((resolve) => {
    waiting.set(++last, resolve);
    socket.send(JSON.stringify({ id: last, method, params }));
  });

const site = createServer((_, response) => response.end("<!doctype html>"));
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
await call("session.new", { capabilities: {} });
const { context } = await call("browsingContext.create", { type: "tab" });
await call("browsingContext.navigate", { context, url: `http://127.0.0.1:${site.address().port}/`, wait: "complete" });

async function inPage() {
  const said = (request, event = "success") => new Promise((resolve) => (request[`on${event}`] = () => resolve(request.result)));
  const opening = indexedDB.open("test", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("rows").put("first", "taken");
  const db = await said(opening);
  const lines = [];
  for (const commit of [false, true]) {
    const tx = db.transaction("rows", "readwrite");
    const end = new Promise((resolve) => {
      tx.oncomplete = () => resolve("complete");
      tx.onabort = () => resolve(`abort (${tx.error?.name})`);
    });
    tx.objectStore("rows").add("second", "taken");
    tx.objectStore("rows").put("behind it", "other");
    if (commit) tx.commit();
    const how = await end;
    const keys = await said(db.transaction("rows").objectStore("rows").getAllKeys());
    lines.push(`${commit ? "with" : "without"} commit(): ${how}, keys ${keys.join(" ")}`);
  }
  return lines.join("\n");
}
const { result } = await call("script.evaluate", { expression: `(${inPage})()`, target: { context }, awaitPromise: true });
console.log(result.value);
const want = "without commit(): abort (ConstraintError), keys taken\nwith commit(): complete, keys other taken";
process.exit(result.value === want ? 0 : 1);
JS
node page.mjs || { echo "this has changed" >&2; exit 1; }
