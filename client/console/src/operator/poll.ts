import { createContext, useCallback, useContext, useEffect, useState } from "react";
import { ApiError, call } from "./api.ts";

/** The longest pause after failures, and the pause between readings of a page, in milliseconds. */
const longestPauseMs = 60_000;
export const refreshMs = 5_000;

export interface Live {
  paused: boolean;
  /** Rises when everything is to be read again. */
  round: number;
  /** Is told that the server does not take the token. */
  onUnauthorized(): void;
}

export const LiveContext = createContext<Live>({ paused: false, round: 0, onUnauthorized: () => undefined });

export interface Loaded<T> {
  /** undefined until the first answer. */
  data: T | undefined;
  /** Of the newest reading, undefined if it succeeded. */
  error: ApiError | undefined;
  /** Reads again now. */
  refresh(): void;
}

/**
 * Reads a path, and again `everyMs` after each answer while the tab is visible and the
 * page not paused; 0 reads once. A reading begins only after the one before has ended, and
 * after failures the pauses double. null reads nothing.
 */
export function useLoaded<T>(path: string | null, everyMs = refreshMs): Loaded<T> {
  const { paused, round, onUnauthorized } = useContext(LiveContext);
  const [asked, ask] = useState(0);
  const [state, setState] = useState<{ path: string | null; data?: T | undefined; error?: ApiError | undefined }>({ path });
  useEffect(() => {
    if (path === null) return;
    const gone = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let failures = 0;
    const read = async (): Promise<void> => {
      try {
        const data = await call<T>("GET", path, gone.signal);
        failures = 0;
        setState({ path, data });
      } catch (cause) {
        if (gone.signal.aborted) return;
        const error = asApiError(cause);
        failures++;
        setState((before) => ({ path, data: before.path === path ? before.data : undefined, error }));
        if (error.status === 401) return onUnauthorized();
      }
      if (paused || everyMs === 0 || gone.signal.aborted) return;
      timer = setTimeout(whenVisible, Math.min(everyMs * 2 ** failures, longestPauseMs));
    };
    const whenVisible = (): void => {
      document.removeEventListener("visibilitychange", whenVisible);
      if (document.visibilityState === "visible") void read();
      else document.addEventListener("visibilitychange", whenVisible);
    };
    whenVisible();
    return () => {
      gone.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", whenVisible);
    };
  }, [path, everyMs, paused, round, asked, onUnauthorized]);
  const refresh = useCallback(() => ask((n) => n + 1), []);
  const current = state.path === path ? state : { data: undefined, error: undefined };
  return { data: current.data, error: current.error, refresh };
}

export function asApiError(cause: unknown): ApiError {
  return cause instanceof ApiError ? cause : new ApiError(0, "internal", String(cause));
}
