/** Telling functions that want to know. */
import { abortable } from "./wait.ts";

export interface Hub<T> {
  /** Calls `fn` with all that is told from now on, until the returned function is called. */
  listen(fn: (of: T) => unknown): () => void;
  /** Calls those that listen, in the order in which they came. Returns what they returned, undefined for one that threw. */
  tell(of: T): unknown[];
  /** How many listen. */
  size(): number;
}

export function newHub<T>(): Hub<T> {
  const fns = new Set<(of: T) => unknown>();
  return {
    listen(fn) {
      const own = (of: T) => fn(of); // the same function may listen twice
      fns.add(own);
      return () => void fns.delete(own);
    },
    tell: (of) => [...fns].map((fn) => guarded(fn, of)),
    size: () => fns.size,
  };
}

/** Resolves when something is told. Rejects with `aborted` as the signal does. */
export function next(listen: (fn: () => void) => () => void, signal: AbortSignal | undefined): Promise<void> {
  let leave!: () => void;
  const told = new Promise<void>((resolve) => (leave = listen(resolve)));
  return abortable(told, signal).finally(leave);
}

/** Calls what may be the application's. What it throws is seen where its other faults are, and stops nothing here. */
function guarded<T>(fn: (of: T) => unknown, of: T): unknown {
  try {
    return fn(of);
  } catch (err) {
    queueMicrotask(() => {
      throw err;
    });
  }
}
