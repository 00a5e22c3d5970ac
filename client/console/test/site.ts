/** The console as people use it, in Chromium, on the real server. */
import type { Browser as Playwright, BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import { expect } from "vitest";
import type { Server } from "../../js/test/belfry.ts";

/** After this a step has failed. */
const patienceMs = 120_000;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** One person at one browser window. */
export interface Person {
  readonly name: string;
  readonly page: Page;
  readonly context: BrowserContext;
  /** What the page has logged as a warning or an error, violations of its policy included. */
  readonly complaints: string[];
}

export const pageURL = (server: Server): string => server.url.replace("ws:", "http:").replace("/v1/ws", "/");

/** Opens a window of its own storage, and notes what its page complains about. */
export async function openWindow(browser: Playwright, name: string, options: BrowserContextOptions = {}): Promise<Person> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", locale: "en-GB", ...options });
  context.setDefaultTimeout(patienceMs);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (err) => complaints.push(`${err.name}: ${err.message}`));
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warning") complaints.push(m.text());
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
  });
  return { name, page, context, complaints };
}

/** Signs a person in by the address, and waits until all is there. */
export async function signIn(browser: Playwright, server: Server, name: string, options: BrowserContextOptions = {}): Promise<Person> {
  const person = await openWindow(browser, name, options);
  await person.page.goto(`${pageURL(server)}#token=${server.token(name)}`);
  await online(person);
  return person;
}

export async function online({ page }: Person): Promise<void> {
  await page.locator(".state-lamp.is-online:not(.is-behind)").waitFor({ state: "attached" });
}

export async function openChat({ page }: Person, conv: string): Promise<void> {
  await page.evaluate((to) => (location.hash = to), conv);
  await page.locator(".composer textarea").waitFor();
}

export async function write({ page }: Person, text: string): Promise<void> {
  await page.locator(".composer textarea").fill(text);
  await page.locator(".composer textarea").press("Enter");
}

/** The row of a message with a text. */
export const said = ({ page }: Person, text: string) => page.locator(".message", { hasText: text });

/** Waits until the server has stored a message of one's own. */
export async function stored(person: Person, text: string): Promise<void> {
  await said(person, text).locator(".icon-check, .icon-checks").waitFor({ state: "attached" });
}

/** Opens the menu of a message by the keyboard, and picks an entry. */
export async function pick(person: Person, text: string, entry: string): Promise<void> {
  const row = said(person, text).locator(".row-focus");
  await row.focus();
  await row.press("Enter");
  await person.page.getByRole("menuitem", { name: entry }).click();
}

/** Waits until the page's animations are over, and expects axe to find nothing. */
export async function expectAccessible({ page }: Person, what: string): Promise<void> {
  await page.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations !== Infinity).map((a) => a.finished.catch(() => undefined))));
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run());
  expect(violations.map((v) => `${what}: ${v.id}: ${v.nodes.map((n) => `${n.target.join(" ")} ${n.failureSummary}`).join("; ")}`)).toEqual([]);
}
