/**
 * Firefox over WebDriver BiDi, spoken directly: playwright-core needs commands that
 * Debian's ESR does not have.
 */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Driver, LaunchOptions, TabDriver } from "./driver.ts";
import { start, within } from "./process.ts";
import { connect, type Params, type Rpc } from "./rpc.ts";

export const firefoxPath = "/usr/bin/firefox-esr";

/** Beside what Firefox sets itself when it is driven: nothing asks for anything outside this machine. */
const quiet = {
  "app.normandy.enabled": false,
  "app.update.disabledForTesting": true,
  "browser.aboutwelcome.enabled": false,
  "browser.newtabpage.enabled": false,
  "browser.safebrowsing.malware.enabled": false,
  "browser.safebrowsing.phishing.enabled": false,
  "browser.startup.homepage": "about:blank",
  "browser.tabs.warnOnClose": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "datareporting.healthreport.uploadEnabled": false,
  "extensions.update.enabled": false,
  "media.gmp-manager.updateEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "network.dns.disablePrefetch": true,
  "services.settings.server": "data:,#remote-settings-dummy/v1",
  "toolkit.telemetry.enabled": false,
  "toolkit.telemetry.unified": false,
  // Whatever still does gets no answer; loopback needs no proxy.
  "network.proxy.type": 1,
  "network.proxy.http": "127.0.0.1",
  "network.proxy.http_port": 9,
  "network.proxy.ssl": "127.0.0.1",
  "network.proxy.ssl_port": 9,
};

export async function launchFirefox(options: LaunchOptions): Promise<Driver> {
  const prefs = { ...quiet, ...(options.private && { "browser.privatebrowsing.autostart": true }), ...options.prefs };
  const lines = Object.entries(prefs).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
  await writeFile(join(options.folder, "user.js"), lines.join(""));
  const args = ["--headless", "--no-remote", "--profile", options.folder, "--remote-debugging-port=0", ...(options.args ?? []), "about:blank"];
  const process = await start(firefoxPath, args, options.folder, /WebDriver BiDi listening on (ws:\S+)/);
  const rpc = await connect(`${process.address}/session`);
  const { capabilities } = await rpc.call<{ capabilities: { browserName: string; browserVersion: string } }>("session.new", {
    capabilities: { alwaysMatch: { unhandledPromptBehavior: { default: "ignore" } } },
  });
  await rpc.call("session.subscribe", { events: ["log.entryAdded", "script.realmDestroyed"] });
  const logs = new Map<string, string[]>();
  const realmGone = new Map<string, () => void>();
  rpc.on("script.realmDestroyed", ({ realm }) => realmGone.get(String(realm))?.());
  rpc.on("log.entryAdded", (params) => {
    const { source, level, text } = params as { source: { context?: string }; level: string; text: string | null };
    logs.get(source.context ?? "")?.push(`${level}: ${text}`);
  });
  return {
    version: `${capabilities.browserName} ${capabilities.browserVersion}`,
    pid: process.pid,
    open: (context) => openTab(rpc, context, logs, realmGone),
    async newContext() {
      const { userContext } = await rpc.call<{ userContext: string }>("browser.createUserContext");
      return userContext;
    },
    removeContext: async (userContext) => void (await rpc.call("browser.removeUserContext", { userContext })),
    async quit() {
      await rpc.call("browser.close").catch(() => {}); // the connection may end before the answer
      await within(process.ended, "firefox does not end");
      rpc.close();
    },
    async kill() {
      await process.kill();
      rpc.close();
    },
  };
}

async function openTab(
  rpc: Rpc,
  userContext: string | null,
  logs: Map<string, string[]>,
  realmGone: Map<string, () => void>,
): Promise<TabDriver> {
  const { context } = await rpc.call<{ context: string }>("browsingContext.create", { type: "tab", ...(userContext && { userContext }) });
  const call = <T = Params>(method: string, params: Params = {}) => rpc.call<T>(method, { context, ...params });
  const log: string[] = [];
  logs.set(context, log);
  let crashed = () => {};
  const dead = new Promise<never>((_, reject) => (crashed = () => reject(new Error("the tab has crashed"))));
  dead.catch(() => {}); // evaluate says it
  return {
    log,
    goto: async (url) => void (await within(call("browsingContext.navigate", { url, wait: "complete" }), "the page does not load")),
    reload: async () => void (await within(call("browsingContext.reload", { wait: "complete" }), "the page does not load")),
    back: async () => void (await call("browsingContext.traverseHistory", { delta: -1 })),
    async evaluate(expression) {
      const { result, exceptionDetails } = await Promise.race([
        rpc.call<{ result?: { value?: string }; exceptionDetails?: { text: string } }>("script.evaluate", {
          expression,
          target: { context },
          awaitPromise: true,
          resultOwnership: "none",
        }),
        dead,
      ]);
      if (exceptionDetails) throw new Error(exceptionDetails.text);
      return result?.value ?? "null";
    },
    front: async () => void (await call("browsingContext.activate")),
    close: async () => void (await call("browsingContext.close")),
    async crash() {
      const { realms } = await call<{ realms: { realm: string }[] }>("script.getRealms");
      for (const { realm } of realms) realmGone.set(realm, crashed);
      call("browsingContext.navigate", { url: "about:crashcontent", wait: "none" }).catch(() => {});
      await within(dead.catch(() => {}), "the tab does not crash");
    },
  };
}
