import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";

import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";

import { type Browser, inBrowsers, makeProfile, type Site, serve } from "./harness.ts";
import { processesOf } from "./process.ts";

declare const page: typeof import("./pages/probe.ts");

inBrowsers((launch) => {
  let site: Site;
  let browser: Browser;
  beforeAll(async () => {
    site = await serve({ "/": "pages/probe.ts", "/other": "pages/probe.ts" });
    browser = await launch();
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  test("evaluates in the page, with arguments, results and errors", async () => {
    const tab = await browser.open(site.url("/"));
    expect(await tab.evaluate((n) => page.twice(n), 21)).toBe(42);
    expect(await tab.evaluate(() => undefined)).toBe(null);
    await expect(tab.evaluate(() => page.fail())).rejects.toThrow("this page fails");
    await tab.evaluate(() => console.log("a word"));
    await expect.poll(() => tab.log.join()).toContain("a word");
    await tab.close();
  });

  test("tabs share storage and channels, contexts do not", async () => {
    const [one, two] = [await browser.open(site.url("/")), await browser.open(site.url("/other"))];
    const context = await browser.newContext();
    const apart = await context.open(site.url("/"));
    for (const tab of [one, apart, two]) await tab.evaluate(() => page.greet());
    await one.evaluate(() => page.remember("kept"));
    await two.until(() => page.othersSeen() === 1);
    expect(await two.evaluate(() => page.remembered())).toBe("kept");
    expect(await apart.evaluate(() => [page.remembered(), page.othersSeen()])).toEqual([null, 0]);
    await context.close();
    await one.close();
    await two.close();
  });

  test("goes back to a page that was left", async () => {
    const tab = await browser.open(site.url("/"));
    await tab.goto(site.url("/other"));
    await tab.back();
    await tab.until(() => location.pathname === "/" && typeof page === "object");
    await tab.reload();
    expect(await tab.evaluate(() => location.pathname)).toBe("/");
    await tab.close();
  });

  test("a crashed tab is gone, the browser goes on", async () => {
    const tab = await browser.open(site.url("/"));
    const stuck = expect(tab.evaluate(() => new Promise(() => {}))).rejects.toThrow("the tab has crashed");
    await tab.crash();
    await stuck;
    const next = await browser.open(site.url("/"));
    expect(await next.evaluate((n) => page.twice(n), 1)).toBe(2);
    await next.close();
  });

  test("a killed browser leaves no process, and its profile serves again", async () => {
    const profile = await makeProfile();
    const first = await launch({ profile });
    const tab = await first.open(site.url("/"));
    await tab.evaluate(() => page.remember("kept"));
    await first.kill();
    expect(processesOf(first.pid, profile.folder)).toEqual([]);
    await expect(tab.evaluate(() => 1)).rejects.toThrow("connection has ended");
    const second = await launch({ profile });
    await (await second.open(site.url("/"))).evaluate(() => page.remember("kept"));
    await second.close();
    const third = await launch({ profile });
    expect(await (await third.open(site.url("/"))).evaluate(() => page.remembered())).toBe("kept");
    await third.close();
    await profile.remove();
    expect(existsSync(profile.folder)).toBe(false);
  });

  test("a private window works, and keeps nothing", async () => {
    const profile = await makeProfile();
    for (let i = 0; i < 2; i++) {
      const hidden = await launch({ profile, private: true });
      const tab = await hidden.open(site.url("/"));
      expect(await tab.evaluate(() => page.remembered())).toBe(null);
      await tab.evaluate(() => page.remember("not kept"));
      await hidden.close();
    }
    await profile.remove();
  });
});

inBrowsers((launch) => {
  test("a browser and its profile go with the process that started it, however that ends", async () => {
    const cache = join(import.meta.dirname, `../../../node_modules/.cache/belfry-orphan-${process.pid}`);
    const script = join(cache, "orphan.mjs");
    await build({ entryPoints: [join(import.meta.dirname, "orphan.ts")], outfile: script, bundle: true, platform: "node", format: "esm" });
    const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const { pid, folder } = JSON.parse(line.toString()) as { pid: number; folder: string };
    expect(processesOf(pid, folder)).not.toEqual([]);
    child.kill("SIGKILL");
    await expect.poll(() => processesOf(pid, folder), { timeout: 120_000 }).toEqual([]);
    await expect.poll(() => existsSync(folder), { timeout: 120_000 }).toBe(false);
    rmSync(cache, { recursive: true });
  });

  test("Chromium can be driven by playwright-core too", async () => {
    const site = await serve({ "/": "pages/probe.ts" });
    const browser = await launch();
    const driver = await browser.playwright();
    const tab = await (await driver.newContext()).newPage();
    await tab.goto(site.url("/"));
    expect(await tab.evaluate(() => page.twice(2))).toBe(4);
    await driver.close();
    await browser.close();
    await site.close();
  });
}, "chromium");
