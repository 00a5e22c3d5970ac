/**
 * Drives Debian's Chromium and Firefox for tests in js/test/browser/*.test.ts:
 *
 *     import { afterAll, beforeAll, expect, test } from "vitest";
 *     import { type Browser, inBrowsers, type Site, serve } from "./harness.ts";
 *
 *     declare const page: typeof import("./pages/mine.ts"); // what the page's script exports
 *
 *     inBrowsers((launch) => {
 *       let site: Site;
 *       let browser: Browser;
 *       beforeAll(async () => {
 *         site = await serve({ "/": "pages/mine.ts" }); // bundled; a URL below this folder, or an absolute path
 *         browser = await launch();
 *       });
 *       afterAll(async () => {
 *         await browser?.close();
 *         await site?.close();
 *       });
 *       test("…", async () => {
 *         const tab = await browser.open(site.url("/"));
 *         expect(await tab.evaluate((n) => page.twice(n), 4)).toBe(8);
 *         await tab.until((n) => page.count() >= n, 3); // polls; only its time-out fails
 *       });
 *     });
 *
 * - Functions given to `evaluate` and `until` are sent as text: they see the page's
 *   globals, `page`, and their argument. Arguments and results go as JSON.
 * - `browser.open` opens a tab in the profile's own storage, `newContext` makes a
 *   storage apart from it. `launch({ private: true })` has only private windows.
 * - `tab.crash()`, `browser.kill()`: as after a power cut. `launch({ profile })` with a
 *   profile of `makeProfile()` finds again what was kept; whoever made it removes it.
 *   Without one the browser has a new profile, which goes with it.
 * - Chromium alone: `tab.cdp(method, params)` (freeze: Page.setWebLifecycleState), and
 *   `browser.playwright()` for what has to click, type and look.
 * - A browser that is not installed fails the tests where CI is set; elsewhere they
 *   say NOT RUN. Browsers and profiles go even if the tests are killed.
 */

import { existsSync } from "node:fs";

import { type Browser as PlaywrightBrowser, chromium } from "playwright-core";
import { describe, test, vi } from "vitest";

import { chromiumPath, launchChromium } from "./chromium.ts";
import type { BrowserName, Driver, LaunchOptions, TabDriver } from "./driver.ts";
import { firefoxPath, launchFirefox } from "./firefox.ts";
import { makeProfile, type Profile } from "./process.ts";

export { serve, type Site } from "./site.ts";
export { makeProfile, type Profile } from "./process.ts";

export interface Browser {
  readonly name: BrowserName;
  readonly version: string;
  /** Of the browser's first process, the leader of a process group of all of them. */
  readonly pid: number;
  readonly profile: Profile;
  open(url: string): Promise<Tab>;
  newContext(): Promise<Context>;
  /** The same browser for playwright-core. Chromium only. */
  playwright(): Promise<PlaywrightBrowser>;
  /** Ends the browser as its user would, and removes its profile unless it was given. */
  close(): Promise<void>;
  /** Kills all of the browser's processes. Its profile stays until `close`. */
  kill(): Promise<void>;
}

/** Storage apart from the profile's, in memory in Chromium, a container in Firefox. */
export interface Context {
  open(url: string): Promise<Tab>;
  /** Closes its tabs and removes its storage. */
  close(): Promise<void>;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

export interface Tab extends Pick<TabDriver, "log" | "goto" | "reload" | "back" | "front" | "close" | "crash" | "cdp"> {
  /** Runs a function in the page and resolves to what it returns, or what that resolves to. */
  evaluate<T>(fn: () => T): Promise<Awaited<T>>;
  evaluate<T, A extends Json>(fn: (arg: A) => T, arg: A): Promise<Awaited<T>>;
  /** Resolves when the function returns something true. */
  until(fn: () => unknown): Promise<void>;
  until<A extends Json>(fn: (arg: A) => unknown, arg: A): Promise<void>;
}

export type Launch = (options?: Omit<LaunchOptions, "folder"> & { profile?: Profile }) => Promise<Browser>;

const browsers = {
  chromium: { path: chromiumPath, launch: launchChromium },
  firefox: { path: firefoxPath, launch: launchFirefox },
};

// A busy machine takes half a minute to start a browser.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

/** Defines the tests once for each browser, or those of `only`. */
export function inBrowsers(define: (launch: Launch, name: BrowserName) => void, only?: BrowserName): void {
  for (const name of ["chromium", "firefox"] as const) {
    if (only !== undefined && only !== name) continue;
    const { path } = browsers[name];
    if (existsSync(path)) {
      describe(name, () => define((options) => launch(name, options), name));
    } else if (process.env.CI) {
      test(name, () => {
        throw new Error(`${path} is not installed`);
      });
    } else {
      test.skip(`NOT RUN: ${path} is not installed`);
    }
  }
}

async function launch(name: BrowserName, options: Parameters<Launch>[0] = {}): Promise<Browser> {
  const { profile: given, ...rest } = options;
  const profile = given ?? (await makeProfile());
  const removeProfile = async () => {
    if (!given) await profile.remove();
  };
  let driver: Driver;
  try {
    driver = await browsers[name].launch({ ...rest, folder: profile.folder });
  } catch (err) {
    await removeProfile();
    throw err;
  }
  let running = true;
  const open = async (context: string | null, url: string) => {
    const tab = tabOf(await driver.open(context));
    await tab.goto(url);
    return tab;
  };
  return {
    name,
    version: driver.version,
    pid: driver.pid,
    profile,
    open: (url) => open(null, url),
    async newContext() {
      const context = await driver.newContext();
      return { open: (url) => open(context, url), close: () => driver.removeContext(context) };
    },
    playwright() {
      if (driver.cdpUrl === undefined) throw new Error(`playwright-core cannot drive ${name}`);
      return chromium.connectOverCDP(driver.cdpUrl);
    },
    async close() {
      if (running) await driver.quit();
      running = false;
      await removeProfile();
    },
    async kill() {
      running = false;
      await driver.kill();
    },
  };
}

/** How often `until` asks, and after what time it gives up. */
const pollMs = 25;
const patienceMs = 120_000;

function tabOf(driver: TabDriver): Tab {
  const run = async (fn: (arg: never) => unknown, arg?: Json): Promise<unknown> => {
    const call = `(${fn.toString()})(${arg === undefined ? "" : JSON.stringify(arg)})`;
    const text = await driver.evaluate(`(async () => JSON.stringify(await ${call}) ?? "null")()`);
    return JSON.parse(text);
  };
  const until = async (fn: (arg: never) => unknown, arg?: Json) => {
    const end = Date.now() + patienceMs;
    while (!(await run(fn, arg))) {
      if (Date.now() > end) throw new Error(`never true: ${fn.toString()}\nthe page says:\n${driver.log.join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  };
  const { log, goto, reload, back, front, close, crash, cdp } = driver;
  const tab = { log, goto, reload, back, front, close, crash, evaluate: run as Tab["evaluate"], until: until as Tab["until"] };
  return cdp ? { ...tab, cdp } : tab;
}
