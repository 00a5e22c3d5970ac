import type { Session } from "./types.ts";

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });
const figures = new Intl.NumberFormat();

const moment = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

/** The time of day of what is compared by milliseconds. */
export function momentOf(ms: number): string {
  return moment.format(ms);
}

/** A time, "–" for 0. */
export function timeOf(ms: number): string {
  return ms === 0 ? "–" : clock.format(ms);
}

export function count(n: number): string {
  return figures.format(n);
}

/** Bytes in the largest unit of which there is one at least. */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = n;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A span of milliseconds, in its two largest units. */
export function span(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const units: [number, string][] = [[86_400_000, "d"], [3_600_000, "h"], [60_000, "min"], [1000, "s"]];
  const from = units.findIndex(([size]) => ms >= size);
  let rest = ms;
  const parts: string[] = [];
  for (const [size, name] of units.slice(from, from + 2)) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n > 0) parts.push(`${n} ${name}`);
  }
  return parts.join(" ");
}

/** Microseconds as milliseconds. */
export function micros(us: number): string {
  return us === 0 ? "–" : `${(us / 1000).toFixed(us < 10_000 ? 2 : 0)} ms`;
}

/** Seqs as ranges: "1–3, 7". */
export function ranges(seqs: readonly (readonly [number, number])[]): string {
  return seqs.map(([from, to]) => (from === to ? String(from) : `${from}–${to}`)).join(", ");
}

/** The parts of a text that say yes, or "–". */
export function marks(of: Readonly<Record<string, boolean>>): string {
  const set = Object.keys(of).filter((name) => of[name]);
  return set.length === 0 ? "–" : set.join(", ");
}

/** What a session has not acked. */
export function unacked(s: Session): string {
  return s.unackedFrames === 0 ? "–" : `${count(s.unackedFrames)}, ${bytes(s.unackedBytes)}, ${span(s.unackedMs)}`;
}
