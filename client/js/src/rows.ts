/**
 * The rows of a message window, made from a page of the store: pure, so that a test can
 * compare them with a model.
 */
import type { Gap, Page, Row } from "./api.ts";

/** An ephemeral message that came while `after` was the newest seq. */
export interface Passing {
  readonly after: number;
  readonly row: Row;
}

/**
 * The rows of a page between the seqs `from` and `to`, in their order, neighbouring gaps of
 * one reason as one. Messages of `user` up to `peerReadSeq` are marked as read.
 */
export function rowsOf({ messages, gaps }: Page, from: number, to: number, user: string, peerReadSeq = 0): Row[] {
  const rows: Row[] = [];
  const gap = (of: Gap) => {
    const a = Math.max(from, of.from);
    const b = Math.min(to, of.to);
    const last = rows.at(-1);
    if (a > b) return;
    if (last?.kind === "gap" && last.reason === of.reason) rows[rows.length - 1] = { ...last, to: b };
    else rows.push({ kind: "gap", key: `g${a}`, from: a, to: b, reason: of.reason });
  };
  let g = 0;
  for (const message of messages) {
    const { seq } = message;
    if (seq < from || seq > to) continue;
    for (let of = gaps[g]; of && of.from < seq; of = gaps[++g]) gap(of);
    const read = message.from === user && seq <= peerReadSeq;
    rows.push({ kind: "message", key: `${seq}`, message, ...(read && { receipt: "read" }) });
  }
  for (const of of gaps.slice(g)) gap(of);
  return rows;
}

/** The first and last seq of a row; both 0 if it has none. */
export function spanOf(row: Row | undefined): readonly [number, number] {
  if (row?.kind === "gap") return [row.from, row.to];
  return row?.kind === "message" ? [row.message.seq, row.message.seq] : [0, 0];
}

/** The seq of a row that is to be fetched: nothing is known of it, or only that limits took it from the queue. */
export function isHole(row: Row | undefined): boolean {
  return row?.kind === "gap" && (row.reason === "unknown" || row.reason === "lost");
}

/** `rows` with each passing message behind the rows that were there when it came. */
export function weave(rows: readonly Row[], passing: readonly Passing[]): Row[] {
  const out: Row[] = [];
  let p = 0;
  for (const row of rows) {
    for (let of = passing[p]; of && of.after < spanOf(row)[0]; of = passing[++p]) out.push(of.row);
    out.push(row);
  }
  return [...out, ...passing.slice(p).map((of) => of.row)];
}

/**
 * `fresh`, with the rows of `old` in the place of those that say the same, and `old`
 * itself if that is all. A message of `user` that was pending keeps that row's key.
 */
export function keepRows(old: readonly Row[], fresh: readonly Row[], user: string): readonly Row[] {
  const before = new Map(old.map((row) => [nameOf(row), row]));
  const rows = fresh.map((row) => {
    const was = before.get(nameOf(row));
    if (was && same(was, row)) return was;
    if (row.kind !== "message") return row;
    const ancestor = was ?? (row.message.from === user ? before.get(`c${row.message.cid}`) : undefined);
    return ancestor ? { ...row, key: ancestor.key } : row;
  });
  return rows.length === old.length && rows.every((row, i) => row === old[i]) ? old : rows;
}

/** What tells a row from the others; unlike its key it follows from what it shows. */
function nameOf(row: Row): string {
  if (row.kind === "pending") return `c${row.cid}`;
  return row.kind === "gap" ? `g${row.from}` : `m${row.message.seq || row.message.id}`;
}

/** Whether two rows of one name look alike: messages never change, nor what is sent under a cid. */
function same(a: Row, b: Row): boolean {
  if (a.kind === "message" && b.kind === "message") return a.message.id === b.message.id && a.receipt === b.receipt;
  if (a.kind === "gap" && b.kind === "gap") return a.to === b.to && a.reason === b.reason;
  return a.kind === "pending" && b.kind === "pending" && a.state === b.state && a.code === b.code;
}
