/** The page of the benchmark of receiving in browsers. */

import { indexedDB } from "../../src/indexeddb.ts";
import { receive } from "./receiving.ts";

export const run = (of: { url: string; user: string; token: string; device: string }, stored: boolean): Promise<number> =>
  receive({ ...of, ...(stored ? { store: indexedDB() } : { withoutStorage: true }) });
