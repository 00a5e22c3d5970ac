/** Waiting that a signal or a time can end. */
import { BelfryError } from "./api.ts";

export function aborted(unknown = false): BelfryError {
  return new BelfryError("aborted", "aborted", { unknown });
}

/** Rejects with `aborted` as soon as the signal says so, whatever the promise does. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(aborted(true));
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    void promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Runs fn with a signal that also aborts after `ms`, and does not wait longer for it. AbortSignal.any and timeout are not everywhere. */
export async function within<T>(ms: number, signal: AbortSignal | undefined, fn: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const limit = new AbortController();
  const abort = () => limit.abort();
  const timer = setTimeout(abort, ms);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    return await abortable(fn(limit.signal), limit.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}
