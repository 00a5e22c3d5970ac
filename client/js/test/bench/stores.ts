/**
 * Times stores of 100,000 messages, in client/: npx vite-node js/test/bench/stores.ts [file] [chromium] [firefox]
 *
 * Browsers are started anew between filling and reading.
 */

import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { fileStore } from "../../src/file.ts";
import { launchChromium } from "../browser/chromium.ts";
import type { Driver } from "../browser/driver.ts";
import { launchFirefox } from "../browser/firefox.ts";
import { makeProfile } from "../browser/process.ts";
import { serve } from "../browser/site.ts";
import { fill, type Figures, measure } from "./work.ts";

const ms = (n: number) => `${n < 10 ? n.toFixed(2) : n.toFixed(0)} ms`;

function print(name: string, fillMs: number, f: Figures): void {
  console.log(`${name}: filled in ${(fillMs / 1000).toFixed(1)} s; open ${ms(f.openMs)}, 100 conversations ${ms(f.listMs)}, page of 20 ${ms(f.pageMs)}, write ${ms(f.writeMs)}`);
}

async function inFile(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "belfry-bench-"));
  const open = () => fileStore(folder)({ server: "ws://127.0.0.1/v1/ws", user: "bench" });
  const { store } = await open();
  const fillMs = await fill(store);
  await store.close();
  const figures = await measure(open);
  print(`file, Node ${process.version}, ${readdirSync(folder).map((n) => (statSync(join(folder, n)).size / 1e6).toFixed(1)).join()} MB`, fillMs, figures);
  rmSync(folder, { recursive: true });
}

async function inBrowser(launch: (options: { folder: string }) => Promise<Driver>): Promise<void> {
  const site = await serve({ "/": "../bench/page.ts" });
  const profile = await makeProfile();
  const evaluate = async <T>(call: string): Promise<[T, string]> => {
    const browser = await launch({ folder: profile.folder });
    const tab = await browser.open(null);
    await tab.goto(site.url("/"));
    const result = JSON.parse(await tab.evaluate(`page.${call}().then(JSON.stringify)`)) as T;
    await browser.quit();
    return [result, browser.version];
  };
  const [fillMs, version] = await evaluate<number>("fill");
  const [figures] = await evaluate<Figures>("measure");
  print(version, fillMs, figures);
  await profile.remove();
  await site.close();
}

const all = { file: inFile, chromium: () => inBrowser(launchChromium), firefox: () => inBrowser(launchFirefox) };
const chosen = process.argv.slice(2);
for (const [name, run] of Object.entries(all)) if (chosen.length === 0 || chosen.includes(name)) await run();
process.exit(0); // whatever vite-node keeps open
