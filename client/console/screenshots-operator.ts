/// <reference path="../js/test/ws.d.ts" />
/** The part of `make screenshots` that looks at the operator page. */
import type { Browser } from "playwright-core";
import { WebSocket } from "ws";
import type { Server } from "../js/test/belfry.ts";
import { Device } from "../js/test/device.ts";

/** Makes operator.png and operator-phone.png in a folder, of a user who is in trouble. */
export async function shootOperator(browser: Browser, server: Server, folder: string): Promise<void> {
  const admin = async (method: string, path: string, body: unknown): Promise<void> => {
    const response = await fetch(server.admin + path, {
      method,
      headers: { Authorization: `Bearer ${server.adminToken}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  };
  const send = (from: string, to: string, n: number): Promise<void> => admin("POST", "/v1/messages", { from, to, cid: `operator-${to}-${n}`, body: { text: `message ${n}` } });
  await admin("POST", "/v1/groups", { group: "night-shift", kind: "private", owner: "heidi", members: ["ivan", "judy"], name: "Night shift" });
  for (let i = 0; i < 12; i++) await send(i % 3 === 0 ? "judy" : "heidi", "g:night-shift", i);
  for (let i = 0; i < 5; i++) await send("judy", "u:ivan", i);
  const devices: Device[] = [];
  for (const [device, platform] of [["phone", "android"], ["laptop", "web"]] as const) {
    const d = await Device.connect(WebSocket, server.url);
    await d.request("login", { token: server.token("ivan"), device, platform });
    await d.until("synced", () => d.pushes.some((push) => push.op === "onSynced"));
    devices.push(d);
  }
  await devices[1]?.request("setState", { background: true });
  for (const [name, options] of [
    ["operator", { viewport: { width: 1280, height: 800 } }],
    ["operator-phone", { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, colorScheme: "dark" }],
  ] as const) {
    const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/London", colorScheme: "light", ...options });
    const page = await context.newPage();
    await page.goto(`${server.admin}/operator/#/user/ivan`);
    await page.getByLabel("Admin token").fill(server.adminToken);
    await page.getByRole("button", { name: "Look in" }).click();
    await page.getByRole("button", { name: "Show frames of session 2" }).click();
    await page.getByRole("region", { name: /Newest frames/ }).waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    await page.evaluate(() => {
      (document.activeElement as HTMLElement).blur();
      return document.fonts.ready.then(() => undefined);
    });
    await page.screenshot({ path: `${folder}/${name}.png` });
    await context.close();
  }
  for (const d of devices) d.close();
}
