import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const workspace = fileURLToPath(new URL("../..", import.meta.url));
const committed = join(workspace, "../gateway/console/dist");

/** The files below a folder by their path in it. */
function files(folder: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found.set(relative(folder, path), readFileSync(path));
  }
  return found;
}

test("dist is what the sources build (else: npm run console)", () => {
  const folder = mkdtempSync(join(tmpdir(), "belfry-console-"));
  try {
    const env = { ...process.env };
    delete env["NODE_ENV"]; // vitest's would make vite build for tests
    delete env["VITEST"];
    execFileSync(process.execPath, ["node_modules/vite/bin/vite.js", "build", "--config", "console/vite.config.ts", "--outDir", folder, "--logLevel", "warn"], {
      cwd: workspace,
      env,
    });
    const built = files(folder);
    const held = files(committed);
    expect([...held.keys()].sort()).toEqual([...built.keys()].sort());
    for (const [path, content] of built) expect(held.get(path)?.equals(content), path).toBe(true);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 300_000);
