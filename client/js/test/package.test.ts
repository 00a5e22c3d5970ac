/** The package as it would be published, used from outside. */
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
  exports: Record<string, { types: string; default: string }>;
}

let root: string;
let inside: string;
let manifest: Manifest;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "belfry-package-"));
  inside = join(root, "node_modules/@belfry/client");
  await mkdir(inside, { recursive: true });
  await cp(join(here, "package.json"), join(inside, "package.json"));
  await run(process.execPath, [tsc, "-p", join(here, "tsconfig.build.json"), "--outDir", join(inside, "dist")], { timeout: patience });
  for (const name of ["idb", "react", "@types"]) await symlink(join(modules, name), join(root, "node_modules", name));
  manifest = JSON.parse(await readFile(join(inside, "package.json"), "utf8")) as Manifest;
  await writeFile(join(root, "package.json"), JSON.stringify({ type: "module", private: true }));
}, patience);
afterAll(() => rm(root, { recursive: true, force: true }));

const specifiers = () => Object.keys(manifest.exports).map((path) => manifest.name + path.slice(1));

test("a package has the files that its exports name, and no sources or tests", { timeout: patience }, async () => {
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts", "--offline"], { cwd: inside, timeout: patience });
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const paths = files.map((file) => `./${file.path}`);
  const named = Object.values(manifest.exports).flatMap((of) => [of.types, of.default]);
  expect(named.filter((path) => !paths.includes(path))).toEqual([]);
  expect(paths.filter((path) => path !== "./package.json" && !/^\.\/dist\/.*\.(js|d\.ts|js\.map)$/.test(path))).toEqual([]);
});

test("plain Node imports every path that the package exports", { timeout: patience }, async () => {
  const code = specifiers().map((name) => `import * as m${name.replaceAll(/\W/g, "_")} from "${name}";`).join("\n");
  await writeFile(join(root, "all.mjs"), `${code}\nimport { createClient } from "${manifest.name}";\nconsole.log(typeof createClient);\n`);
  const { stdout } = await run(process.execPath, ["all.mjs"], { cwd: root, timeout: patience });
  expect(stdout.trim()).toBe("function");
});

test("a strict consumer type-checks", { timeout: patience }, async () => {
  const all = specifiers().map((name, i) => `import * as m${i} from "${name}";\nvoid m${i};`).join("\n");
  await writeFile(join(root, "consumer.ts"), `${all}
import { BelfryError, createClient, type Client, type Row, type WindowState } from "@belfry/client";
import { useMessages } from "@belfry/client/react";

export const client: Client = createClient({ url: "ws://127.0.0.1/v1/ws", user: "alice", token: async ({ reason }) => reason });
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
  await writeFile(join(root, "tsconfig.json"), JSON.stringify({
    compilerOptions: {
      target: "es2022", module: "nodenext", moduleResolution: "nodenext",
      lib: ["ES2023", "DOM", "DOM.Iterable"], types: ["node"], strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true,
      skipLibCheck: false, noEmit: true,
    },
    files: ["consumer.ts"],
  }));
  const { stdout } = await run(process.execPath, [tsc, "-p", root], { timeout: patience }).catch((err: { stdout: string }) => err);
  expect(stdout).toBe("");
});
