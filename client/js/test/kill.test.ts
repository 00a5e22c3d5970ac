/**
 * A process that is killed at random points under load, against the real server: BELFRY_KILLS
 * says how often (each way of handling). Its log has every message; twice only those of the
 * list that was being handled at a kill.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { build } from "esbuild";
import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../src/client.ts";
import { startBelfry } from "./belfry.ts";
import { log, when } from "./waiting.ts";

const kills = Number(process.env.BELFRY_KILLS ?? 10);
/** So many messages may be on their way to the application: the server keeps 1,000 unread ones. */
const ahead = 300;

/** Undone after each test, the last one first. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const fn of undo.splice(0).reverse()) await fn();
});

/** The application's program, with all that it imports. */
async function program(folder: string): Promise<string> {
  const outfile = join(folder, "app.mjs");
  const banner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" };
  await build({ entryPoints: [join(import.meta.dirname, "kill/app.ts")], bundle: true, platform: "node", format: "esm", target: "node20", outfile, banner, logLevel: "error" });
  return outfile;
}

interface Logged {
  /** Of each message how often its line is there. */
  readonly times: Map<string, number>;
  /** Bodies of first lines, in their order. */
  readonly order: string[];
  /** Messages that are there again, and were not in the list that was being handled at the end of an earlier life. */
  readonly wrong: string[];
}

/** Reads the application's log. Its lines are single writes, so that a kill cuts none in two. */
function readLog(text: string): Logged {
  const times = new Map<string, number>();
  const order: string[] = [];
  const wrong: string[] = [];
  const interrupted = new Set<string>(); // ids of each life's last list
  let life = "";
  let list: string[] = [];
  for (const line of text.split("\n").filter((line) => line !== "")) {
    const [first = "", ...rest] = line.split(" ");
    if (first === "begin") {
      const now = (rest.shift() ?? "").split("/")[0] ?? "";
      if (now !== life) for (const id of list) interrupted.add(id);
      life = now;
      list = rest;
      continue;
    }
    const [id = ""] = rest;
    const before = times.get(id) ?? 0;
    times.set(id, before + 1);
    if (before === 0) order.push(first);
    else if (!interrupted.has(id)) wrong.push(line);
  }
  return { times, order, wrong };
}

const gone = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
    else child.once("exit", resolve);
  });

test.each(["sync", "async"] as const)("an application with handlers that are %s is killed again and again: its log has every message, and its sends are stored once", async (how) => {
  const server = await startBelfry();
  undo.push(() => server.end());
  const folder = await mkdtemp(join(tmpdir(), "belfry-kill-"));
  undo.push(() => rm(folder, { recursive: true, force: true }));
  const app = await program(folder);

  const heard = new Set<string>(); // by the application, as it said
  const promised = new Set<string>();
  const said = log<string>();
  let running: ChildProcess | undefined;
  undo.push(async () => {
    running?.kill("SIGKILL");
    if (running) await gone(running);
  });
  const start = (life: number): ChildProcess => {
    const child = spawn(process.execPath, [app, server.url, "alice", server.token("alice"), folder, "bob", String(life), how], { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin!.on("error", () => undefined);
    createInterface({ input: child.stdout! }).on("line", (line) => {
      const [what, name = ""] = line.split(" ");
      (what === "heard" ? heard : promised).add(name);
      said.push(`${life} ${what}`);
    });
    return (running = child);
  };
  const arrived = log<string>();
  let flowing = true;
  const sent: string[] = [];
  const flows = ["bob", "carol"].map(async (user) => {
    const client = createClient({ url: server.url, user, token: async () => server.token(user), WebSocket });
    undo.push(() => client.close());
    if (user === "bob") client.on("messages", (messages) => arrived.push(...messages.map(({ body }) => String(body))));
    for (let n = 1; flowing; n++) {
      while (flowing && sent.length - heard.size > ahead) await new Promise((resolve) => setTimeout(resolve, 5));
      if (!flowing) break;
      await client.send("u:alice", `${user}-${n}`);
      sent.push(`${user}-${n}`);
      if (n % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await when(client.status, ({ outbox }) => outbox === 0);
  });

  for (let life = 1; life <= kills; life++) {
    const child = start(life);
    await said.until((all) => all.includes(`${life} heard`));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 400)); // any moment of what it does
    child.kill("SIGKILL");
    await gone(child);
  }
  flowing = false;
  await Promise.all(flows);
  const last = start(kills + 1);
  await said.until(() => sent.every((name) => heard.has(name)));
  await arrived.until((all) => [...promised].every((name) => all.includes(name)));
  last.kill("SIGTERM");
  expect(await gone(last)).toBe(0);

  const { times, order, wrong } = readLog(await readFile(join(folder, "log"), "utf8"));
  const twice = [...times.values()].filter((n) => n > 1).length;
  console.log(`${how}: killed ${kills} times, ${sent.length} messages, ${order.length} in the log, ${twice} of them again after a kill; ${promised.size} sends, ${arrived.all.length} arrived`);
  expect(wrong, "again, and not of a list that was being handled at a kill").toEqual([]);
  expect([...order].sort()).toEqual([...sent].sort());
  for (const user of ["bob", "carol"]) expect(order.filter((name) => name.startsWith(user))).toEqual(sent.filter((name) => name.startsWith(user)));
  expect(new Set(arrived.all).size, "sent twice").toBe(arrived.all.length);
}, 300_000 + kills * 30_000);
