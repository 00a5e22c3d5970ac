/** What documents say about the SDK is there, and what it exports is documented. */
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";

const js = join(import.meta.dirname, "..");
const repository = join(js, "../..");

test("llms.txt names files that are there, and exports that the package has", async () => {
  const text = await readFile(join(repository, "llms.txt"), "utf8");
  const paths = [...text.matchAll(/\]\(([^)\s]+)\)|`((?:client|cmd|docs|gateway|shard|raftstore|loadtest)\/[^`\s]+)`/g)]
    .map(([, link, path]) => link ?? path!)
    .filter((path) => !/^https?:/.test(path));
  expect(paths.length).toBeGreaterThan(15);
  const missing: string[] = [];
  for (const path of paths) await access(join(repository, path)).catch(() => missing.push(path));
  expect(missing).toEqual([]);

  const manifest = JSON.parse(await readFile(join(js, "package.json"), "utf8")) as { exports: object };
  const named = [...text.matchAll(/"@belfry\/client(\/[\w-]+)?"/g)].map(([, path]) => `.${path ?? ""}`);
  expect(named.filter((path) => !(path in manifest.exports))).toEqual([]);
});

test("every exported thing has a doc comment", { timeout: 600_000 }, async () => {
  const manifest = JSON.parse(await readFile(join(js, "package.json"), "utf8")) as { exports: Record<string, string | { types: string }> };
  const modules = Object.values(manifest.exports).flatMap((of) => (typeof of === "object" && of.types.startsWith("./dist/") ? [of.types] : []));
  const entries = modules.map((types) => join(js, types.replace("./dist/", "src/").replace(".d.ts", ".ts")));
  const program = ts.createProgram(entries, {
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, strict: true,
    allowImportingTsExtensions: true, noEmit: true, skipLibCheck: true, types: ["node"], lib: ["lib.es2023.d.ts", "lib.dom.d.ts"],
  });
  const checker = program.getTypeChecker();
  const undocumented = new Set<string>();
  let seen = 0;
  for (const entry of entries) {
    const module = checker.getSymbolAtLocation(program.getSourceFile(entry)!);
    for (const exported of checker.getExportsOfModule(module!)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      const own = symbol.declarations?.some((d) => d.getSourceFile().fileName.startsWith(join(js, "src")));
      seen++;
      if (own && symbol.getDocumentationComment(checker).length === 0) undocumented.add(symbol.name);
    }
  }
  expect(seen).toBeGreaterThan(50);
  expect([...undocumented]).toEqual([]);
});
