/** What a browser throws away comes back from the server, in real browsers against the real server. */

import { createServer, type Server as HTTPServer } from "node:http";
import type { AddressInfo } from "node:net";

import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";

import { createClient } from "../../src/client.ts";
import { type Server, startBelfry } from "../belfry.ts";
import { log } from "../waiting.ts";
import { inBrowsers, type Site, serve } from "./harness.ts";

declare const page: typeof import("./pages/tabs.ts") & typeof import("./pages/store.ts");

const many = 30;

let site: Site;
let server: Server;
let desk: HTTPServer;

beforeAll(async () => {
  site = await serve({ "/": "pages/tabs.ts", "/store": "pages/store.ts" });
  server = await startBelfry("--allowed-origins", site.origin);
  desk = createServer((request, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.end(server.token((request.url ?? "").split("/")[1] ?? ""));
  });
  await new Promise<void>((done) => desk.listen(0, "127.0.0.1", done));
});
afterAll(async () => {
  desk?.closeAllConnections();
  desk?.close();
  await server?.end();
  await site?.close();
});

inBrowsers((launch, name) => {
  for (const table of ["messages", "meta"]) {
    test(`a store whose ${table} were thrown away is filled again, and says so`, async () => {
      const [alice, bob] = [`alice-${name}-${table}`, `bob-${name}-${table}`];
      const browser = await launch();
      const tab = await browser.open(site.url("/"));
      const setup = { url: server.url, user: alice, peer: bob, desk: `http://127.0.0.1:${(desk.address() as AddressInfo).port}/${alice}` };
      const sender = createClient({ url: server.url, user: bob, token: async () => server.token(bob), WebSocket });
      const all = Array.from({ length: many }, (_, i) => i + 1);

      await tab.evaluate((of) => page.open(of), setup);
      for (const n of all) await (await sender.send(`u:${alice}`, n)).settled;
      await tab.until(async (n) => (await page.stored()).length === n, many);
      await tab.until(() => page.leads() && page.status().synced);

      await tab.goto(site.url("/store")); // the client goes with its page
      await tab.evaluate((t) => page.damage(t), table);
      await tab.goto(site.url("/"));
      await tab.evaluate((of) => page.open(of), setup);
      await tab.until(() => page.leads() && page.status().synced);
      expect(await tab.evaluate(() => page.status().storage)).toMatchObject({ lost: true, durability: expect.not.stringMatching("memory") });
      await tab.until((n) => page.shown().length === n, many);
      expect(await tab.evaluate(() => page.shown())).toEqual(all);
      expect(await tab.evaluate(() => page.stored())).toEqual(all);

      await (await sender.send(`u:${alice}`, many + 1)).settled;
      await tab.until((n) => page.shown().at(-1) === n, many + 1);
      await sender.close();
      await browser.close();
    });
  }

  // Firefox has no command for it.
  if (name === "chromium") {
    test("storage that is cleared while tabs are open is filled again, and they say so", async () => {
      const [alice, bob] = [`alice-${name}-cleared`, `bob-${name}-cleared`];
      const browser = await launch();
      const setup = { url: server.url, user: alice, peer: bob, desk: `http://127.0.0.1:${(desk.address() as AddressInfo).port}/${alice}` };
      const tabs = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
      for (const tab of tabs) await tab.evaluate((of) => page.open(of), setup);
      const sender = createClient({ url: server.url, user: bob, token: async () => server.token(bob), WebSocket });
      const all = Array.from({ length: many }, (_, i) => i + 1);
      for (const n of all) await (await sender.send(`u:${alice}`, n)).settled;
      for (const tab of tabs) await tab.until((n) => page.status().synced && page.shown().length === n, many);

      await tabs[0]!.cdp?.("Storage.clearDataForOrigin", { origin: site.origin, storageTypes: "all" });
      await (await sender.send(`u:${alice}`, many + 1)).settled;
      for (const tab of tabs) {
        await tab.until((n) => page.status().synced && page.status().storage.lost === true && page.shown().length === n, many + 1);
        expect(await tab.evaluate(() => page.shown())).toEqual([...all, many + 1]);
        expect(await tab.evaluate(() => page.status().storage.durability)).not.toBe("memory");
      }
      await (await sender.send(`u:${alice}`, many + 2)).settled;
      for (const tab of tabs) await tab.until((n) => page.shown().at(-1) === n && page.heardAll().at(-1) === n, many + 2);
      await sender.close();
      await browser.close();
    });

    test("what waits in the outboxes of open tabs is sent, once, although the storage is cleared meanwhile", async () => {
      const [alice, bob] = [`alice-${name}-waiting`, `bob-${name}-waiting`];
      const browser = await launch();
      const setup = { url: server.url, user: alice, peer: bob, desk: `http://127.0.0.1:${(desk.address() as AddressInfo).port}/${alice}` };
      const tabs = [await browser.open(site.url("/")), await browser.open(site.url("/"))];
      for (const tab of tabs) await tab.evaluate((of) => page.open(of), setup);
      for (const tab of tabs) await tab.until(() => page.status().synced);
      await server.kill();
      for (const tab of tabs) await tab.until(() => page.status().connection !== "online");
      for (const [i, tab] of tabs.entries()) for (const n of [1, 2]) await tab.evaluate((what) => page.send(what), `tab ${i}: ${n}`);
      for (const tab of tabs) await tab.until(() => page.outbox() === 4);

      await tabs[0]!.cdp?.("Storage.clearDataForOrigin", { origin: site.origin, storageTypes: "all" });
      await server.restart();
      const receiver = createClient({ url: server.url, user: bob, token: async () => server.token(bob), WebSocket });
      const got = log<unknown>();
      receiver.on("messages", (messages) => got.push(...messages.map(({ body }) => body)));
      await got.until((all) => all.length >= 4);
      for (const tab of tabs) await tab.until(() => page.outbox() === 0 && page.status().synced && page.status().storage.lost === true);
      await tabs[0]!.evaluate((what) => page.send(what), "last");
      await got.until((all) => all.includes("last"));
      for (const i of [0, 1]) expect(got.all.filter((body) => String(body).startsWith(`tab ${i}`))).toEqual([`tab ${i}: 1`, `tab ${i}: 2`]);
      expect(got.all).toHaveLength(5);
      await receiver.close();
      await browser.close();
    });
  }
});
