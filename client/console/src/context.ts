import { createContext, use, useSyncExternalStore } from "react";
import type { Model } from "./model.ts";

export const ModelContext = createContext<Model | null>(null);

export function useModel(): Model {
  const model = use(ModelContext);
  if (!model) throw new Error("console: used outside of a session");
  return model;
}

const subscribeHash = (fn: () => void): (() => void) => {
  addEventListener("hashchange", fn);
  return () => removeEventListener("hashchange", fn);
};

/** The conversation that the address names: so the browser's own back leads to the list. */
export function useOpenConversation(): string | null {
  const hash = useSyncExternalStore(subscribeHash, () => location.hash);
  const conv = decodeURIComponent(hash.slice(1));
  return /^[ug]:./.test(conv) ? conv : null;
}

export function openConversation(conv: string | null): void {
  if (conv !== null) location.hash = encodeURIComponent(conv).replace("%3A", ":");
  else if (location.hash !== "") location.hash = "";
}
