import { cell } from "./state.ts";

export type Theme = "auto" | "light" | "dark";
const stored = "belfry.theme";

function initial(): Theme {
  const chosen = localStorage.getItem(stored);
  return chosen === "light" || chosen === "dark" ? chosen : "auto";
}

export const theme = cell<Theme>("auto");

/** Puts the theme on the document: "auto" leaves it to prefers-color-scheme. */
function apply(value: Theme): void {
  if (value === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = value;
}

export function loadTheme(): void {
  theme.set(initial());
  apply(theme.getSnapshot());
}

export function setTheme(value: Theme): void {
  localStorage.setItem(stored, value);
  theme.set(value);
  apply(value);
}
