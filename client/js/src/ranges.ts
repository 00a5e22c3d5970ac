/**
 * Sets of seqs as flat lists [from, to, from, to, …]: ascending, both ends included,
 * never adjacent. Functions return new lists.
 */
export type Ranges = readonly number[];

/** The ranges with `from`-`to` added; nothing is added if `to` < `from`. */
export function add(ranges: Ranges, from: number, to: number): Ranges {
  if (to < from) return ranges;
  const out: number[] = [];
  for (const [a, b] of pairs(ranges)) {
    if (b < from - 1) out.push(a, b);
    else if (a > to + 1) {
      if (from <= to) out.push(from, to);
      from = Infinity;
      to = -Infinity;
      out.push(a, b);
    } else {
      from = Math.min(from, a);
      to = Math.max(to, b);
    }
  }
  if (from <= to) out.push(from, to);
  return out;
}

/** The ranges without `from`-`to`. */
export function subtract(ranges: Ranges, from: number, to: number): Ranges {
  if (to < from) return ranges;
  const out: number[] = [];
  for (const [a, b] of pairs(ranges)) {
    if (a < from) out.push(a, Math.min(b, from - 1));
    if (b > to) out.push(Math.max(a, to + 1), b);
  }
  return out;
}

/** What of `from`-`to` is not in the ranges. */
export function missing(ranges: Ranges, from: number, to: number): Ranges {
  let out: Ranges = from <= to ? [from, to] : [];
  for (const [a, b] of pairs(ranges)) out = a > to ? out : subtract(out, a, b);
  return out;
}

export function has(ranges: Ranges, seq: number): boolean {
  for (let i = ranges.length - 2; i >= 0; i -= 2) {
    if (ranges[i]! <= seq) return seq <= ranges[i + 1]!;
  }
  return false;
}

export function* pairs(ranges: Ranges): Generator<[from: number, to: number]> {
  for (let i = 0; i < ranges.length; i += 2) yield [ranges[i]!, ranges[i + 1]!];
}
