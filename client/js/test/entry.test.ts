import { build, type Metafile } from "esbuild";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";

/** Bytes with min+gzip; the budget is 12 KB. */
const most = 12_220;

/** What a tab loads with the client is small: the engine comes behind it, in the tab that leads, and the search when it is used. */
test("the first load is small", async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: [join(import.meta.dirname, "../src/index.ts")],
    bundle: true, minify: true, format: "esm", target: "es2022", splitting: true, write: false, outdir: "out", metafile: true, logLevel: "silent",
  });
  const names = Object.keys(metafile.outputs);
  const entry = names.find((name) => metafile.outputs[name]!.entryPoint?.endsWith("index.ts"))!;
  const loaded = closure(metafile, entry);
  const text = names.flatMap((name, i) => (loaded.has(name) ? [outputFiles[i]!.text] : [])).join("");
  const bytes = gzipSync(text, { level: 9 }).length;
  expect(bytes, `${bytes} bytes`).toBeLessThanOrEqual(most);
  const inputs = [...loaded].flatMap((name) => Object.keys(metafile.outputs[name]!.inputs));
  expect(inputs.filter((path) => /(engine|writer|outbox|receive|search)\.ts$/.test(path))).toEqual([]);
});

/** The entry's file and those that it imports statically. */
function closure(metafile: Metafile, entry: string, found = new Set<string>()): Set<string> {
  found.add(entry);
  for (const { path, kind } of metafile.outputs[entry]!.imports) {
    if (kind === "import-statement" && !found.has(path)) closure(metafile, path, found);
  }
  return found;
}
