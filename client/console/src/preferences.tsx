import type { JSX } from "react";
import { setLanguage, useLanguage, useText, type Language } from "./i18n.ts";
import { useView } from "./state.ts";
import { setTheme, theme, type Theme } from "./theme.ts";

/** Appearance and language, which belong to the browser and not to a user. */
export function Preferences(): JSX.Element {
  const t = useText();
  const language = useLanguage();
  const chosen = useView(theme);
  return (
    <div className="preferences">
      <label>
        <span>{t.theme}</span>
        <select value={chosen} onChange={(e) => setTheme(e.target.value as Theme)}>
          {(["auto", "light", "dark"] as const).map((value) => (
            <option key={value} value={value}>
              {t.themes[value]}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span>{t.language}</span>
        <select value={language} onChange={(e) => setLanguage(e.target.value as Language)}>
          <option value="en">English</option>
          <option value="zh">中文</option>
        </select>
      </label>
    </div>
  );
}
