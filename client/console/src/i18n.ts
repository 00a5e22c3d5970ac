import { cell, useView, type Cell } from "./state.ts";
import { en } from "./text.en.ts";
import { zh } from "./text.zh.ts";

export type Language = "en" | "zh";
/** Everything that the console says. */
export type Text = typeof en;

const texts: Record<Language, Text> = { en, zh };
const stored = "belfry.language";

function initial(): Language {
  const chosen = localStorage.getItem(stored);
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.languages.find((l) => /^(en|zh)\b/.test(l))?.startsWith("zh") ? "zh" : "en";
}

let current: Cell<Language> | undefined;
const language = (): Cell<Language> => (current ??= cell(initial()));

export function useLanguage(): Language {
  return useView(language());
}

export function useText(): Text {
  return texts[useLanguage()];
}

export function setLanguage(next: Language): void {
  localStorage.setItem(stored, next);
  document.documentElement.lang = next;
  language().set(next);
}

/** Sets the language of the document for assistive technology. */
export function applyLanguage(): void {
  document.documentElement.lang = language().getSnapshot();
}
