/** The package as it would be published: packed, installed into a project of its own, and used from there. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

const here = join(import.meta.dirname, "..");
const modules = join(here, "../node_modules");
const run = promisify(execFile);
const tsc = join(modules, "typescript/bin/tsc");
/** After how many milliseconds a step has failed. */
const patience = 600_000;

interface Manifest {
  name: string;
  exports: Record<string, string | { types: string; default: string }>;
}

/** The application's folder, and in it the installed package. */
let root: string;
let inside: string;
let temporary: string;
let manifest: Manifest;
/** What the tarball has, as "dist/index.js". */
let packed: string[];

const node = (...args: string[]) => run(process.execPath, args, { cwd: root, timeout: patience });

/** Builds and packs a copy of the package by its own script, and says where the tarball is. */
async function pack(): Promise<string> {
  const copy = join(temporary, "workspace/js");
  await mkdir(copy, { recursive: true });
  for (const name of ["package.json", "tsconfig.build.json", "belfry.d.ts", "README.md", "LICENSE", "src"]) await cp(join(here, name), join(copy, name), { recursive: true });
  await cp(join(here, "../tsconfig.base.json"), join(copy, "../tsconfig.base.json"));
  await symlink(modules, join(copy, "../node_modules"));
  await run("npm", ["run", "build"], { cwd: copy, timeout: patience });
  const { stdout } = await run("npm", ["pack", "--json", "--ignore-scripts", "--offline"], { cwd: copy, timeout: patience });
  const [{ filename, files }] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  packed = files.map((file) => file.path);
  return join(copy, filename);
}

beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), "belfry-package-"));
  const tarball = await pack();
  root = join(temporary, "application");
  inside = join(root, "node_modules/@belfry/client");
  await mkdir(root);
  const folders = ["idb", "react", "react-dom", "scheduler", "@types/node", "@types/react", "undici-types", "csstype"];
  const dependencies = Object.fromEntries(folders.map((name) => [name, `file:${join(modules, name)}`]));
  await writeFile(join(root, "package.json"), JSON.stringify({ type: "module", private: true, dependencies: { ...dependencies, "@belfry/client": `file:${tarball}` } }));
  await run("npm", ["install", "--install-links", "--offline", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: root, timeout: patience });
  manifest = JSON.parse(await readFile(join(inside, "package.json"), "utf8")) as Manifest;
}, patience);
afterAll(() => rm(temporary, { recursive: true, force: true }));

/** What modules can import. The bundle for script tags is none. */
const specifiers = () => Object.keys(manifest.exports).filter((path) => !/\.js(on)?$/.test(path)).map((path) => manifest.name + path.slice(1));

test("a tarball has the files that its exports name, a README and the licence, and no sources or tests", async () => {
  const named = Object.values(manifest.exports).flatMap((of) => (typeof of === "string" ? [of] : [of.types, of.default]));
  expect(named.filter((path) => !packed.includes(path.slice("./".length)))).toEqual([]);
  expect(packed.filter((path) => !/^dist\/.*\.(js|d\.ts|js\.map)$/.test(path)).sort()).toEqual(["LICENSE", "README.md", "belfry.d.ts", "package.json"]);
  expect(await readFile(join(inside, "LICENSE"), "utf8")).toBe(await readFile(join(here, "../../LICENSE"), "utf8"));
});

test("source maps carry their sources", async () => {
  const maps = packed.filter((path) => path.endsWith(".map"));
  expect(maps).toContain("dist/index.js.map");
  for (const path of maps) {
    const { sources, sourcesContent } = JSON.parse(await readFile(join(inside, path), "utf8")) as { sources: string[]; sourcesContent?: string[] };
    expect(sourcesContent?.filter((text) => text !== "").length, path).toBe(sources.length);
  }
});

test("declarations are in words of the oldest TypeScript that is supported", async () => {
  for (const path of packed.filter((path) => path.endsWith(".d.ts"))) {
    const code = (await readFile(join(inside, path), "utf8")).replaceAll(/\/\*[^]*?\*\//g, "");
    expect(code.match(/\b(\w+Array|ArrayBufferView|DataView)<Array\w*>/g) ?? [], `${path}: typed arrays are generic since 5.7`).toEqual([]);
  }
});

test("plain Node imports every path that the package exports, and resolves the others", { timeout: patience }, async () => {
  const code = specifiers().map((name) => `import * as m${name.replaceAll(/\W/g, "_")} from "${name}";`).join("\n");
  await writeFile(join(root, "all.mjs"), `${code}
import { createClient } from "${manifest.name}";
import about from "${manifest.name}/package.json" with { type: "json" };
import.meta.resolve("${manifest.name}/belfry.js");
console.log(typeof createClient, about.name);
`);
  const { stdout } = await node("--no-warnings", "all.mjs");
  expect(stdout.trim()).toBe("function @belfry/client");
});

test("a bundled React application has one React", { timeout: patience }, async () => {
  await writeFile(join(root, "page.jsx"), `import { useConversations, useMessages, useStatus } from "@belfry/client/react";
import { createElement } from "react";
import { renderToString } from "react-dom/server";

function Page() {
  const { rows } = useMessages(undefined, "u:bob", { size: 20 });
  return createElement("p", null, useStatus(undefined).connection + rows.length + useConversations(undefined).list.length);
}
console.log(renderToString(createElement(Page)));
`);
  const vite = join(modules, "vite/bin/vite.js");
  await writeFile(join(root, "vite.config.mjs"), `export default { ssr: { noExternal: true }, logLevel: "warn" };\n`);
  await node(vite, "build", "--ssr", "page.jsx", "--outDir", "server");
  expect((await node("server/page.js")).stdout.trim()).toBe("<p>connecting00</p>");

  await writeFile(join(root, "index.html"), `<!doctype html><script type="module" src="/main.js"></script>`);
  await writeFile(join(root, "main.js"), `import { createClient } from "@belfry/client";
import { indexedDB } from "@belfry/client/indexeddb";
console.log(createClient({ url: "ws://127.0.0.1/v1/ws", user: "alice", token: async () => "", store: indexedDB() }));
`);
  await node(vite, "build", "--outDir", "browser");
  expect(await readFile(join(root, "browser/index.html"), "utf8")).toMatch(/src="\/assets\/index-.*\.js"/);
});

test("the bundle for script tags has what its declaration says", { timeout: patience }, async () => {
  const has = ["createClient", "indexedDB", "typingView", "BelfryError", "StoreError"];
  const code = await readFile(join(inside, "dist/belfry.js"), "utf8");
  const made = new Function(`${code}\nreturn belfry;`)() as Record<string, unknown>;
  expect(has.filter((name) => typeof made[name] !== "function")).toEqual([]);

  await writeFile(join(root, "script.ts"), `/// <reference types="@belfry/client/belfry.js" />
const client: import("@belfry/client").Client = belfry.createClient({ url: "ws://127.0.0.1/v1/ws", user: "alice", token: async () => "", store: belfry.indexedDB() });
const functions: unknown[] = [${has.map((name) => `window.belfry.${name}`).join()}, belfry.typingView(client, "u:bob")];
// @ts-expect-error: not in it
void belfry.msgpack;
void functions;
`);
  expect(await typeErrors("script.ts")).toBe("");
});

/** What the compiler says of a file of the application, with the strictest options. */
async function typeErrors(file: string): Promise<string> {
  await writeFile(join(root, "tsconfig.json"), JSON.stringify({
    compilerOptions: {
      target: "es2022", module: "nodenext", moduleResolution: "nodenext",
      lib: ["ES2023", "DOM", "DOM.Iterable"], types: ["node"], strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true,
      skipLibCheck: false, noEmit: true,
    },
    files: [file],
  }));
  const { stdout } = await node(tsc, "-p", root).catch((err: { stdout: string }) => err);
  return stdout;
}

test("the README's code type-checks", { timeout: patience }, async () => {
  const [, code] = /^```ts\n(.*?)^```$/ms.exec(await readFile(join(inside, "README.md"), "utf8"))!;
  await writeFile(join(root, "readme.ts"), code!);
  expect(await typeErrors("readme.ts")).toBe("");
});

test("a strict consumer type-checks", { timeout: patience }, async () => {
  const all = specifiers().map((name, i) => `import * as m${i} from "${name}";\nvoid m${i};`).join("\n");
  await writeFile(join(root, "consumer.ts"), `${all}
import { BelfryError, createClient, type Client, type Row, type WindowState } from "@belfry/client";
import { useMessages } from "@belfry/client/react";

export const client: Client = createClient({ url: "ws://127.0.0.1/v1/ws", user: "alice", token: async ({ reason }) => reason, WebSocket });
export async function use(): Promise<number> {
  const pending = await client.send("u:bob", { text: "hi", big: 1n, bytes: new Uint8Array(1) }, { ttl: 60 });
  const state = await pending.settled;
  // @ts-expect-error: only a stored message has a seq
  void state.seq;
  // @ts-expect-error: no such operation
  await client.request("createGrop", {}).catch(() => {});
  const { members } = await client.request("getMembers", { group: "team" });
  const rows: readonly Row[] = (client.messages("u:bob").getSnapshot() satisfies WindowState).rows;
  const seqs = rows.map((row) => (row.kind === "message" ? row.message.seq : row.kind === "gap" ? row.from : row.cid.length));
  return state.state === "stored" ? state.seq : members.length + seqs.length;
}
export const isOffline = (err: unknown): boolean => err instanceof BelfryError && err.code === "offline";
export const rows = (): readonly Row[] => useMessages(client, "u:bob", { size: 20 }).rows;
`);
  expect(await typeErrors("consumer.ts")).toBe("");
});
