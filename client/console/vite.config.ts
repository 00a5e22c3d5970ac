import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { sdkAlias } from "./sdk-alias.ts";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/**
 * Builds both pages to gateway/console/dist, which is committed. The output depends
 * on nothing but the sources and the lock file: no plugin, no date, no path.
 */
export default defineConfig({
  root: here("."),
  base: "./", // the operator's page is served below a folder
  resolve: { alias: sdkAlias },
  esbuild: { jsx: "automatic", legalComments: "none" },
  build: {
    outDir: here("../../gateway/console/dist"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the pages' policy lets fonts come from files alone
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: { input: ["index.html", "operator.html"].map(here) },
  },
});
