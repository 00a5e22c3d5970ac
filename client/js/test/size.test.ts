/** What the package adds to an application, and what of it stays out. */
import { build } from "esbuild";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";

const src = join(import.meta.dirname, "../src");

/** `code` bundled and minified as an application's bundler would, as text. */
async function bundle(code: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: src, loader: "ts" },
    bundle: true, minify: true, format: "esm", target: "es2022", platform: "browser", external: ["react"], write: false, logLevel: "silent",
  });
  return outputFiles[0]!.text;
}

const KB = 1024;

/** Bytes with min+gzip that each part may have at most. */
const parts = [
  { name: "the whole client, with what is loaded later", code: 'export { createClient } from "./index.ts"', most: 26_300 },
  { name: "indexeddb, with idb", code: 'export * from "./indexeddb.ts"', most: 6 * KB },
  { name: "react", code: 'export * from "./react.ts"', most: 2 * KB },
  { name: "msgpack", code: 'export * from "./msgpack.ts"', most: 8 * KB },
];

test.each(parts)("$name is small", async ({ name, code, most }) => {
  const text = await bundle(code);
  const bytes = gzipSync(text, { level: 9 }).length;
  console.log(`${name}: ${bytes} bytes min+gzip (${text.length} min), at most ${most}`);
  expect(bytes).toBeLessThanOrEqual(most);
});

test("what an application does not use stays out of it", async () => {
  for (const file of ["index", "indexeddb", "react", "msgpack", "testing"]) expect(await bundle(`import "./${file}.ts"`), file).toBe("");
  const error = await bundle('export { BelfryError } from "./index.ts"');
  expect(error.length).toBeLessThan(KB);
});
