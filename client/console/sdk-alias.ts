import { fileURLToPath } from "node:url";

const sdk = (file: string): string => fileURLToPath(new URL(`../js/src/${file}`, import.meta.url));

/** Has vite and vitest take @belfry/client from its sources, which need no build of their own. */
export const sdkAlias = [
  { find: /^@belfry\/client$/, replacement: sdk("index.ts") },
  { find: /^@belfry\/client\/(.+)$/, replacement: sdk("$1.ts") },
];
