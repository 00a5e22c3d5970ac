/** Answers of the administration API, as far as this page shows them. Times are Unix milliseconds, 0 for never. */

export interface Missing {
  /** Nodes that did not answer. */
  missing: string[];
}

export interface Token {
  name: string;
  node: string;
  scopes: string[];
  cluster: boolean;
}

export interface Volume {
  messages: number;
  bytes: number;
}

export interface User {
  user: string;
  exists: boolean;
  lastSeen: number;
  settings: { historyTtl: number; suspended: boolean; tokensFrom: number };
  conversations: number;
  stored: Volume;
  queue: Volume;
  blocked: number;
  groups: { group: string; owner: boolean }[];
  unreadTotal: number;
  unread: { conv: string; unread: number; seqs: [number, number][] }[];
}

export interface Session {
  user: string;
  session: number;
  device: string;
  platform: string;
  /** "" if no node that answers holds it. */
  node: string;
  address: string;
  since: number;
  encoding: string;
  background: boolean;
  autoRead: boolean;
  stalled: boolean;
  unackedFrames: number;
  unackedBytes: number;
  unackedMs: number;
  bufferedBytes: number;
  silentMs: number;
  groups: number;
}

export interface Sessions extends Missing {
  sessions: Session[];
  refusedLogins: RefusedLogin[];
}

export interface RefusedLogin {
  /** "" if the token's signature is not valid. */
  user: string;
  reason: string;
  node: string;
  refused: number;
  last: number;
}

export interface Blocked {
  users: string[];
  more: boolean;
}

export interface Frames {
  node: string;
  frames: { time: number; op: string; in: boolean; bytes: number }[];
}

export interface Conversations {
  conversations: {
    conv: string;
    lastSeq: number;
    time: number;
    readSeq: number;
    peerReadSeq: number;
    unread: number;
    muted: boolean;
    pinned: boolean;
    markedUnread: boolean;
  }[];
  more: boolean;
  next: number;
}

export interface Group {
  group: string;
  kind: string;
  name: string;
  owner: string;
  memberCount: number;
  lastSeq: number;
  bytes: number;
  settings: Readonly<Record<string, string | number | boolean>>;
}

export interface Members {
  members: { user: string; role: string; joined: number; from: number; readSeq: number; mutedUntil: number }[];
  more: boolean;
}

export interface Bans {
  bans: { user: string; until: number }[];
  more: boolean;
}

export interface Requests {
  requests: { user: string; message: string; time: number }[];
}

export interface MessageView {
  /** Absent for a group's log. */
  user?: string;
  conv: string;
  seq: number;
  state: string;
  unread: boolean;
  readSeq: number;
  peerReadSeq: number;
  first: number;
  last: number;
  /** Absent, like what follows, if the log does not hold the message any more. */
  id?: string;
  from?: string;
  time?: number;
  ttl?: number;
  bytes?: number;
}

export interface Views {
  views: MessageView[];
}

export interface Found extends Views {
  more: boolean;
  next: number;
  all: number;
}

export interface Sick extends Missing {
  behind: Session[];
  closed: {
    time: number;
    node: string;
    code: number;
    reason: string;
    user: string;
    session: number;
    device: string;
    platform: string;
    address: string;
    lastedMs: number;
    unackedBytes: number;
  }[];
  reconnecting: { user: string; device: string; node: string; logins: number; last: number }[];
  limited: { user: string; op: string; node: string; refused: number; last: number }[];
  refusedLogins: RefusedLogin[];
}

export interface Replica {
  shard: number;
  leads: boolean;
  term: number;
  applied: number;
  last: number;
  bytes: number;
  appendP50: number;
  appendP99: number;
  problem: string;
  cutoff: number;
  retentionMs: number;
  lost: { queue: Volume; history: Volume; memory: Volume };
  losses: { kind: string; of: string; messages: number; bytes: number; first: number; last: number }[];
  followers: { id: string; voter: boolean; up: boolean; lag: number; behindMs: number }[];
}

export interface Node {
  node: string;
  memory: {
    limit: number;
    soft: number;
    used: number;
    /** Set aside for `other`, instead of which it counts against the limit; 0 = nothing is. */
    reserved: number;
    resident: number;
    messages: number;
    users: number;
    dedupe: number;
    letters: number;
    other: number;
    full: boolean;
    diskLow: boolean;
    diskFree: number;
    diskReserve: number;
  };
  replicas: Replica[];
}

export interface Nodes extends Missing {
  nodes: Node[];
}

export interface Cluster {
  verdict: string;
  level: number;
  survives: number;
  leader: string;
  problems: string[];
  warnings: string[];
  nodes: { name: string; address: string; roles: string; state: string; admitted: boolean; leads: number; replicas: number; problems: string[] }[];
  shards: { shard: number; slots: number; leader: string; replicas: { id: string; node: string; state: string; up: boolean; caughtUp: boolean; lag: number; problem?: string }[] }[];
}

export interface Settings extends Missing {
  settings: { node: string; name: string; value: string; default: string; secret: boolean }[];
}

export interface Changes extends Missing {
  changes: {
    time: number;
    node: string;
    number: number;
    operation: string;
    method: string;
    path: string;
    token: string;
    remote: string;
    target: string;
    status: number;
    outcome: string;
    durationMs: number;
  }[];
  more: boolean;
  next: string;
}
