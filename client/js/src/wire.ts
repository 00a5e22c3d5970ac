/**
 * The protocol `belfry.v1` as types (docs/protocol.md): what a request takes and
 * answers, and what the server pushes. Times are Unix milliseconds, `seq` counts from
 * 1, `conv` is `u:` and a user or `g:` and a group.
 */
import type { Value } from "./store.ts";

/** A message body: JSON, and also bigint (integers beyond 2^53) and Uint8Array. */
export type Body = Value;

/** A message, as its receiver's view of the conversation shows it. */
export interface Message {
  /** A ULID, the same for everybody. */
  readonly id: string;
  readonly conv: string;
  readonly from: string;
  /** Position in this view; 0 if the message is ephemeral. */
  readonly seq: number;
  readonly time: number;
  /** The sender's own id of it. */
  readonly cid: string;
  readonly body: Body;
  /** Seconds after `time` at which it is gone. */
  readonly ttl?: number;
  /** Stored nowhere: it has no seq and does not come again. */
  readonly ephemeral?: true;
  readonly mentions?: readonly string[];
}

/** Why a seq has no message. */
export type GapReason = "expired" | "evicted" | "deleted" | "recalled" | "notMember";

/** The seqs `from`-`to`, both included, that have no message. */
export interface WireGap {
  readonly from: number;
  readonly to: number;
  readonly reason: GapReason;
}

/** One page of history: `from`-`to` is covered by messages and gaps; 0, 0 covers nothing. */
export interface WirePage {
  readonly messages: readonly Message[];
  readonly from: number;
  readonly to: number;
  readonly gaps: readonly WireGap[];
  readonly more: boolean;
}

/** An entry of a list of conversations. */
export interface WireConversation {
  readonly conv: string;
  readonly lastSeq: number;
  readonly time: number;
  readonly readSeq: number;
  readonly unread?: number;
  readonly peerReadSeq?: number;
  /** Of a group: where the device stands in it. */
  readonly cursor?: string;
  readonly muted?: boolean;
  readonly pinned?: boolean;
  readonly markedUnread?: boolean;
  /** `false` = a group that counts no unread. */
  readonly counts?: boolean;
  /** In the replies to getRecents and getConversations. */
  readonly last?: Message;
}

/** Incoming messages of `from`-`to` that limits took unread from the queue. */
export interface Lost {
  readonly conv: string;
  readonly from: number;
  readonly to: number;
  /** How many messages of `from`-`to` limits took. */
  readonly count: number;
}

/** What a login says of the server: bytes of a body and of a frame, frames that may be unacked, and milliseconds of silence. */
export interface Limits {
  readonly maxBody: number;
  readonly maxFrame: number;
  readonly window: number;
  readonly idleMs: number;
}

/** What can be set for a group; its kind gives the defaults. */
export interface GroupSettings {
  readonly maxMembers?: number;
  readonly join: "invite" | "approve" | "open";
  readonly history: "sinceJoin" | "all" | "none";
  readonly unread: boolean;
  readonly stored: boolean;
  readonly mutedAll?: boolean;
}

/** A group, as `getGroups` lists it. */
export interface Group {
  readonly group: string;
  readonly kind: "private" | "public" | "chatroom" | "live";
  readonly name: string;
  readonly owner: string;
  readonly memberCount: number;
  readonly lastSeq: number;
  /** Mine; absent if I am no member. */
  readonly role?: "owner" | "admin" | "member";
  readonly ownerOffered?: string;
}

/** A group, as `getGroup` answers. */
export interface GroupDetails extends Group {
  readonly properties: Body;
  readonly settings: GroupSettings;
  /** To join; for owner and admins. */
  readonly requests?: readonly { readonly user: string; readonly message?: string; readonly time: number }[];
}

/** A member of a group; `mutedUntil` in Unix milliseconds. */
export interface Member {
  readonly user: string;
  readonly role: "owner" | "admin" | "member";
  readonly mutedUntil?: number;
}

/** A user for whom a request about several failed. */
export interface Failed {
  readonly user: string;
  readonly code: string;
}

/** `lastSeen` 0 = not known at the moment. */
export interface UserPresence {
  readonly online: boolean;
  readonly lastSeen: number;
}

type None = Record<string, never>;
interface Of<Args, OK> {
  args: Args;
  ok: OK;
}

/** Settings that createGroup and setGroup take. */
export interface GroupOptions {
  name?: string;
  properties?: Body;
  maxMembers?: number;
  join?: "invite" | "approve" | "open";
  history?: "sinceJoin" | "all" | "none";
  unread?: boolean;
  mutedAll?: boolean;
}

/** Every request that `client.request` sends as it is. */
export interface Operations {
  ping: Of<None, { serverTime: number }>;
  getMessage: Of<{ conv: string; before?: number; after?: number; range?: readonly [number, number]; limit?: number }, WirePage>;
  getRecents: Of<None, { conversations: WireConversation[]; more?: boolean }>;
  getConversations: Of<{ after?: string; limit?: number }, { conversations: WireConversation[]; more?: boolean; after?: string }>;
  readReport: Of<{ conv: string; seq: number }, { unread: number }>;
  deleteMessage: Of<{ conv: string; seqs: readonly number[] }, None>;
  deleteConversation: Of<{ conv: string; messages?: boolean }, None>;
  setConversation: Of<{ conv: string; muted?: boolean; pinned?: boolean; unread?: boolean }, None>;
  recall: Of<{ conv: string; seq: number }, None>;
  getPresence: Of<{ users: readonly string[] }, { presence: Record<string, UserPresence> }>;
  subscribePresence: Of<{ users: readonly string[] }, { presence: Record<string, UserPresence> }>;
  block: Of<{ user: string }, None>;
  unblock: Of<{ user: string }, None>;
  getBlocked: Of<None, { users: string[] }>;
  createGroup: Of<
    { group?: string; kind: Group["kind"]; members?: readonly string[]; stored?: boolean } & GroupOptions,
    { group: string; cursor?: string; failed?: Failed[] }
  >;
  joinGroup: Of<{ group: string; message?: string }, { cursor?: string; pending?: true }>;
  leaveGroup: Of<{ group: string; message?: string }, None>;
  dismissGroup: Of<{ group: string; message?: string }, None>;
  answerJoin: Of<{ group: string; user: string; accept: boolean }, None>;
  addMembers: Of<{ group: string; users: readonly string[] }, { added: string[]; failed: Failed[] }>;
  removeMembers: Of<{ group: string; users: readonly string[]; ban?: number }, { removed: string[]; failed: Failed[] }>;
  setMember: Of<{ group: string; user: string; role?: "admin" | "member"; mutedUntil?: number }, None>;
  unban: Of<{ group: string; user: string }, None>;
  getBans: Of<{ group: string; after?: string; limit?: number }, { bans: { user: string; until: number }[]; more: boolean }>;
  setGroup: Of<{ group: string; owner?: string } & GroupOptions, { pending?: true }>;
  answerOwner: Of<{ group: string; accept: boolean }, None>;
  getGroup: Of<{ group: string }, GroupDetails>;
  getMembers: Of<{ group: string; after?: string; limit?: number }, { members: Member[]; more: boolean }>;
  getGroups: Of<{ after?: string; limit?: number }, { groups: Group[]; more: boolean }>;
}

/** The name of a request. */
export type Operation = keyof Operations;

/** What onSynced tells, its parts from onConversations included. */
export interface Synced {
  /** Unread one-to-one messages that this login pushed. */
  readonly offline: number;
  readonly lost: readonly Lost[];
  /** A cursor of the login was refused: what did not come since is of another time. */
  readonly reset?: boolean;
  /** With `reset`: the groups whose cursors were; absent if that of the login itself was. */
  readonly resetGroups?: readonly string[];
  readonly unreadTotal: number;
  readonly unreadUnmuted: number;
  /** Absent when `recents` is "off". */
  readonly conversations?: readonly WireConversation[];
  readonly users?: readonly WireConversation[];
  readonly groups: readonly WireConversation[];
}

/** Something that happened in a group. */
export interface GroupEvent {
  readonly group: string;
  readonly event:
    | "created" | "joined" | "left" | "removed" | "roleChanged" | "muted" | "changed"
    | "dismissed" | "joinRequested" | "ownerOffered" | "banned";
  /** Empty for what a login tells, but for `changed`. */
  readonly by: string;
  readonly users?: readonly string[];
  readonly time: number;
  readonly cursor?: string;
  /** With `created`, `joined` and `changed`: `false` = the group counts no unread. */
  readonly counts?: boolean;
}

/** What the server pushes, by the name of the push. */
export interface Pushes {
  onNewMessage: {
    d: number;
    messages: Message[];
    cursor?: string;
    groupCursors?: Record<string, string>;
    skipped?: number;
  };
  onSynced: Synced & { cursor: string };
  onConversations: Partial<Pick<Synced, "lost" | "conversations" | "users" | "groups">>;
  onReadReport: { conv: string; seq: number };
  onReadReceipt: { conv: string; seq: number; time: number };
  onRecall: { conv: string; ranges: [number, number][]; by: string; sender?: string };
  onConversationDeleted: { conv: string; messages?: boolean; upTo?: number };
  onMessageDeleted: { conv: string; seqs: number[] };
  onConversationChanged: { conv: string; muted: boolean; pinned: boolean; unread: boolean };
  onBlocked: { user: string; blocked: boolean };
  onGroupEvent: GroupEvent;
  onPresence: { user: string; status: "online" | "offline"; time: number };
  onTyping: { user: string; conv: string; time: number };
  onKicked: { reason: "sameDevice" | "policy" | "admin" };
}

/** The codes of the protocol's errors. */
export type WireCode =
  | "bad_request" | "unknown_op" | "unauthorized" | "forbidden" | "not_found" | "conflict"
  | "too_large" | "too_late" | "rate_limited" | "unavailable" | "internal";

/** Any frame from the server. */
export type ServerFrame =
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly err: { readonly code: WireCode; readonly message: string; readonly retryAfterMs?: number } }
  | { [Op in keyof Pushes]: { readonly op: Op; readonly args: Pushes[Op] } }[keyof Pushes];

/** How frames are written. The default is JSON; `msgpack()` is a sub-path. */
export interface Codec {
  /** The WebSocket subprotocol. */
  readonly protocol: "belfry.v1.json" | "belfry.v1.msgpack";
  encode(frame: object): string | Uint8Array;
  /** Throws if the data is no frame of this codec. */
  decode(data: unknown): ServerFrame;
}
