/** Waiting in tests: for what a client tells, with a time-out that only fails. */
import type { View } from "../src/api.ts";

/** Milliseconds after which what is waited for has not come. */
export const patience = 60_000;

/** Resolves with the first snapshot that fits. */
export function when<T>(view: View<T>, fits: (value: T) => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    let stop = () => {};
    const late = setTimeout(() => {
      stop();
      reject(new Error(`not within ${patience} ms; at last ${JSON.stringify(view.getSnapshot(), (_, v: unknown) => (typeof v === "bigint" ? `${v}n` : v)).slice(0, 2000)}`));
    }, patience);
    const look = () => {
      if (!fits(view.getSnapshot())) return;
      clearTimeout(late);
      stop();
      resolve(view.getSnapshot());
    };
    stop = view.subscribe(look);
    look();
  });
}

/** Collects what comes; `until` resolves when it fits. */
export function log<T>(): { all: T[]; push(...items: T[]): void; until(fits: (all: T[]) => boolean): Promise<T[]> } {
  const watchers = new Set<() => void>();
  const all: T[] = [];
  return {
    all,
    push(...items) {
      all.push(...items);
      watchers.forEach((fn) => fn());
    },
    async until(fits) {
      await when({ getSnapshot: () => all, subscribe: (fn) => (watchers.add(fn), () => watchers.delete(fn)) }, fits);
      return all;
    },
  };
}
