/// <reference path="../js/test/ws.d.ts" />
/**
 * Makes docs/images/*.png: the console on a real server, with conversations that
 * were made up. `make screenshots`; needs Chromium.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { WebSocket } from "ws";
import { createClient, type Client } from "@belfry/client";
import { startBelfry, type Server } from "../js/test/belfry.ts";
import { shootOperator } from "./screenshots-operator.ts";

const images = join(import.meta.dirname, "../../docs/images");
const minute = 60_000;

/** [who, how many minutes ago, what] */
type Line = readonly [from: string, ago: number, text: string, mentions?: readonly string[]];

const withBob: readonly Line[] = [
  ["bob", 2 * 1440 + 61, "Did you hear the new bell this morning?"],
  ["alice", 2 * 1440 + 58, "From the other side of the river, yes. I thought it was ten already"],
  ["alice", 2 * 1440 + 57, "It was a quarter to"],
  ["bob", 2 * 1440 + 50, "They are still tuning it. The founder comes back on Thursday"],
  ["alice", 1500, "Here is the plan for Saturday: https://tower.example/plan\nWe meet at the door at nine, climb before it gets warm, and have breakfast on the wall."],
  ["bob", 1496, "Count me in. I can bring bread and the big thermos"],
  ["alice", 64, "Carol asks whether she can bring her brother"],
  ["bob", 62, "Of course. The stairs carry six at a time, the keeper says; we go up in two groups"],
  ["bob", 61, "And the second one watches the door"],
];
const ringers: readonly Line[] = [
  ["carol", 1530, "Practice is at seven tonight. We try the new method from the third line on"],
  ["dave", 1522, "I will be ten minutes late, start without me"],
  ["alice", 1518, "We ring rounds until you are here"],
  ["carol", 55, "@alice can you bring the spare rope? Number four is worn through", ["alice"]],
  ["bob", 47, "I have one too"],
  ["alice", 45, "Both, then. Better two ropes than none"],
];
const unread: readonly (readonly [to: string, ...Line])[] = [
  ["u:alice", "carol", 33, "The keeper has given me the key"],
  ["u:alice", "carol", 32, "It weighs as much as a small bell"],
];
const others: readonly (readonly [to: string, ...Line])[] = [
  ["g:open-tower", "frank", 6 * 1440, "Twelve guides so far, we need two more for the afternoon"],
  ["u:alice", "dave", 1400, "Thank you for waiting!"],
  ["g:river-walk", "erin", 320, "Rain from noon on, says the radio. We go at nine"],
  ["u:alice", "grace", 4 * 1440, "The handbells are polished and back on the shelf"],
];

async function administer(server: Server, method: string, path: string, body: string, type = "application/json"): Promise<void> {
  const response = await fetch(server.admin + path, { method, body, headers: { authorization: `Bearer ${server.adminToken}`, "content-type": type } });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
}

async function tell(server: Server, stream: string, rows: readonly (readonly [to: string, ...Line])[], isUnread = false): Promise<void> {
  const now = Date.now();
  const messages = [...rows]
    .sort((a, b) => b[2] - a[2])
    .map(([to, from, ago, text, mentions]) => ({ from, to, time: now - ago * minute, body: { text }, ...(mentions && { mentions }) }));
  await administer(server, "POST", `/v1/import?stream=${stream}${isUnread ? "&unread=true" : ""}`, messages.map((m) => JSON.stringify(m)).join("\n"), "application/x-ndjson");
}

/** Signs a user in beside the page. */
async function signIn(server: Server, user: string): Promise<Client> {
  const client = createClient({ url: server.url, user, token: async () => server.token(user), WebSocket, manualRead: true });
  await new Promise<void>((resolve) => {
    const look = (): void => void (client.status.getSnapshot().synced && resolve());
    client.status.subscribe(look);
    look();
  });
  return client;
}

/** Fills the server with what the pictures show; resolves to those who stay online. */
async function prepare(server: Server): Promise<{ bob: Client; all: Client[] }> {
  const names = ["alice", "bob", "carol", "dave", "erin", "frank", "grace"];
  const clients = new Map<string, Client>();
  for (const name of names) clients.set(name, await signIn(server, name));
  const by = (name: string): Client => clients.get(name)!;
  await by("alice").request("createGroup", { group: "ringers", kind: "private", name: "Bell ringers", members: ["bob", "carol", "dave"] });
  await by("alice").request("setMember", { group: "ringers", user: "bob", role: "admin" });
  await by("erin").request("createGroup", { group: "river-walk", kind: "private", name: "River walk", members: ["alice", "bob", "grace"] });
  await by("frank").request("createGroup", { group: "open-tower", kind: "private", name: "Open tower day", members: ["alice", "erin"] });
  const toPeer = (line: Line): readonly [string, ...Line] => [line[0] === "alice" ? "u:bob" : "u:alice", ...line];
  await tell(server, "read", [...withBob.map(toPeer), ...ringers.map((l): readonly [string, ...Line] => ["g:ringers", ...l]), ...others]);
  await tell(server, "unread", unread, true);
  const say = async (name: string, conv: string, text: string): Promise<number> => {
    const settled = await (await by(name).send(conv, { text })).settled;
    if (settled.state !== "stored") throw new Error(`${name} to ${conv}: ${JSON.stringify(settled)}`);
    return settled.seq;
  };
  await say("alice", "u:bob", "I will tell her");
  await by("bob").readReport("u:alice", 10);
  const slip = await say("bob", "u:alice", "Saturday at ninr");
  await by("bob").recall("u:alice", slip);
  await say("bob", "u:alice", "Saturday at nine, then. Listen for the bell");
  await say("dave", "g:ringers", "On my way");
  await say("carol", "g:ringers", "The door is open");
  await by("alice").setConversation("g:ringers", { pinned: true });
  await by("alice").setConversation("g:river-walk", { muted: true });
  await by("alice").close();
  for (const away of ["dave", "erin", "frank", "grace"]) await by(away).close();
  return { bob: by("bob"), all: [by("bob"), by("carol")] };
}

async function open(browser: Browser, server: Server, options: BrowserContextOptions): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", timezoneId: "Europe/London", colorScheme: "light", ...options });
  const page = await context.newPage();
  await page.goto(`${server.url.replace("ws:", "http:").replace("/v1/ws", "/")}#token=${server.token("alice", 7 * 24 * 3600)}`);
  await page.locator(".state-lamp.is-online:not(.is-behind)").waitFor({ state: "attached" });
  await page.locator(".entry").nth(5).waitFor();
  return page;
}

async function shoot(page: Page, name: string): Promise<void> {
  await page.evaluate(() => document.fonts.ready.then(() => undefined));
  await page.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations !== Infinity).map((a) => a.finished.catch(() => undefined))));
  await page.mouse.move(0, 0);
  await page.screenshot({ path: join(images, `${name}.png`) });
}

async function main(): Promise<void> {
  await mkdir(images, { recursive: true });
  const server = await startBelfry("--console", "--history-ttl", `${30 * 24}h`);
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  let online: Client[] = [];
  try {
    const { bob, all } = await prepare(server);
    online = all;
    const goTo = async (page: Page, conv: string): Promise<void> => {
      await page.evaluate((to) => (location.hash = to), conv);
      await page.locator(".message").last().waitFor();
      await page.locator(".composer textarea").blur();
    };

    const phone = await open(browser, server, { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
    await shoot(phone, "console-phone-list");
    await goTo(phone, "u:bob");
    await phone.locator(".thread-head .lamp").waitFor();
    await shoot(phone, "console-phone");

    const desktop = await open(browser, server, {});
    await goTo(desktop, "u:bob");
    await desktop.locator(".thread-head .lamp").waitFor();
    await shoot(desktop, "console");

    const dark = await open(browser, server, { colorScheme: "dark", viewport: { width: 1400, height: 800 } });
    await goTo(dark, "g:ringers");
    await dark.getByRole("button", { name: "About this conversation" }).click();
    await dark.locator(".people li").nth(3).waitFor();
    bob.typing("g:ringers");
    await dark.locator(".thread-head .typing").waitFor();
    await dark.evaluate(() => (document.activeElement as HTMLElement).blur());
    await shoot(dark, "console-dark");

    await shootOperator(browser, server, images);
  } finally {
    await browser.close();
    await Promise.all(online.map((client) => client.close()));
    await server.end();
  }
}

await main();
