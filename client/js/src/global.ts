/** What the bundle for pages without a build, dist/belfry.js, has in its global `belfry`. */
export * from "./index.ts";
export { indexedDB } from "./indexeddb.ts";
