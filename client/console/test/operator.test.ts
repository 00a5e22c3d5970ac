/// <reference path="../../js/test/ws.d.ts" />
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser as Playwright, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Browser, inBrowsers } from "../../js/test/browser/harness.ts";
import { type Server, startBelfry } from "../../js/test/belfry.ts";
import { Device } from "../../js/test/device.ts";

const all = "the-token-for-all";
const reader = "the-token-to-read";

/** Makes a call of the administration API as an operator who may do all. */
async function admin(server: Server, method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(server.admin + path, {
    method,
    headers: { Authorization: `Bearer ${all}`, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
}

/** Logs a device in that acks nothing, and resolves when it is synced. */
async function login(server: Server, user: string, device: string): Promise<Device> {
  const d = await Device.connect(WebSocket, server.url);
  await d.request("login", { token: server.token(user), device, platform: "web" });
  await d.until("synced", () => d.pushes.some((push) => push.op === "onSynced"));
  return d;
}

/** What axe-core finds wrong with a page, "" if nothing. */
async function violations(page: Page): Promise<string> {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] }> } };
    return (await axe.run()).violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html} ${n.failureSummary ?? ""}`).join("\n")}`);
  });
  return found.join("\n");
}

inBrowsers((launch) => {
  let folder: string;
  let server: Server;
  let browser: Browser;
  let driver: Playwright;
  let id: string;
  const devices: Device[] = [];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "belfry-operator-"));
    await writeFile(join(folder, "admins"), `${all}\n${reader} read\n`, { mode: 0o600 });
    server = await startBelfry("--admin-token-file", join(folder, "admins"), "--recents", "50");
    await admin(server, "POST", "/v1/groups", { group: "team", kind: "private", owner: "alice", members: ["bob", "mallory"] });
    for (let i = 0; i < 3; i++) await admin(server, "POST", "/v1/messages", { from: "mallory", to: "g:team", cid: String(i), body: { text: "buy now" } });
    const sent = await admin(server, "POST", "/v1/messages", { from: "alice", to: "u:bob", cid: "hello", body: { text: "hello" } });
    id = (sent["results"] as { id: string }[])[0]?.id ?? "";
    devices.push(await login(server, "bob", "laptop"), await login(server, "bob", "phone"));
    browser = await launch();
    driver = await browser.playwright();
  });
  afterAll(async () => {
    for (const device of devices) device.close();
    await driver?.close();
    await browser?.close();
    await server?.end();
    if (folder) await rm(folder, { recursive: true, force: true });
  });

  /** Opens the page with a token, in a storage of its own. Errors of scripts and of the policy fail the test. */
  async function enter(token: string, options: { colorScheme?: "light" | "dark"; width?: number } = {}): Promise<{ page: Page; close(): Promise<void>; wrong: string[] }> {
    const context = await driver.newContext({ colorScheme: options.colorScheme ?? "light", viewport: { width: options.width ?? 1280, height: 900 } });
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    const wrong: string[] = [];
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("console", (message) => {
      if (/Content Security Policy|TrustedType/i.test(message.text())) wrong.push(message.text());
    });
    await page.goto(`${server.admin}/operator/`);
    await page.getByLabel("Admin token").fill(token);
    await page.getByRole("button", { name: "Look in" }).click();
    return { page, wrong, close: () => context.close() };
  }

  async function search(page: Page, text: string): Promise<void> {
    await page.getByRole("searchbox", { name: "Search" }).fill(text);
    await page.keyboard.press("Enter");
  }

  test("a wrong token is told with its code, and not kept", async () => {
    const { page, close, wrong } = await enter("not-a-token-of-the-server");
    await page.getByRole("alert").filter({ hasText: "unauthorized (401)" }).waitFor();
    expect(await page.evaluate(() => [sessionStorage.length, localStorage.length, document.cookie])).toEqual([0, 0, ""]);
    expect(await violations(page)).toBe("");
    expect(wrong).toEqual([]);
    await close();
  });

  test("a user, a group and a message are looked into", async () => {
    const { page, close, wrong } = await enter(reader);
    await page.getByText("may only look").waitFor();
    await search(page, "bob");
    await page.getByRole("heading", { name: "User bob" }).waitFor();
    await page.getByRole("row").filter({ hasText: "laptop" }).getByRole("button", { name: /Show frames/ }).click();
    const frames = page.getByRole("region", { name: /Newest frames of session/ });
    await frames.getByText("onSynced").waitFor();
    expect(await frames.textContent()).not.toContain("hello");
    expect(await page.getByRole("region", { name: "Sessions" }).getByRole("row").count()).toBe(3);
    expect(await page.getByRole("button", { name: "Kick all" }).count()).toBe(0);

    await page.getByRole("region", { name: "Conversations, the newest first" }).getByRole("link", { name: "1", exact: true }).click();
    await page.getByRole("heading", { name: "Message 1 of u:alice as bob has it" }).waitFor();
    await page.getByRole("region", { name: "Where it is" }).getByText(id).first().waitFor();
    expect(await page.getByRole("region", { name: "Where it is" }).getByRole("row").count()).toBe(3); // with the head

    await search(page, id.toLowerCase());
    await page.getByText("All users and groups are searched.", { exact: true }).waitFor();
    expect(await page.getByRole("region", { name: "Where it is" }).getByRole("row").count()).toBe(3);

    await search(page, "g:team");
    await page.getByRole("region", { name: "Members" }).getByRole("link", { name: "mallory" }).waitFor();
    await page.getByLabel("Sender").fill("mallory");
    await page.getByRole("button", { name: "Count" }).click();
    await page.getByText("mallory has 3 messages").waitFor();
    expect(await page.getByRole("button", { name: /Delete/ }).count()).toBe(0);

    await search(page, "Bob");
    await page.getByRole("alert").filter({ hasText: "There is no user Bob" }).waitFor();
    expect(await page.getByText(/Not logged in anywhere|^None\.$/).count()).toBe(0);
    expect(await violations(page)).toBe("");
    await search(page, "two words");
    await page.getByRole("alert").filter({ hasText: "Want a user" }).waitFor();
    expect(wrong).toEqual([]);
    await close();

    const refused = await fetch(`${server.admin}/v1/groups/team/messages?sender=mallory`, { method: "DELETE", headers: { Authorization: `Bearer ${reader}` } });
    expect(refused.status).toBe(403);
  });

  test("who could not log in is told with the reason, and whom a user blocks", async () => {
    const carol = await login(server, "carol", "phone");
    devices.push(carol);
    expect(await carol.request("block", { user: "mallory" })).not.toHaveProperty("err");
    await admin(server, "PATCH", "/v1/users/dora", { suspended: true });
    const dora = await Device.connect(WebSocket, server.url);
    devices.push(dora);
    expect(await dora.request("login", { token: server.token("dora"), device: "phone", platform: "web" })).toMatchObject({ err: { code: "forbidden" } });
    const { page, close, wrong } = await enter(reader);
    await search(page, "carol");
    await page.getByRole("region", { name: "Blocks: these cannot write to them" }).getByRole("link", { name: "mallory" }).waitFor();
    await search(page, "dora");
    const refused = page.getByRole("region", { name: /Refused at the login/ });
    await refused.getByText("suspended").waitFor();
    await page.getByRole("link", { name: "Sick sessions" }).click();
    await refused.getByRole("link", { name: "dora" }).waitFor();
    expect(await violations(page)).toBe("");
    expect(wrong).toEqual([]);
    await close();
    expect(await (await fetch(`${server.admin}/`)).text()).toContain("<title>");
  });

  test("with the scope write a sender's messages are deleted and sessions ended, and the audit has it", async () => {
    const { page, close, wrong } = await enter(all);
    await search(page, "g:team");
    await page.getByLabel("Sender").fill("mallory");
    await page.getByRole("button", { name: "Count" }).click();
    await page.getByRole("button", { name: "Delete 3 messages of mallory" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("They cannot be brought back.").waitFor();
    expect(await violations(page)).toBe("");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Count" }).click();
    await page.getByText("mallory has 3 messages").waitFor(); // nothing happened
    await page.getByRole("button", { name: "Delete 3 messages of mallory" }).click();
    await dialog.getByRole("button", { name: "Delete 3 messages of mallory" }).click();
    await page.getByText("3 messages of mallory are deleted.").waitFor();

    await search(page, "bob");
    await page.getByRole("button", { name: "Kick phone" }).click();
    await dialog.getByRole("button", { name: "Kick phone" }).click();
    await page.getByText("One session ended").waitFor();

    await page.getByRole("link", { name: "Audit" }).click();
    const changes = page.getByRole("region", { name: /Changes by administration/ });
    await changes.getByRole("row").filter({ hasText: "deleteSender" }).filter({ hasText: "mallory in team" }).waitFor();
    await changes.getByRole("row").filter({ hasText: "kickSessions" }).filter({ hasText: "bob on phone" }).waitFor();
    expect(await page.content()).not.toContain(all);
    expect(wrong).toEqual([]);
    await close();
  });

  test("every page is without fault to axe, in light and dark and on a phone", async () => {
    for (const options of [{ colorScheme: "light" as const, width: 1280 }, { colorScheme: "dark" as const, width: 380 }]) {
      const { page, close, wrong } = await enter(all, options);
      await page.getByText("may change").waitFor();
      for (const [hash, wait] of [
        ["#/nodes", "Replicas"],
        ["#/sick", "No connection was closed for these."],
        ["#/settings", "recents"],
        ["#/audit", "Changes by administration"],
        ["#/user/bob", "Conversations, the newest first"],
        ["#/group/team", "Requests to join"],
        ["#/trace/bob/u%3Aalice/1", "Where it is"],
        [`#/message/${id}`, "All users and groups are searched."],
      ] as const) {
        await page.evaluate((to) => (location.hash = to), hash);
        await page.getByText(wait, { exact: wait.endsWith(".") }).first().waitFor();
        expect(await violations(page), `${hash} ${options.colorScheme}`).toBe("");
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(wide, `${hash} is wider than a window of ${options.width}`).toBeLessThanOrEqual(0);
      }
      expect(wrong).toEqual([]);
      await close();
    }
  });

  test("a paused page asks for nothing more, and one that goes on reads again", async () => {
    const { page, close } = await enter(reader);
    await page.getByRole("link", { name: "Sick sessions" }).click();
    await page.getByText("No connection was closed for these.").waitFor();
    await page.waitForResponse((r) => r.url().includes("/v1/sick")); // by itself
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Paused" }).waitFor();
    await page.waitForLoadState("networkidle");
    let asked = 0;
    page.on("request", () => asked++);
    await page.clock.install();
    await page.clock.runFor(60_000);
    expect(asked).toBe(0);
    await page.getByRole("button", { name: "Refresh" }).click();
    await expect.poll(() => asked, { timeout: 60_000 }).toBe(1);
    await close();
  });
}, "chromium");
