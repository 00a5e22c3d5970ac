/** What an application sees of a client: its options, calls, views and events. */
import type { Durability, OpenStore, Opened } from "./store.ts";
import type {
  Body, Codec, GapReason, Group, GroupEvent, Limits, Message, Operation, Operations, Pushes, Synced, WireCode,
} from "./wire.ts";

/**
 * Why a call failed. Beside the protocol's codes: `offline` (it needs a connection,
 * and none could be made), `closed` (the client was closed), `aborted` (by the caller's
 * signal), `storage` (the store failed; nothing was done), `kicked` (the server ended this
 * device's session for good).
 */
export type ErrorCode = WireCode | "offline" | "closed" | "aborted" | "storage" | "kicked";

/** What calls reject with. */
export class BelfryError extends Error {
  override readonly name = "BelfryError";
  /** After how many milliseconds the same may succeed. */
  declare readonly retryAfterMs?: number; // declared only, so that an error without it shows nothing of it
  /** The request may have been carried out: its answer is not known. */
  declare readonly unknown?: boolean;
  constructor(
    readonly code: ErrorCode,
    message: string = code,
    options?: { retryAfterMs?: number | undefined; unknown?: boolean; cause?: unknown },
  ) {
    super(message, options);
    if (options?.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
    if (options?.unknown) this.unknown = true;
  }
}

/** A value that changes. It fits React's useSyncExternalStore, and stores of Svelte and Vue in a line. */
export interface View<T> {
  /** The value now: immutable, and the same object while nothing has changed. */
  getSnapshot(): T;
  /** Calls `fn` after each change, until the returned function is called. */
  subscribe(fn: () => void): () => void;
}

/** Why the application is asked for a token: for a login, before one expires, or because the server refused the last one. */
export type TokenReason = "login" | "expiring" | "refused";

/** What `createClient` takes. */
export interface ClientOptions {
  /** `ws:` or `wss:` and, usually, the path `/v1/ws`. */
  url: string;
  /** Those of the server's other nodes: each attempt to connect takes the next one. */
  moreUrls?: readonly string[];
  /** Whose client this is. The store is theirs, and a login as somebody else is refused as `unauthorized`. */
  user: string;
  /**
   * Returns a token of the user. Called once at a time, for all tabs. Throw a
   * BelfryError `unauthorized` if there will be none: the client closes. After any other
   * error it asks again, with growing pauses.
   */
  token: (why: { reason: TokenReason; signal: AbortSignal }) => Promise<string>;
  /** Names this terminal of the user, 1-64 bytes. Without it one is made up once and kept in the store. */
  device?: string;
  /** "web", "phone" …: for the server's session policy. */
  platform?: string;
  /** Where messages, conversations and the outbox are kept. Without it, in memory. */
  store?: OpenStore;
  /** Messages are kept nowhere. The outbox is in memory. */
  withoutStorage?: boolean;
  /** Default JSON. */
  codec?: Codec;
  /** Default: one socket for all tabs where `navigator.locks` and `BroadcastChannel` exist. */
  tabs?: boolean;
  /** Where there is no global one (Node 20). */
  WebSocket?: WebSocketConstructor;
  /** Only `readReport` marks one-to-one messages as read; else receiving them does. */
  manualRead?: boolean;
  /** "on" (default): logins bring the list of conversations and the last message of each; "quiet": only the list; "off": neither. */
  recents?: "on" | "quiet" | "off";
  /** Unread messages that a login brings of each group, 0-100; default 20. */
  groupBacklog?: number;
}

/** The part of the WHATWG WebSocket that is used. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly protocol: string;
  /** Bytes are a `Uint8Array<ArrayBuffer>`, in words that TypeScript before 5.7 knows. */
  send(data: string | (Uint8Array & { readonly buffer: ArrayBuffer })): void;
  close(code?: number, reason?: string): void;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
}
/** As the global WebSocket. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** What is known of the store. `cause` says why it is not `persistent`, `lost` that a part of it had been thrown away. */
export interface StorageStatus {
  readonly durability: Durability;
  readonly cause?: Opened["cause"] | "quota" | "broken";
  readonly lost?: boolean;
}

/** The state of a client, of its store and its outbox. */
export interface Status {
  /** `waiting`: for the next attempt to connect. `closed`: for good; `error` says why. */
  readonly connection: "connecting" | "online" | "waiting" | "closed";
  /** Since when, in Unix milliseconds by this machine's clock. */
  readonly since: number;
  /** Why the last connection ended, or could not be made. */
  readonly error?: { readonly code: ErrorCode; readonly message: string };
  /** All that happened while the device was away has been received. */
  readonly synced: boolean;
  readonly storage: StorageStatus;
  /** How many messages wait to be stored by the server, refused ones not counted. */
  readonly outbox: number;
  /** What the server said of itself at the last login; absent before the first. A body of more than `maxBody` bytes is refused as `too_large`. */
  readonly limits?: Limits;
  /** This tab holds the socket. */
  readonly leader: boolean;
}

/**
 * An entry of the list of conversations. One that only messages of the outbox put there
 * has `lastSeq` 0 if no message was ever in it, and the `time` of the newest of them.
 */
export interface Conversation {
  readonly conv: string;
  /** Newest seq that can be shown, 0 if there is none. */
  readonly lastSeq: number;
  /** Of the newest message. */
  readonly time: number;
  /** How far I have read. */
  readonly readSeq: number;
  readonly unread: number;
  /** How far the peer has read, in this view's seqs. */
  readonly peerReadSeq: number;
  readonly muted: boolean;
  readonly pinned: boolean;
  readonly markedUnread: boolean;
  /** The newest message, as far as it is held. */
  readonly last?: Message;
}

/** The list of conversations, and sums over it. */
export interface Conversations {
  /** Pinned ones first, then the one with the newest message. */
  readonly list: readonly Conversation[];
  readonly unreadTotal: number;
  /** Of conversations that are not muted. */
  readonly unreadUnmuted: number;
  /** A login has brought the list since the store was made: what is not in it is older than all in it. */
  readonly complete: boolean;
}

/** Beside the server's reasons: `lost` = limits took it unread from the queue, `unknown` = not fetched yet. */
export interface Gap {
  readonly from: number;
  readonly to: number;
  readonly reason: GapReason | "lost" | "unknown";
}

/** What became of a message that was sent. There is no "failed": as long as the answer is not known it is queued. */
export type SendState =
  | { readonly state: "queued" }
  | { readonly state: "stored"; readonly id: string; readonly seq: number; readonly time: number }
  | { readonly state: "refused"; readonly code: ErrorCode; readonly message: string };

/** What became of a message of the outbox. */
export interface Sent {
  readonly conv: string;
  readonly cid: string;
  readonly state: Exclude<SendState, { state: "queued" }>;
}

/** A message in the outbox. */
export interface Pending {
  readonly cid: string;
  readonly conv: string;
  readonly state: View<SendState>;
  /** Resolves when the message is stored or refused; rejects if it is taken back (`aborted`) or the client is closed (`closed`) before that. */
  readonly settled: Promise<SendState>;
  /**
   * Takes the message back, if it was never written to a socket or has been
   * refused. Resolves to whether it did.
   */
  cancel(): Promise<boolean>;
}

/** A message that waits in the outbox, or was refused and has not been taken back. */
export interface Waiting {
  readonly conv: string;
  readonly cid: string;
  readonly body: Body;
  readonly state: Exclude<SendState, { state: "stored" }>;
  /** When it was sent (Unix milliseconds); 0 if that was not noted. */
  readonly time: number;
}

/** What `send` takes beside conversation and body. */
export interface SendOptions {
  /** Seconds after which the message is gone everywhere, 1-604800. */
  ttl?: number;
  /** At most 100 users. */
  mentions?: readonly string[];
  /** The sender's own id, 1-64 bytes; without it one is made. Two sends to a conversation with the same one are one message. */
  cid?: string;
  /**
   * The same cid may have been sent more than a minute ago, by an earlier run of the program:
   * the server looks for it as far back as there is history. Repeats of the SDK do not need it.
   */
  retry?: boolean;
  /** Ends the wait for the store; has no effect once send has resolved. */
  signal?: AbortSignal;
}

/**
 * A line of a message window. Rows that did not change are the same objects as
 * before. `key` is unique in its window and stays: also when a pending row becomes a message.
 */
export type Row = { readonly key: string } & (
  | { readonly kind: "message"; readonly message: Message; readonly receipt?: "read" }
  | ({ readonly kind: "gap" } & Gap)
  | { readonly kind: "pending"; readonly cid: string; readonly body: Body; readonly state: "queued" | "refused"; readonly code?: ErrorCode }
);

/**
 * What lies beyond an end of a window: `more` messages, being fetched (`loading`), none
 * (`start`), or some that cannot be fetched now (`offline`: for want of a connection, or
 * because the server refused; tried again with the next connection, and by the next move).
 */
export type Edge = "more" | "start" | "loading" | "offline";

/** What a message window shows. */
export interface WindowState {
  /** By seq; pending ones last. */
  readonly rows: readonly Row[];
  readonly before: Edge;
  /** `start` here means that the window shows the newest. */
  readonly after: Edge;
}

/**
 * A part of a conversation: what `size` says at first, at most twice as many rows later,
 * and as many pending ones. It is read, and follows changes, while somebody subscribes to it;
 * without subscribers it holds its rows and nothing else.
 */
export interface MessageWindow extends View<WindowState> {
  /**
   * Adds a page of `size` older rows, from the store or else from the server, and drops rows
   * at the other end. Resolves when they are there or cannot be had (`before` says so).
   */
  older(): Promise<void>;
  /** The same towards the newest. Once there, the window follows it. */
  newer(): Promise<void>;
  /** Shows the rows around a seq, the newest with Infinity. */
  jump(seq: number): Promise<void>;
  /** Ends the view: it changes no more. */
  close(): void;
}

/** Messages of a conversation by seq, with what is missing between them. */
export interface Page {
  readonly messages: readonly Message[];
  readonly gaps: readonly Gap[];
  /** The seqs that messages and gaps cover, both included; 0, 0 = none. */
  readonly from: number;
  readonly to: number;
  /** There is more in the direction that was asked for. */
  readonly more: boolean;
}

/** Which page of a conversation: one of `before`, `after` and `range`, or none. */
export interface PageOptions {
  /** Only seqs below; none of before, after and range = the newest. */
  before?: number;
  /** Only seqs above. */
  after?: number;
  /** Both included. */
  range?: readonly [number, number];
  /** Messages, 1-100; default 20. */
  limit?: number;
}

/**
 * What `client.on` tells. Handlers run in the order of the server's frames, in every tab. One of
 * `messages` may return a promise: what comes behind waits until that has ended, but for
 * `storage`, `error`, `kicked` and `sent`. When more than 256 events wait, all but messages are left out.
 */
export interface Events {
  /**
   * 1-100 messages that this device never had, already in the store. The tab that leads is
   * told first, before anything is received, of those whose handlers no tab that led has seen
   * the end of: register handlers right after `createClient`, in the same go. Other tabs are
   * told of each once from when their client was made on; one that was frozen, as it goes on,
   * of those of the last 500 lists. docs/sdk.md, "Exactly once", says what a kill may do.
   */
  messages: readonly Message[];
  /** A message of the outbox was stored or refused, whichever tab sent it, and also if that was before this client was made. */
  sent: Sent;
  synced: Synced;
  readReport: Pushes["onReadReport"];
  readReceipt: Pushes["onReadReceipt"];
  recall: Pushes["onRecall"];
  messagesDeleted: Pushes["onMessageDeleted"];
  conversationDeleted: Pushes["onConversationDeleted"];
  conversationChanged: Pushes["onConversationChanged"];
  blocked: Pushes["onBlocked"];
  groupEvent: GroupEvent;
  presence: Pushes["onPresence"];
  typing: Pushes["onTyping"];
  /** How many messages of live groups were left out because this session was too slow. */
  skipped: number;
  /** The server ended this device's session: the client is closed. */
  kicked: Pushes["onKicked"];
  /** What is known of the store has changed. */
  storage: StorageStatus;
  /** What no call reports: a token source that threw, a store that failed, a push that could not be read. */
  error: { readonly code: ErrorCode; readonly message: string };
}

/** What every call takes that waits for the server. */
export interface RequestOptions {
  /** Ends the wait: the call rejects with `aborted`. */
  signal?: AbortSignal;
}

/** What `exportTrace` returns: plain data without bodies or tokens, to be attached to a report. */
export interface Trace {
  readonly user: string;
  readonly device: string;
  readonly status: Status;
  readonly cursor: string;
  readonly outbox: readonly { readonly conv: string; readonly cid: string; readonly tried: number; readonly refused?: ErrorCode }[];
  readonly tabs: number;
  /** The last 500 frames: milliseconds, direction, op or reply, bytes. */
  readonly frames: readonly (readonly [time: number, direction: "in" | "out" | "", what: string, bytes: number])[];
}

/** One user's client. All tabs that make one for the same server and user share a store and a socket. */
export interface Client {
  readonly user: string;
  readonly status: View<Status>;
  conversations(): View<Conversations>;
  /** A window over a conversation, at the newest or around `at`, with pages of `size` rows, 1-100; default 50. */
  messages(conv: string, options?: { size?: number; at?: number }): MessageWindow;

  /**
   * Puts a message into the outbox, and resolves when it is stored there: from then on
   * it is sent, once, whatever becomes of the connection or this process. Rejects with
   * `bad_request`, `too_large`, `storage`, `closed`, or `rate_limited` when 1,000 messages wait already.
   */
  send(conv: string, body: Body, options?: SendOptions): Promise<Pending>;
  /**
   * Takes back a message that waits, by what its row in a window says: as `cancel` of
   * its Pending, which is gone after a reload. Resolves to whether it did.
   */
  cancel(conv: string, cid: string): Promise<boolean>;
  /** The messages that wait to be sent or were refused, of all tabs and earlier processes, in the order of `send`. */
  outbox(): Promise<Waiting[]>;
  /** Sends to devices that are connected now, at most once, stored nowhere. Waits while the client connects, and rejects with `offline` if it cannot. */
  sendNow(conv: string, body: Body, options?: Omit<SendOptions, "ttl">): Promise<{ id: string; time: number }>;
  /** Tells the others that I am typing; dropped without a connection. */
  typing(conv: string): void;

  /** A page from the store where that is complete; what is missing is fetched, exactly, and stored. Rejects with `offline` if it has to fetch and cannot. */
  getMessages(conv: string, options?: PageOptions & RequestOptions): Promise<Page>;
  /** A page from the store alone; what it lacks are gaps `unknown` or `lost`. */
  localMessages(conv: string, options?: PageOptions): Promise<Page>;
  /** The message from the store, else from the server; undefined if there is none. */
  findMessage(conv: string, seq: number, options?: RequestOptions): Promise<Message | undefined>;
  /**
   * Messages in the store with the text in their body, newest first per conversation. `words` (default):
   * every word of the text begins a word of the body; `substring`: the text is in it. Both ignore case.
   */
  searchLocal(text: string, options?: { conv?: string; mode?: "words" | "substring"; limit?: number }): Promise<Message[]>;

  readReport(conv: string, seq: number, options?: RequestOptions): Promise<{ unread: number }>;
  /** Removes messages from all my devices, or with `local` from this one; a later fetch does not bring them back. */
  deleteMessages(conv: string, seqs: readonly number[], options?: { local?: boolean } & RequestOptions): Promise<void>;
  /** Takes a conversation off the list, with `messages` also its history in my view. */
  deleteConversation(conv: string, options?: { messages?: boolean; local?: boolean } & RequestOptions): Promise<void>;
  setConversation(conv: string, settings: { muted?: boolean; pinned?: boolean; unread?: boolean }, options?: RequestOptions): Promise<void>;
  recall(conv: string, seq: number, options?: RequestOptions): Promise<void>;
  /** Puts messages from elsewhere into the store, each at its conv and seq; those that are there already stay. */
  importMessages(messages: readonly Message[]): Promise<void>;
  /** Keeps no messages of this conversation from now on, and removes those that are there. */
  disableStorage(conv: string): Promise<void>;

  /** Any other operation of the protocol. Waits while the client connects, and rejects with `offline` if it cannot. */
  request<Op extends Operation>(op: Op, args: Operations[Op]["args"], options?: RequestOptions): Promise<Operations[Op]["ok"]>;
  on<Name extends keyof Events>(name: Name, fn: (event: Events[Name]) => void): () => void;

  /** Logs out and erases the store, for all tabs. */
  signOut(): Promise<void>;
  /** Ends this tab's client. What waits in the outbox is sent by the next one. */
  close(): Promise<void>;
  exportTrace(): Promise<Trace>;
}

export type { Body, Codec, Group, Limits, Message, Operation, Operations };
