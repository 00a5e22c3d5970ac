/** Runs each example as it stands against the real server. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build } from "esbuild";
import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";

import { type Client, createClient } from "@belfry/client";
import { type Server, startBelfry } from "../js/test/belfry.ts";
import { inBrowsers, serve } from "../js/test/browser/harness.ts";
import { log, when } from "../js/test/waiting.ts";

const sdk = (file: string) => join(import.meta.dirname, "../js/src", file);
const alias = {
  "@belfry/client": sdk("index.ts"),
  "@belfry/client/file": sdk("file.ts"),
  "@belfry/client/indexeddb": sdk("indexeddb.ts"),
  "@belfry/client/react": sdk("react.ts"),
};

/** Undone after each test, the last one first. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const fn of undo.splice(0).reverse()) await fn();
});

async function server(...flags: string[]): Promise<Server> {
  const started = await startBelfry(...flags);
  undo.push(() => started.end());
  return started;
}

function client(server: Server, user: string): Client {
  const made = createClient({ url: server.url, user, token: async () => server.token(user), WebSocket: WebSocket as never });
  undo.push(() => made.close());
  return made;
}

/** What a window shows: texts of messages, once there are so many. */
async function texts(of: Client, conv: string, n: number): Promise<string[]> {
  const view = of.messages(conv, { size: 100 });
  const { rows } = await when(view, ({ rows }) => rows.filter(({ kind }) => kind === "message").length >= n);
  view.close();
  return rows.flatMap((row) => (row.kind === "message" ? [(row.message.body as { text: string }).text] : []));
}

test("the bot answers each message once and in order, also when it or the server is killed and started again", { timeout: 300_000 }, async () => {
  const { token, url, ...rest } = await server();
  const folder = await mkdtemp(join(tmpdir(), "belfry-bot-"));
  undo.push(() => rm(folder, { recursive: true, force: true }));
  const program = join(folder, "bot.mjs");
  await build({ entryPoints: [join(import.meta.dirname, "node-bot/bot.mjs")], bundle: true, platform: "node", format: "esm", outfile: program, alias, banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" } });

  const running: ChildProcess[] = [];
  undo.push(() => running.forEach((child) => child.kill("SIGKILL")));
  const start = async () => {
    const child = spawn(process.execPath, [program, url, "bot", token("bot"), join(folder, "data")], { stdio: ["ignore", "pipe", "inherit"] });
    running.push(child);
    await new Promise<void>((resolve, reject) => {
      child.stdout!.on("data", (text) => String(text).includes("ready") && resolve());
      child.once("exit", (code) => reject(new Error(`the bot ended with ${code}`)));
    });
    return child;
  };

  const alice = client({ token, url, ...rest }, "alice");
  const first = await start();
  await alice.send("u:bot", { text: "one" });
  expect(await texts(alice, "u:bot", 2)).toEqual(["one", "you said: one"]);
  first.kill("SIGKILL");
  await new Promise((resolve) => first.once("close", resolve));
  for (const text of ["two", "three"]) await (await alice.send("u:bot", { text })).settled;
  const second = await start();
  expect(await texts(alice, "u:bot", 6)).toEqual(["one", "you said: one", "two", "three", "you said: two", "you said: three"]);

  const all = ["one", "two", "three"];
  for (let round = 0; round < 2; round++) {
    const say = async (n: number) => {
      const text = `${round}-${n}`;
      all.push(text);
      await alice.send("u:bot", { text });
    };
    for (let n = 0; n < 10; n++) await say(n);
    await rest.kill();
    for (let n = 10; n < 12; n++) await say(n);
    await rest.restart();
    const shown = await texts(alice, "u:bot", 2 * all.length);
    const answer = (text: string) => text.startsWith("you said: ");
    expect(shown.filter((text) => !answer(text))).toEqual(all);
    expect(shown.filter(answer)).toEqual(all.map((text) => `you said: ${text}`));
  }
  const rows = alice.messages("u:bot", { size: 100 }); // the reports are made up for
  await when(rows, (state) => state.rows.every((row) => row.kind === "message" && (row.message.from === "bot" || row.receipt === "read")));
  rows.close();

  // A new version is started before the old one has ended: it begins when that has.
  const next = spawn(process.execPath, [program, url, "bot", token("bot"), join(folder, "data")], { stdio: ["ignore", "pipe", "pipe"] });
  running.push(next);
  const output = log<string>();
  for (const stream of [next.stdout!, next.stderr!]) stream.on("data", (text) => output.push(String(text)));
  await output.until((said) => said.join("").includes("waiting"));
  expect(output.all.join("")).not.toContain("ready");
  second.kill("SIGTERM");
  expect(await new Promise((resolve) => second.once("exit", resolve))).toBe(0);
  await output.until((said) => said.join("").includes("ready"));
  await alice.send("u:bot", { text: "last" });
  expect((await texts(alice, "u:bot", 2 * all.length + 2)).slice(-2)).toEqual(["last", "you said: last"]);
  next.kill("SIGTERM");
  expect(await new Promise((resolve) => next.once("exit", resolve))).toBe(0);

  const homeless = spawn(process.execPath, [program, url, "bot", token("bot"), program], { stdio: ["ignore", "ignore", "pipe"] });
  running.push(homeless);
  let said = "";
  homeless.stderr!.on("data", (text) => (said += String(text)));
  expect(await new Promise((resolve) => homeless.once("close", resolve))).toBe(1);
  expect(said).toContain(`storage: the store in the folder ${program} cannot be opened`);
});

inBrowsers((launch) => {
  for (const example of ["html", "react"] as const) {
    test(`the page in ${example} shows what comes, sends, and keeps both`, async () => {
      const site = await serve({}, await files(example));
      undo.push(() => site.close());
      const belfry = await server("--allowed-origins", site.origin);
      const browser = await launch();
      undo.push(() => browser.close());
      const bob = client(belfry, "bob");
      await (await bob.send("u:alice", { text: "hello alice" })).settled;

      const address = site.url(`/index.html#${new URLSearchParams({ url: belfry.url, user: "alice", peer: "bob", token: belfry.token("alice") })}`);
      const tab = await browser.open(address);
      await tab.until(() => document.querySelector("ol")?.textContent?.includes("hello alice"));
      await tab.evaluate(() => {
        const input = document.querySelector("input")!;
        Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value")!.set!.call(input, "hello bob");
        input.dispatchEvent(new Event("input", { bubbles: true }));
        document.querySelector("form")!.requestSubmit();
      });
      expect(await texts(bob, "u:alice", 2)).toEqual(["hello alice", "hello bob"]);

      await belfry.kill();
      await tab.reload();
      await tab.until(() => /hello alice.*hello bob/.test(document.querySelector("ol")?.textContent ?? ""));
    });
  }
});

/** The files of an example, with its scripts as its own build makes them. */
async function files(example: "html" | "react"): Promise<Record<string, string>> {
  const read = (name: string) => readFile(join(import.meta.dirname, example, name), "utf8");
  const index = await read("index.html");
  if (example === "html") {
    const { outputFiles } = await build({ entryPoints: [sdk("global.ts")], bundle: true, minify: true, format: "iife", globalName: "belfry", write: false });
    return { "/index.html": index, "/chat.js": await read("chat.js"), "/belfry.js": outputFiles[0]!.text };
  }
  const { outputFiles } = await build({ entryPoints: [join(import.meta.dirname, "react/main.tsx")], bundle: true, jsx: "automatic", format: "esm", write: false, alias, define: { "process.env.NODE_ENV": '"production"' } });
  return { "/index.html": index.replace("./main.tsx", "./main.js"), "/main.js": outputFiles[0]!.text };
}
