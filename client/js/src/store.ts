/**
 * Where a client keeps messages, conversations and its outbox: ordered tables of
 * values, changed by batches that happen as a whole or not at all.
 *
 * Only the tab that holds the socket calls `write`; any tab may `append`. No
 * adapter needs transactions that read and then write, and none should have them: a
 * browser may freeze a page in between, and then all other tabs wait until it goes on.
 * An adapter for browsers makes the requests of a transaction in one go and commits.
 */

/** A table. Each holds values in the order of their keys. */
export type Table = "messages" | "conversations" | "outbox" | "meta";

/**
 * A key, compared element by element: numbers before texts, numbers by size (safe
 * integers, not negative), texts by their UTF-16 code units; a key before the
 * longer ones that begin with it. That is how IndexedDB orders arrays.
 */
export type Key = readonly (string | number)[];

/** What can be stored: JSON, and also bigint and Uint8Array. */
export type Value = null | boolean | number | bigint | string | Uint8Array | readonly Value[] | { readonly [key: string]: Value };

/** A value and its key. */
export interface Entry {
  readonly key: Key;
  readonly value: Value;
}

/** One change of a batch: a value set, or all of a range of keys removed. */
export type Change =
  | { readonly table: Table; readonly key: Key; readonly value: Value }
  | { readonly table: Table; readonly remove: Range };

/** The keys with `from` <= key < `to`; one that is absent does not bound. */
export interface Range {
  readonly from?: Key;
  readonly to?: Key;
}

/**
 * What a store's content outlives. `persistent`: the browser has promised to keep
 * it, or it is a file. `temporary`: a restart, but the browser may throw it away
 * when room is short. `memory`: nothing.
 */
export type Durability = "persistent" | "temporary" | "memory";

/** A store of one user, open. */
export interface Store {
  readonly durability: Durability;

  /**
   * A number that is greater each time that the browser has thrown the content away, as
   * of the operation that has settled last. A write whose fence is below it rejects as
   * `lost`. Absent where what is open stays whole.
   */
  life?(): number;

  /** The value, undefined if there is none. */
  get(table: Table, key: Key): Promise<Value | undefined>;

  /** Up to `limit` entries of a range, ascending, with `reverse` from its end and descending. */
  list(table: Table, range: Range & { readonly limit?: number; readonly reverse?: boolean }): Promise<Entry[]>;

  /**
   * Makes all changes in their order or, when it rejects, none. What it has
   * resolved for is there after the process was killed, as far as `durability` goes.
   * Rejects with a StoreError.
   *
   * With `fence` it makes them only if there is no meta ["over", fence] as they are made,
   * and else rejects as `fenced` (fence.ts). In IndexedDB, without reading: `add` that key,
   * which aborts the transaction if it is there, then delete it.
   *
   * A `relaxed` batch has to outlive the process, and need not outlive a loss of power.
   */
  write(changes: readonly Change[], fence?: number, relaxed?: boolean): Promise<void>;

  /**
   * Adds a value behind all that was ever added to the table, whichever tab does it,
   * and resolves to n of its key [n], when it is as safe as after `write`. Keys and
   * bounds of ranges are [n] in the outbox, the one table for it.
   */
  append(table: "outbox", value: Value): Promise<number>;

  /** Calls of others reject from now on. Resolves when nothing is open any more. */
  close(): Promise<void>;

  /** Closes the store and removes all that it holds. */
  erase(): Promise<void>;
}

/** Why a store failed: no room, closed for good, another tab writes now, the content was thrown away, or anything else. */
export type StoreFailure = "quota" | "closed" | "fenced" | "lost" | "broken";

/** What a store rejects with. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  constructor(
    readonly failure: StoreFailure,
    options?: { cause?: unknown },
  ) {
    super(`belfry: store: ${failure}`, options);
  }
}

/**
 * What there is to know once a store is open. `cause` says why it is not
 * `persistent`: another tab keeps the database from being upgraded or another process has it open, the browser does
 * not allow storage, it does not answer, it has none, it has not promised to keep it,
 * there is no room, this code is older than the database, or that cannot be read.
 * `lost` says that it once held more than it does now (a browser threw a part away).
 * Then it is empty but for what is left of the outbox, and the client logs in as a new
 * device and fetches history again.
 */
export interface Opened {
  readonly store: Store;
  readonly cause?: "blocked" | "denied" | "timeout" | "unsupported" | "notGranted" | "quota" | "outdated" | "corrupt";
  readonly lost?: boolean;
}

/** What a client gives as it has its store opened. */
export interface Opening {
  /** Aborts when the client is closed: nobody waits for the store any more, and opening rejects. */
  readonly signal: AbortSignal;
  /** Tells the client why it has to wait. */
  waits(cause: NonNullable<Opened["cause"]>): void;
}

/**
 * Opens the store of one user of one server. Adapters of browsers settle within 2 s and
 * fall back to memory for want of storage. Those of processes, which were asked to keep
 * what a program relies on, do not: they wait for a store that another process has open, and
 * reject with a BelfryError `storage` if it cannot be had. The client closes with that.
 */
export type OpenStore = (of: { readonly server: string; readonly user: string }, opening?: Opening) => Promise<Opened>;
