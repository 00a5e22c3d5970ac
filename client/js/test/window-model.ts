/** A conversation kept as dumbly as can be: what windows over it are compared with. */
import { BelfryError, type Gap, type PageOptions, type Row, type Status } from "../src/api.ts";
import type { Base, Notice, StoredConversation, StoredRow } from "../src/link.ts";
import { memoryStore } from "../src/memory.ts";
import { asValue } from "../src/history.ts";
import type { Change, Store } from "../src/store.ts";
import type { GapReason, Message } from "../src/wire.ts";

export const conv = "u:bob";
export const user = "alice";

/** One seq: what the server has there, and whether this device holds it. */
export interface Seq {
  what: Message | GapReason;
  held: boolean;
  lost?: boolean;
}

export const online: Status = {
  connection: "online", since: 1, synced: true, storage: { durability: "memory" }, outbox: 0, leader: true,
};

export interface Model extends Base {
  readonly db: Store;
  readonly seqs: Seq[];
  /** cid and whether it was refused, in the order of sending. */
  readonly waiting: { cid: string; refused: boolean }[];
  peerReadSeq: number;
  /** Seqs that were asked for, as often as they were. */
  readonly fetched: number[];
  listeners(): number;
  tell(notice: Notice): void;
  setOnline(on: boolean): void;
  message(from: string, cid: string, ttl?: number): Message;
  /** Writes all to the store anew, and says so. */
  commit(notice?: Notice): Promise<void>;
  /** The rows of all seqs, then those that wait. */
  rows(from: number, to: number): Row[];
}

export function model(): Model {
  const db = memoryStore();
  const seqs: Seq[] = [];
  const waiting: Model["waiting"] = [];
  const fetched: number[] = [];
  const listeners = new Set<(notice: Notice) => void>();
  let status = online;
  let made = 0;

  const it: Model = {
    user, db, seqs, waiting, fetched, peerReadSeq: 0,
    store: Promise.resolve(db),
    listen(fn) {
      listeners.add(fn);
      return () => void listeners.delete(fn);
    },
    listeners: () => listeners.size,
    status: () => status,
    now: () => Date.now(),
    tell: (notice) => [...listeners].forEach((fn) => fn(notice)),
    setOnline(on) {
      status = { ...online, connection: on ? "online" : "waiting" };
      it.tell({ status: { ...status, ahead: 0 } });
    },
    message: (from, cid, ttl) => ({
      id: `id${++made}`, conv, from, seq: seqs.length + 1, time: Date.now(), cid, body: made, ...(ttl && { ttl }),
    }),

    async fill(_, page) {
      if (status.connection !== "online") throw new BelfryError("offline");
      for (const seq of asked(seqs, page)) {
        const at = seqs[seq - 1]!;
        if (!at.held) fetched.push(seq);
        at.held = true;
        delete at.lost;
      }
      await it.commit();
      return null;
    },

    async commit(notice = { changed: { conversations: [conv], outbox: [conv] } }) {
      const sends = waiting.map(({ cid, refused }, i): Change => ({
        table: "outbox", key: [i + 1],
        value: { conv, cid, body: cid, tried: 0, ...(refused && { refused: { code: "forbidden", message: "" } }) },
      }));
      await db.write([
        { table: "messages", remove: {} },
        ...seqs.flatMap((at, i): Change[] => (at.held ? [{ table: "messages", key: [conv, i + 1], value: asValue(rowOf(at, i + 1)) }] : [])),
        { table: "conversations", key: [conv], value: asValue(entryOf(it)) },
        { table: "outbox", remove: {} },
        ...sends,
        // A send of another conversation, which must not be seen.
        { table: "outbox", key: [1000], value: { conv: "u:eve", cid: "else", body: 1, tried: 0 } },
      ]);
      it.tell(notice);
    },

    rows(from, to) {
      const rows: Row[] = [];
      for (let seq = from; seq <= to; seq++) {
        const at = seqs[seq - 1]!;
        const message = at.held && typeof at.what !== "string" ? at.what : undefined;
        if (message && !(message.ttl && message.time + message.ttl * 1000 <= Date.now())) {
          const read = message.from === user && seq <= it.peerReadSeq;
          rows.push({ kind: "message", key: "", message, ...(read && { receipt: "read" }) });
          continue;
        }
        const reason: Gap["reason"] = message ? "expired" : at.held ? (at.what as GapReason) : at.lost ? "lost" : "unknown";
        const last = rows.at(-1);
        if (last?.kind === "gap" && last.reason === reason) rows[rows.length - 1] = { ...last, to: seq };
        else rows.push({ kind: "gap", key: "", from: seq, to: seq, reason });
      }
      return rows;
    },
  };
  return it;
}

function rowOf({ what }: Seq, seq: number): StoredRow {
  return typeof what === "string" ? { gap: seq, to: seq, reason: what } : what;
}

function entryOf({ seqs, peerReadSeq }: Model): StoredConversation {
  const lost = seqs.flatMap((at, i) => (at.lost && !at.held ? [i + 1, i + 1] : []));
  return { conv, lastSeq: seqs.length, time: 1, readSeq: 0, peerReadSeq, listed: true, covered: [], lost, newest: seqs.length };
}

/** The seqs that a page of the server covers. */
function asked(seqs: readonly Seq[], { before, after, range, limit = 20 }: PageOptions): number[] {
  const up = range !== undefined || after !== undefined;
  const from = range?.[0] ?? (after ?? 0) + 1;
  const to = Math.min(seqs.length, range?.[1] ?? (before ?? Infinity) - 1);
  const covered: number[] = [];
  let messages = 0;
  for (let n = 0; n <= to - from; n++) {
    const seq = up ? from + n : to - n;
    if (typeof seqs[seq - 1]!.what !== "string" && ++messages > limit) break;
    covered.push(seq);
  }
  return covered;
}
