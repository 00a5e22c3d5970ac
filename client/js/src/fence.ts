/** Keeps leaderships that are over from writing to the store. */
import { type Change, type Store, StoreError } from "./store.ts";

/** meta ["leader"]: the number of the newest leadership, which is greater than the store's life. meta ["over", n]: leadership n is over. */
const LEADER = ["leader"];
const over = (n: number) => ["over", n];

/** How many leaderships are known to be over. A tab that slept through more could write again until it hears that it has lost the lock. */
const MAX_OVER = 1000;

export interface Fenced {
  /** The store as this leadership may use it. */
  readonly store: Store;
  /** Ends the leadership before this one. Rejects as `fenced` if another one has done so meanwhile. */
  claim(): Promise<void>;
  /** Whether it is the first one in the store's life. */
  first(): boolean;
  /** Whether no other has claimed the store since. */
  holds(): Promise<boolean>;
}

/**
 * A new leadership over a store, whose writes the store refuses once there is another
 * one. Tells when it cannot go on: `fenced`, or the store is `closed`, or was emptied (`lost`).
 */
export function fence(store: Store, ended: (why: "fenced" | "closed" | "lost") => void): Fenced {
  let mine = 0;
  let claimed: Promise<void> | undefined;
  const write = (changes: readonly Change[], n: number, relaxed?: boolean) =>
    store.write(changes, n, relaxed).catch((err: unknown) => {
      if (err instanceof StoreError && err.failure !== "quota" && err.failure !== "broken") ended(err.failure);
      throw err;
    });
  const newest = async () => Math.max(Number((await store.get("meta", LEADER)) ?? 0), store.life?.() ?? 0);
  const claim = () =>
    (claimed ??= newest()
      .then((last) => {
        mine = last + 1;
        const old = { from: over(0), to: over(Math.max(0, last - MAX_OVER)) };
        const changes: Change[] = [
          { table: "meta", key: LEADER, value: mine },
          { table: "meta", key: over(last), value: true },
          { table: "meta", remove: old },
        ];
        return write(changes, last);
      })
      .catch((err: unknown) => {
        claimed = undefined; // where the disk was full the next write tries again
        throw err;
      }));
  return {
    store: {
      durability: store.durability,
      get: (table, key) => store.get(table, key),
      list: (table, range) => store.list(table, range),
      append: (table, value) => store.append(table, value),
      write: async (changes, _, relaxed) => {
        await claim();
        await write(changes, mine, relaxed);
      },
      close: () => store.close(),
      erase: () => store.erase(),
    },
    claim,
    first: () => mine === (store.life?.() ?? 0) + 1,
    holds: async () => (await newest()) === mine,
  };
}
