import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";

import { contract } from "../store/contract.ts";
import { type Browser, inBrowsers, makeProfile, type Profile, type Site, serve } from "./harness.ts";

declare const page: typeof import("./pages/store.ts");

/** How often pages are crashed and browsers killed while they write. */
const kills = Number(process.env.BELFRY_KILLS ?? 2);

inBrowsers((launch, name) => {
  let site: Site;
  let browser: Browser;
  beforeAll(async () => {
    site = await serve({ "/": "pages/store.ts", "/nowhere": "pages/store.ts" }, {}, { "/nowhere": "sandbox allow-scripts" });
    browser = await launch();
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  for (const what of Object.keys(contract)) {
    test(what, async () => {
      const tab = await browser.open(site.url("/"));
      await tab.evaluate(({ what, effort }) => page.keeps(what, effort), { what, effort: { seed: 1, runs: 6, stepsPerRun: 15 } });
      await tab.close();
    });
  }

  test("is persistent once the browser has promised to keep it, and else temporary", async () => {
    for (const granted of [false, true]) {
      const one = await launch({ prefs: { "dom.storageManager.prompt.testing": true, "dom.storageManager.prompt.testing.allow": granted } });
      const tab = await one.open(site.url("/"));
      await tab.cdp?.("Browser.setPermission", { permission: { name: "persistent-storage" }, setting: granted ? "granted" : "denied" });
      const opened = await tab.evaluate(() => page.start("alice"));
      expect(opened).toEqual(granted ? { durability: "persistent" } : { durability: "temporary", cause: "notGranted" });
      await one.close();
    }
  });

  test("does not wait for a user who is asked whether to keep it", async () => {
    const tab = await browser.open(site.url("/"));
    await tab.evaluate(() => (navigator.storage.persist = () => new Promise(() => {})));
    await tab.evaluate(() => (navigator.storage.persisted = () => Promise.resolve(false)));
    const opened = await tab.evaluate(() => page.start("asked"));
    expect(opened).toEqual({ durability: "temporary", cause: "notGranted" });
    await tab.close();
  });

  test("tabs see what others write, and append one behind the other", async () => {
    const [one, two] = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
    for (const tab of [one, two]) await tab.evaluate(() => page.start("tabs"));
    const given: number[] = [];
    for (let i = 0; i < 10; i++) given.push(await (i % 2 ? one : two).evaluate((n) => page.append(n), i));
    expect(given).toEqual([...given].sort((a, b) => a - b));
    expect(await one.evaluate(() => page.list("outbox"))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await one.close();
    await two.close();
  });

  test("a crashed tab leaves whole batches, with all that was promised", async () => {
    for (let i = 0; i < kills; i++) {
      const tab = await browser.open(site.url("/"));
      await tab.evaluate((user) => page.start(user), `crash ${i}`);
      await tab.evaluate(() => page.writeForEver());
      await tab.until((n) => page.progress() > n, 5 * i);
      const promised = await tab.evaluate(() => page.progress());
      await tab.crash();
      await tab.close().catch(() => {}); // Firefox closes none that has crashed
      await expectWhole(browser, `crash ${i}`, promised);
    }
  });

  test("a killed browser leaves whole batches, with all that was promised", async () => {
    const profile = await makeProfile();
    let next = await launch({ profile });
    for (let i = 0; i < kills; i++) {
      const tab = await next.open(site.url("/"));
      await tab.evaluate((user) => page.start(user), `kill ${i}`);
      await tab.evaluate(() => page.writeForEver());
      await tab.until((n) => page.progress() > n, 5 * i);
      const promised = await tab.evaluate(() => page.progress());
      await next.kill();
      next = await launch({ profile });
      await expectWhole(next, `kill ${i}`, promised);
    }
    await next.close();
    await profile.remove();
  });

  async function expectWhole(b: Browser, user: string, promised: number): Promise<void> {
    const tab = await b.open(site.url("/"));
    expect(await tab.evaluate((u) => page.start(u), user)).toMatchObject({ durability: expect.not.stringMatching("memory") });
    const { count, messages } = await tab.evaluate(() => page.wholeBatches());
    expect(messages).toBe(count);
    expect(count).toBeGreaterThanOrEqual(promised);
    await tab.close();
  }

  for (const table of ["messages", "conversations", "meta", "outbox"]) {
    test(`says that it lost something when ${table} are gone`, async () => {
      const tab = await browser.open(site.url("/"));
      await tab.evaluate(() => page.start("damaged"));
      await tab.evaluate(() => page.put("a", 1));
      const n = await tab.evaluate(() => page.append("unsent"));
      await tab.evaluate(() => page.close());
      await tab.evaluate((t) => page.damage(t), table);
      expect(await tab.evaluate(() => page.start("damaged"))).toMatchObject({ durability: expect.not.stringMatching("memory"), lost: true });
      expect(await tab.evaluate(() => page.list("messages"))).toEqual([]);
      expect(await tab.evaluate(() => page.list("outbox"))).toEqual(table === "outbox" ? [] : ["unsent"]);
      expect(await tab.evaluate(() => page.append("next"))).toBeGreaterThan(n);
      await tab.evaluate(() => page.close());
      expect(await tab.evaluate(() => page.start("damaged"))).not.toHaveProperty("lost");
      await tab.evaluate(() => page.erase());
      await tab.close();
    });
  }

  test("says that it lost all when the browser's folder of databases is gone", async () => {
    const profile = await makeProfile();
    const first = await launch({ profile });
    const tab = await first.open(site.url("/"));
    await tab.evaluate(() => page.start("alice"));
    await tab.evaluate(() => page.put("a", 1));
    await first.close();
    const databases = foldersOf(name, profile);
    expect(databases.length).toBeGreaterThan(0);
    for (const folder of databases) rmSync(folder, { recursive: true });
    const second = await launch({ profile });
    const after = await second.open(site.url("/"));
    expect(await after.evaluate(() => page.start("alice"))).toMatchObject({ durability: expect.not.stringMatching("memory"), lost: true });
    expect(await after.evaluate(() => page.read("a"))).toBe(null);
    await after.evaluate(() => page.close());
    expect(await after.evaluate(() => page.start("alice"))).not.toHaveProperty("lost");
    await second.close();
    await profile.remove();
  });

  test("an erased store is not lost", async () => {
    const tab = await browser.open(site.url("/"));
    await tab.evaluate(() => page.start("erased"));
    await tab.evaluate(() => page.erase());
    expect(await tab.evaluate(() => page.start("erased"))).not.toHaveProperty("lost");
    await tab.close();
  });

  test("an old tab lets go of its store for a newer one, and says so", async () => {
    const [old, young] = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
    await old.evaluate(() => page.start("upgraded"));
    await old.evaluate(() => page.put("a", 1));
    expect(await young.evaluate(() => page.start("upgraded", 2))).toMatchObject({ durability: expect.not.stringMatching("memory") });
    expect(await young.evaluate(() => page.read("a"))).toBe(1);
    expect([await old.evaluate(() => page.failureOf("put")), await old.evaluate(() => page.failureOf("read"))]).toEqual(["closed", "closed"]);
    expect(await old.evaluate(() => page.start("upgraded"))).toMatchObject({ durability: "memory", cause: "outdated" });
    await old.close();
    await young.close();
  });

  test("an old tab that does not let go means memory", async () => {
    const [old, young] = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
    await old.evaluate(() => page.start("held"));
    await old.evaluate(() => page.close());
    await old.evaluate(() => page.hold("held", 1));
    expect(await young.evaluate(() => page.start("held", 2, 10_000))).toMatchObject({ durability: "memory", cause: "blocked" });
    await young.evaluate(() => page.put("a", 1));
    expect(await young.evaluate(() => page.read("a"))).toBe(1);
    await old.close();
    expect(await young.evaluate(() => page.start("held", 2))).toMatchObject({ durability: expect.not.stringMatching("memory") });
    await young.close();
  });

  test("a database that does not open in time means memory", async () => {
    const [old, young] = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
    await old.evaluate(() => page.start("stuck"));
    await old.evaluate(() => page.close());
    await old.evaluate(() => page.hold("stuck", 1));
    expect(await young.evaluate(() => page.drop("stuck"))).toBe("blocked");
    expect(await young.evaluate(() => page.start("stuck", 1, 2_000))).toMatchObject({ durability: "memory", cause: "timeout" });
    await old.close();
    await young.close();
  });

  test("erasing takes all away, also while an old tab does not let go", async () => {
    const [old, young] = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
    await young.evaluate(() => page.start("leaving"));
    await young.evaluate(() => page.put("a", 1));
    await old.evaluate(() => page.hold("leaving", 1));
    await young.evaluate(() => page.erase());
    await old.close();
    expect(await young.evaluate(() => page.start("leaving"))).toMatchObject({ durability: expect.not.stringMatching("memory") });
    expect(await young.evaluate(() => page.read("a"))).toBe(null);
    await young.close();
  });

  test("a page that may not store anything goes on in memory", async () => {
    const tab = await browser.open(site.url("/nowhere"));
    expect(await tab.evaluate(() => page.start("alice"))).toMatchObject({ durability: "memory", cause: "denied" });
    await tab.evaluate(() => page.put("a", 1));
    expect(await tab.evaluate(() => page.read("a"))).toBe(1);
    await tab.close();
  });

  test("a full disk refuses writes and keeps what there is", async () => {
    const small = await launch({ prefs: { "dom.quotaManager.temporaryStorage.fixedLimit": 30 << 10 } });
    const tab = await small.open(site.url("/"));
    await tab.cdp?.("Storage.overrideQuotaForOrigin", { origin: site.origin, quotaSize: 30 << 20 });
    await tab.evaluate(() => page.start("full"));
    await tab.evaluate(() => page.put("a", 1));
    const { failure, written, held } = await tab.evaluate(() => page.fill(1 << 20, 100));
    expect({ failure, held }).toEqual({ failure: "quota", held: written });
    expect(await tab.evaluate(() => page.read("a"))).toBe(1);
    await small.close();
  });

  test("a private window works as long as it is open", async () => {
    const hidden = await launch({ private: true });
    const tab = await hidden.open(site.url("/"));
    expect(await tab.evaluate(() => page.start("private"))).toMatchObject({ durability: "temporary", cause: "notGranted" });
    await tab.evaluate(() => page.put("a", 1));
    expect(await tab.evaluate(() => page.read("a"))).toBe(1);
    await hidden.close();
  });

  function foldersOf(of: typeof name, profile: Profile): string[] {
    const base = of === "chromium" ? join(profile.folder, "Default", "IndexedDB") : join(profile.folder, "storage", "default");
    const found = readdirSync(base).map((entry) => (of === "chromium" ? join(base, entry) : join(base, entry, "idb")));
    return found.filter((folder) => existsSync(folder));
  }
});

inBrowsers((launch) => {
  test("a private window that may not store anything goes on in memory", async () => {
    const site = await serve({ "/": "pages/store.ts" });
    const hidden = await launch({ private: true, prefs: { "dom.indexedDB.privateBrowsing.enabled": false } });
    const tab = await hidden.open(site.url("/"));
    expect(await tab.evaluate(() => page.start("alice"))).toMatchObject({ durability: "memory", cause: "denied" });
    await hidden.close();
    await site.close();
  });
}, "firefox");

inBrowsers((launch) => {
  test("a frozen tab keeps no other from writing or erasing, and goes on when it is thawed", async () => {
    const site = await serve({ "/": "pages/store.ts" });
    const browser = await launch();
    const [one, two] = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
    await one.evaluate(() => page.start("frozen"));
    await two.evaluate(() => page.start("frozen"));
    await one.evaluate(() => page.put("a", 1));
    await one.evaluate(() => page.writeForEver());
    await one.until(() => page.progress() > 5);
    await one.cdp?.("Page.setWebLifecycleState", { state: "frozen" });
    await two.evaluate(() => page.put("a", 2));
    expect(await two.evaluate(() => page.append("two"))).toBe(1);
    await one.cdp?.("Page.setWebLifecycleState", { state: "active" });
    expect(await one.evaluate(() => page.read("a"))).toBe(2);
    await one.cdp?.("Page.setWebLifecycleState", { state: "frozen" });
    await two.evaluate(() => page.erase());
    await one.cdp?.("Page.setWebLifecycleState", { state: "active" });
    expect(await one.evaluate(() => page.failureOf("read"))).toBe("closed");
    await browser.close();
    await site.close();
  });
}, "chromium");
