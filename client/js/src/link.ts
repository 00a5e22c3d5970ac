/**
 * The seam between the engine (socket, outbox, all writes to the store but `append`)
 * and the clients of all tabs. Everything that crosses it can be cloned by structure.
 * Errors cross it as `Failure`.
 */
import { BelfryError, type ErrorCode, type Events, type Page, type PageOptions, type Status, type Trace } from "./api.ts";
import { StoreError, type Opened, type Store } from "./store.ts";
import type { Body, GapReason, Message, Operation, WireConversation } from "./wire.ts";

/** What a tab asks of the engine. */
export interface Calls {
  /**
   * An operation of the protocol. What changes the store by its answer (reports, deletions,
   * settings) has done so when it resolves. `send` is only for ttl 0; `typing` has no answer.
   */
  request: { args: { op: Operation | "send" | "typing"; args: Record<string, unknown> }; ok: unknown };
  /**
   * Fetches what the store lacks of a page, as far as the server has it; then `localPage`
   * (history.ts) is complete. Resolves to the page itself if the conversation is not kept in the store.
   */
  fill: { args: { conv: string; page: PageOptions }; ok: Page | null };
  /** Something was appended to the outbox. */
  outbox: { args: null; ok: void };
  /** The store had no room for something: forgets old rows, which can be fetched again. */
  makeRoom: { args: null; ok: void };
  /** Takes an entry of the outbox back; resolves to whether it could. */
  cancel: { args: { conv: string; cid: string }; ok: boolean };
  /** Makes messages gone in the store alone. */
  deleteLocal: { args: { conv: string; seqs: readonly number[] }; ok: void };
  deleteConversationLocal: { args: { conv: string; messages: boolean }; ok: void };
  import: { args: { messages: readonly Message[] }; ok: void };
  disableStorage: { args: { conv: string }; ok: void };
  /** Nobody looks at any tab. */
  background: { args: boolean; ok: void };
  /** Connects at once if the engine waits to: the network is back, or the page was thawed. */
  wake: { args: null; ok: void };
  /** The application has handled all lists of messages up to this one (`Notice.told`). Resolves when that is noted. */
  handled: { args: number; ok: void };
  trace: { args: null; ok: Trace };
  signOut: { args: null; ok: void };
}

/** What changed in the store, after it was written. */
export interface Changed {
  /** Their entry, messages, gaps or coverage. */
  readonly conversations?: readonly string[];
  /** Conversations whose pending messages changed. */
  readonly outbox?: readonly string[];
  /** Anything may have. */
  readonly all?: true;
}

/** What became of a message in the outbox. */
export type Settled =
  | { readonly conv: string; readonly cid: string; readonly state: "cancelled" }
  | { readonly conv: string; readonly cid: string; readonly state: "stored"; readonly id: string; readonly seq: number; readonly time: number }
  | { readonly conv: string; readonly cid: string; readonly state: "refused"; readonly code: ErrorCode; readonly message: string };

/** What the engine tells all tabs, in order. One notice is about one write or one push. */
export interface Notice {
  readonly changed?: Changed;
  readonly status?: EngineStatus;
  readonly settled?: readonly Settled[];
  /** With `messages`: which of all lists that the store got it is, ascending. */
  readonly told?: number;
  readonly event?: { [Name in keyof Events]: { readonly name: Name; readonly of: Events[Name] } }[keyof Events];
}

/** Status but for what each tab knows by itself. */
export interface EngineStatus extends Omit<Status, "leader"> {
  /** The server's clock minus this machine's, in milliseconds. */
  readonly ahead: number;
  /** The highest key of the outbox that has been taken in, and so counted in `outbox`; absent = none. */
  readonly taken?: number;
}

/** The status of an engine of which nothing is known but its store. */
export function firstStatus({ store, cause, lost }: Omit<Opened, "store"> & { readonly store: Pick<Store, "durability"> }): EngineStatus {
  const storage = { durability: store.durability, ...(cause && { cause }), ...(lost && { lost }) };
  return { connection: "connecting", since: Date.now(), synced: false, storage, outbox: 0, ahead: 0 };
}

/** The engine as a client's tab sees it. */
export interface Engine {
  /** Rejects with a BelfryError; with `aborted` when the signal ends the wait. */
  call<M extends keyof Calls>(method: M, args: Calls[M]["args"], signal?: AbortSignal): Promise<Calls[M]["ok"]>;
  /** Calls `fn` with every notice from now on, until the returned function is called. */
  listen(fn: (notice: Notice) => unknown): () => void;
  /** Of the last notice that had one. */
  status(): EngineStatus;
  /** This client leads: its engine owns the socket. */
  leader(): boolean;
  /** Ends the engine, or this tab's part in it. Calls under way reject with `closed`. */
  close(): Promise<void>;
}

/** A BelfryError as plain data. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryAfterMs?: number;
  readonly unknown?: boolean;
}

/** What calls may reject with: of errors that are not ours those of the store are `storage`, and all others `internal`. */
export function asBelfryError(cause: unknown): BelfryError {
  if (cause instanceof BelfryError) return cause;
  return new BelfryError(cause instanceof StoreError ? "storage" : "internal", String(cause), { cause });
}

/** An error as what can cross between tabs. */
export function toFailure(err: unknown): Failure {
  const { code, message, retryAfterMs, unknown } = asBelfryError(err);
  return { code, message, ...(retryAfterMs !== undefined && { retryAfterMs }), ...(unknown && { unknown }) };
}

/** The error that was made into `Failure`. */
export function fromFailure({ code, message, ...rest }: Failure): BelfryError {
  return new BelfryError(code, message, rest);
}

// What the tables of the store hold.

/** messages [conv, seq]: a message; or [conv, to] a gap of the seqs `gap`-`to`, under its last seq. */
export type StoredRow = Message | StoredGap;
/** The seqs `gap`-`to` of a conversation, which have no message. */
export interface StoredGap {
  /** The first seq. */
  readonly gap: number;
  /** The last one; also in the key. */
  readonly to: number;
  readonly reason: GapReason;
}

/** conversations [conv]. */
export interface StoredConversation extends WireConversation {
  /** In the list: it was not deleted since its last message. */
  readonly listed: boolean;
  /** deleteConversation took what is up to this seq out of the queue: it is not unread. */
  readonly dequeued?: number;
  /** The highest seq of which is known that it was deleted. */
  readonly deleted?: number;
  /** The seqs that rows of `messages` cover, ascending: [from, to, from, to, …], both included, not adjacent. */
  readonly covered: readonly number[];
  /** Seqs that limits took from the queue unread, in the same form; where they are not covered. */
  readonly lost: readonly number[];
  /** The newest seq that is known to exist. */
  readonly newest: number;
  /** The server has said that `newest` is the newest, and has pushed what came since. Without it a page that reaches so far is asked for. */
  readonly top?: boolean;
  /** disableStorage: no rows are kept. */
  readonly unstored?: boolean;
}

/** outbox [n], n ascending in the order of send. */
export interface StoredSend {
  readonly conv: string;
  readonly cid: string;
  readonly body: Body;
  readonly ttl?: number;
  readonly mentions?: readonly string[];
  /** When it was put there, by the server's clock as far as that was known (Unix milliseconds). */
  readonly queued?: number;
  /** When it was first written to a socket (Unix milliseconds); 0 = never. */
  readonly tried: number;
  /** The application gave the cid: from when on the server may know it (Unix milliseconds). Absent = as `tried`. */
  since?: number;
  /** Refused for good: it stays until it is cancelled or sent anew. */
  readonly refused?: Failure;
}

/**
 * meta: ["told", n] the n-th list of messages that the store got (Told), for tabs that did not hear of it, and ["handled"] up to which list handlers are done;
 * ["leader"] and ["over", n] are of fence.ts; ["cursor"] and ["device"] texts; ["listed"] true once a login has brought the list;
 * ["ttl", when, conv, seq] true for each message that is gone at `when`.
 */
export type MetaKey = "cursor" | "device" | "listed" | "ttl" | "told" | "handled" | "leader" | "over";

/** A list of messages that are told together, as a flat one of conv, seq and id. */
export type Told = readonly (string | number)[];

/** What the views of a tab stand on (views.ts, window.ts). */
export interface Base {
  readonly user: string;
  /** The store, once it is open; rejects if the client is closed before. */
  readonly store: Promise<Store>;
  /** All notices to this tab, also before the store is open. */
  listen(fn: (notice: Notice) => void): () => void;
  status(): Status;
  /** As `Calls.fill`. */
  fill(conv: string, page: PageOptions, signal?: AbortSignal): Promise<Page | null>;
  /** Unix milliseconds by the server's clock, as far as it is known. */
  now(): number;
}

/**
 * Gives each tab an engine of its own, of which one owns the socket (tabs.ts). `start`
 * makes that one, in the tab that came to lead; it is called again in another tab when that one is gone.
 */
export type Share = (name: string, start: () => Promise<Engine>) => Promise<Engine>;
