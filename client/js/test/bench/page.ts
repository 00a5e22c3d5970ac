/** The page of the benchmark in browsers. */

import { indexedDB } from "../../src/indexeddb.ts";
import { fill as fillStore, type Figures, measure as measureStore } from "./work.ts";

const open = () => indexedDB()({ server: "ws://127.0.0.1/v1/ws", user: "bench" });

export async function fill(): Promise<number> {
  const { store } = await open();
  const ms = await fillStore(store);
  await store.close();
  return ms;
}

export const measure = (): Promise<Figures> => measureStore(open);
