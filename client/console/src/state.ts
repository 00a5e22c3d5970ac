import type { View } from "@belfry/client";
import { useSyncExternalStore } from "react";

/** A view whose value is set. */
export interface Cell<T> extends View<T> {
  set(value: T): void;
}

export function cell<T>(initial: T): Cell<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  return {
    getSnapshot: () => value,
    subscribe(fn) {
      listeners.add(fn);
      return () => listeners.delete(fn);
    },
    set(next) {
      if (Object.is(value, next)) return;
      value = next;
      for (const fn of listeners) fn();
    },
  };
}

/** Renders again after each change of a view. */
export function useView<T>(view: View<T>): T {
  return useSyncExternalStore(view.subscribe, view.getSnapshot);
}
