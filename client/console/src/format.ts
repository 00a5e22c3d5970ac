import { useMemo } from "react";
import { useLanguage, type Language } from "./i18n.ts";

/** How times and numbers are written in a language. */
export interface Format {
  /** 14:05 */
  clock(time: number): string;
  /** Today, Yesterday, a weekday, or a date. */
  day(time: number): string;
  /** As short as a list needs: the clock today, the weekday this week, else the date. */
  short(time: number): string;
  /** Date and clock. */
  full(time: number): string;
  /** "in 3 seconds", "5 minutes ago" */
  relative(ms: number): string;
  number(n: number): string;
  /** alice, bob and carol */
  list(names: readonly string[]): string;
}

const dayMs = 86_400_000;

/** How many calendar days before now a time is. */
function daysAgo(time: number, now: number): number {
  const start = (t: number): number => new Date(t).setHours(0, 0, 0, 0);
  return Math.round((start(now) - start(time)) / dayMs);
}

export function formats(language: Language): Format {
  const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const weekday = new Intl.DateTimeFormat(language, { weekday: "long" });
  const shortWeekday = new Intl.DateTimeFormat(language, { weekday: "short" });
  const date = new Intl.DateTimeFormat(language, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
  const shortDate = new Intl.DateTimeFormat(language, { day: "numeric", month: "short" });
  const full = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  const number = new Intl.NumberFormat(language);
  const list = new Intl.ListFormat(language);
  const capital = (text: string): string => text.charAt(0).toLocaleUpperCase(language) + text.slice(1);
  return {
    clock: (time) => clock.format(time),
    day(time) {
      const days = daysAgo(time, Date.now());
      if (days === 0 || days === 1) return capital(relative.format(-days, "day"));
      return days > 1 && days < 7 ? weekday.format(time) : date.format(time);
    },
    short(time) {
      const days = daysAgo(time, Date.now());
      if (days <= 0) return clock.format(time);
      return days < 7 ? shortWeekday.format(time) : shortDate.format(time);
    },
    full: (time) => full.format(time),
    relative(ms) {
      for (const [unit, size] of [["day", dayMs], ["hour", 3_600_000], ["minute", 60_000]] as const) {
        if (Math.abs(ms) >= size) return relative.format(Math.round(ms / size), unit);
      }
      return relative.format(Math.round(ms / 1000), "second");
    },
    number: (n) => number.format(n),
    list: (names) => list.format(names),
  };
}

export function useFormat(): Format {
  const language = useLanguage();
  return useMemo(() => formats(language), [language]);
}
