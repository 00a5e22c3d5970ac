/** Runs docs/sdk-js.md: its TypeScript in one piece against the real server, and its React page. */
import { build } from "esbuild";
import "fake-indexeddb/auto";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { createElement, type ComponentType } from "react";
import { renderToString } from "react-dom/server";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { type Server, startBelfry } from "./belfry.ts";

const js = join(import.meta.dirname, "..");
const modules = join(js, "../node_modules");
/** After how many milliseconds a step has failed. */
const patience = 600_000;

/** A block of the page, or a note to this test of what happens there. */
type Part = { readonly language: string; readonly code: string } | { readonly note: string };

async function parts(): Promise<Part[]> {
  const text = await readFile(join(js, "../../docs/sdk-js.md"), "utf8");
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$|^<!-- test: (\w+) -->$/gms)].map(([, language, code, note]) =>
    note ? { note } : { language: language!, code: code! },
  );
}

let folder: string;
let server: Server;

beforeAll(async () => {
  await mkdir(join(modules, ".cache"), { recursive: true });
  folder = await mkdtemp(join(modules, ".cache/tutorial-"));
  server = await startBelfry();
}, patience);
afterAll(async () => {
  await server.end();
  await rm(folder, { recursive: true, force: true });
});

/** Writes the page's code as modules; imports stand first in each, whatever block they are of. */
async function write(): Promise<{ steps: string; page: string; expected: string[] }> {
  const all = await parts();
  const steps = all.map((part) => ("note" in part ? `await ${part.note}();` : part.language === "ts" ? part.code : "")).join("\n");
  const page = all.flatMap((part) => ("code" in part && part.language === "tsx" ? [part.code] : [])).join("\n");
  await writeFile(join(folder, "steps.ts"), `declare const stop: () => Promise<void>, start: () => Promise<void>;\n${steps}`);
  await writeFile(join(folder, "page.tsx"), page);
  return { steps, page, expected: [...steps.matchAll(/console\.log\(.*\); \/\/ → (.*)$/gm)].map(([, line]) => line!) };
}

async function load(file: string): Promise<Record<string, unknown>> {
  const outfile = join(folder, `${file}.mjs`);
  await build({
    entryPoints: [join(folder, file)], outfile, bundle: true, format: "esm", platform: "node", target: "es2022", jsx: "automatic",
    external: ["react"], logLevel: "silent",
    alias: Object.fromEntries(["", "/indexeddb", "/react", "/testing"].map((path) => [`@belfry/client${path}`, join(js, "src", `${path.slice(1) || "index"}.ts`)])),
  });
  return (await import(/* @vite-ignore */ outfile)) as Record<string, unknown>;
}

test("the tutorial does what it says", { timeout: patience }, async () => {
  const { expected } = await write();
  expect(expected.length).toBeGreaterThan(10);
  const printed: string[] = [];
  const print = vi.spyOn(console, "log").mockImplementation((...of: unknown[]) => void printed.push(of.map(String).join(" ")));
  // It connects to the server of this test, which stands where the page says that one does.
  const at = server.url;
  vi.stubGlobal("WebSocket", class extends WebSocket {
    constructor(_: string, protocols: string[]) {
      super(at, protocols);
    }
  });
  vi.stubGlobal("fetch", async (path: string) => ({ text: async () => server.token(new URLSearchParams(path.split("?")[1]).get("user")!) }));
  vi.stubGlobal("stop", () => server.kill());
  vi.stubGlobal("start", () => server.restart());
  try {
    await load("steps.ts");
  } finally {
    print.mockRestore();
    vi.unstubAllGlobals();
  }
  expect(printed).toEqual(expected);
});

test("the tutorial's React page renders, on a server too", { timeout: patience }, async () => {
  await write();
  const { Chat } = (await load("page.tsx")) as { Chat: ComponentType<{ client: undefined; conv: string }> };
  expect(renderToString(createElement(Chat, { client: undefined, conv: "u:bob" }))).toContain("connecting");
});

test("the tutorial's code is right by its types", { timeout: patience }, async () => {
  await write();
  const config = {
    extends: join(js, "../tsconfig.base.json"),
    compilerOptions: {
      composite: false, noEmit: true, types: ["node"], noUnusedLocals: false, baseUrl: ".",
      paths: { "@belfry/client": [join(js, "src/index.ts")], "@belfry/client/*": [join(js, "src/*.ts")] },
    },
    files: ["steps.ts", "page.tsx"],
  };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
  const { stdout } = await promisify(execFile)(process.execPath, [join(modules, "typescript/bin/tsc"), "-p", folder], { timeout: patience }).catch(
    (err: { stdout: string }) => err,
  );
  expect(stdout).toBe("");
});
