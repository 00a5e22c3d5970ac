import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/**
 * Builds both pages to gateway/console/dist, which is committed. The output depends
 * on nothing but the sources and the lock file: no plugin, no date, no path.
 */
export default defineConfig({
  root: here("."),
  base: "./", // the operator's page is served below a folder
  resolve: {
    // The SDK is built from its sources.
    alias: [
      { find: /^@belfry\/client$/, replacement: here("../js/src/index.ts") },
      { find: /^@belfry\/client\/react$/, replacement: here("../js/src/react.ts") },
      { find: /^@belfry\/client\/(.+)$/, replacement: here("../js/src/$1.ts") },
    ],
  },
  esbuild: { jsx: "automatic", legalComments: "none" },
  build: {
    outDir: here("../../gateway/console/dist"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the pages' policy lets fonts come from files alone
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: { input: ["index.html", "operator.html"].map(here).filter((page) => existsSync(page)) },
  },
});
