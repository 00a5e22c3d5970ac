/** Chromium over the Chrome DevTools Protocol. */

import type { Driver, LaunchOptions, TabDriver } from "./driver.ts";
import { start, within } from "./process.ts";
import { connect, type Params, type Rpc } from "./rpc.ts";

export const chromiumPath = "/usr/bin/chromium";

const switches = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--no-default-browser-check",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-extensions",
  "--disable-sync",
  "--disable-breakpad",
  "--password-store=basic",
  "--no-proxy-server",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
  "--remote-debugging-port=0",
];

export async function launchChromium(options: LaunchOptions): Promise<Driver> {
  const args = [...switches, ...(options.args ?? []), `--user-data-dir=${options.folder}`, "about:blank"];
  const process = await start(chromiumPath, args, options.folder, /DevTools listening on (ws:\S+)/);
  const rpc = await connect(process.address);
  const sessions = new Map<string, (method: string, params: Params) => void>();
  for (const event of ["Page.loadEventFired", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Inspector.targetCrashed"]) {
    rpc.on(event, (params, sessionId) => sessions.get(sessionId ?? "")?.(event, params));
  }
  const newContext = async () => {
    const { browserContextId } = await rpc.call<{ browserContextId: string }>("Target.createBrowserContext");
    return browserContextId;
  };
  const own = options.private ? await newContext() : null;
  const { product } = await rpc.call<{ product: string }>("Browser.getVersion");
  return {
    version: product,
    pid: process.pid,
    cdpUrl: process.address,
    open: (context) => openTab(rpc, context ?? own, sessions),
    newContext,
    removeContext: async (browserContextId) => void (await rpc.call("Target.disposeBrowserContext", { browserContextId })),
    async quit() {
      await rpc.call("Browser.close").catch(() => {}); // the connection may end before the answer
      await within(process.ended, "chromium does not end");
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
  browserContextId: string | null,
  sessions: Map<string, (method: string, params: Params) => void>,
): Promise<TabDriver> {
  const { targetId } = await rpc.call<{ targetId: string }>("Target.createTarget", {
    url: "about:blank",
    ...(browserContextId && { browserContextId }),
  });
  const { sessionId } = await rpc.call<{ sessionId: string }>("Target.attachToTarget", { targetId, flatten: true });
  const call = <T = Params>(method: string, params: Params = {}) => rpc.call<T>(method, params, sessionId);
  const log: string[] = [];
  let loaded = () => {};
  let crashed = () => {};
  const dead = new Promise<never>((_, reject) => (crashed = () => reject(new Error("the tab has crashed"))));
  dead.catch(() => {}); // evaluate says it
  sessions.set(sessionId, (event, params) => {
    if (event === "Page.loadEventFired") loaded();
    else if (event === "Inspector.targetCrashed") crashed();
    else log.push(describe(params));
  });
  await Promise.all([call("Page.enable"), call("Runtime.enable"), call("Inspector.enable")]);

  const loading = async (command: Promise<{ errorText?: string }>) => {
    const event = new Promise<void>((resolve) => (loaded = resolve));
    const { errorText } = await command;
    if (errorText) throw new Error(errorText);
    await within(event, "the page does not load");
  };
  return {
    log,
    goto: (url) => loading(call("Page.navigate", { url })),
    reload: () => loading(call("Page.reload")),
    async back() {
      const { currentIndex, entries } = await call<{ currentIndex: number; entries: { id: number }[] }>("Page.getNavigationHistory");
      await call("Page.navigateToHistoryEntry", { entryId: entries[currentIndex - 1]?.id });
    },
    async evaluate(expression) {
      const { result, exceptionDetails } = await Promise.race([
        call<{ result: { value?: string }; exceptionDetails?: Params }>("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true }),
        dead,
      ]);
      if (exceptionDetails) throw new Error(describe({ exceptionDetails }));
      return result.value ?? "null";
    },
    front: async () => void (await call("Page.bringToFront")),
    close: async () => void (await rpc.call("Target.closeTarget", { targetId })),
    async crash() {
      call("Page.crash").catch(() => {}); // nobody is left to answer
      await within(dead.catch(() => {}), "the tab does not crash");
    },
    cdp: call,
  };
}

interface RemoteObject {
  readonly value?: unknown;
  readonly description?: string;
}

/** The text of Runtime.consoleAPICalled or Runtime.exceptionThrown. */
function describe(params: Params): string {
  const { type, args, exceptionDetails } = params as {
    type?: string;
    args?: RemoteObject[];
    exceptionDetails?: { text: string; exception?: RemoteObject };
  };
  const show = (o: RemoteObject | undefined) => o?.description ?? JSON.stringify(o?.value);
  if (exceptionDetails) return `${exceptionDetails.text} ${show(exceptionDetails.exception) ?? ""}`;
  return `${type}: ${(args ?? []).map(show).join(" ")}`;
}
