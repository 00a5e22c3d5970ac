/**
 * Measures the heap of a page in Chromium, after a collection, while a window of 50 is
 * scrolled back through 100,000 messages, in client/: npx vite-node js/test/bench/scroll.ts
 */

import { launchChromium } from "../browser/chromium.ts";
import { makeProfile } from "../browser/process.ts";
import { serve } from "../browser/site.ts";

const messages = 100_000;
const steps = 8;
const site = await serve({ "/": "../bench/scrollpage.ts" });
const profile = await makeProfile();
const browser = await launchChromium({ folder: profile.folder });
const tab = await browser.open(null);
await tab.goto(site.url("/"));
await tab.evaluate(`page.open(${messages}).then(String)`);
for (let step = 0; step <= steps; step++) {
  const [first, rows] = JSON.parse(await tab.evaluate(`page.older(${step && messages / 50 / steps}).then(JSON.stringify)`)) as [number, number];
  await tab.cdp!("HeapProfiler.collectGarbage");
  const { usedSize } = await tab.cdp!<{ usedSize: number }>("Runtime.getHeapUsage");
  console.log(`from seq ${first}: ${rows} rows, ${(usedSize / 1e6).toFixed(2)} MB`);
}
await browser.quit();
await profile.remove();
await site.close();
process.exit(0); // whatever vite-node keeps open
