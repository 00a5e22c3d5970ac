/** The fake server itself: connections, logins, tokens, its clock and its faults. */
import type { Body, Codec, Operation, Operations, WebSocketConstructor } from "../api.ts";
import { json } from "../json.ts";
import type { GapReason, WireCode } from "../wire.ts";
import { isObject, Refusal, text, type Args } from "./args.ts";
import * as groups from "./groups.ts";
import { loginArgs, sync } from "./login.ts";
import * as messages from "./messages.ts";
import { newSession, type Session } from "./session.ts";
import { fakeWebSocket, type Wire } from "./socket.ts";
import { defaultLimits, type Limits } from "./state.ts";
import { findView, sessionsOf, userOf, type Caller, type World } from "./world.ts";

/** A frame that went over a connection of the fake, for assertions. */
export interface SeenFrame {
  /** Empty before the login. */
  readonly user: string;
  readonly device: string;
  readonly direction: "fromClient" | "toClient";
  /** As it stands on the wire: `id`, `op`, `args`, `ok`, `err`. */
  readonly frame: { readonly id?: number; readonly op?: string; readonly args?: unknown; readonly ok?: unknown; readonly err?: unknown };
}

/** What `createFakeServer` takes. */
export interface FakeServerOptions {
  /** Where the fake's clock stands, in Unix milliseconds; default: now. */
  now?: number;
  /** Beside JSON: `msgpack()` from "@belfry/client/msgpack". */
  codecs?: readonly Codec[];
  /** Other limits than the server's defaults. */
  limits?: Partial<Limits>;
}

/** A user whom the test plays itself, without a device. */
export interface Actor {
  /** Any operation. Throws an error with the protocol's `code` if it is refused. */
  request<Op extends Operation>(op: Op, args: Operations[Op]["args"]): Operations[Op]["ok"];
  /** Sends a message. Returns what the sender is answered. */
  send(conv: string, body: Body, options?: { cid?: string; ttl?: number; retry?: boolean; mentions?: readonly string[] }): { id: string; seq: number; time: number; duplicate?: true };
  typing(conv: string): void;
}

/** Faults, each of which the real server or the way to it can have too. */
export interface Faults {
  /** Ends connections without a close frame: all, or those of a user or of one device. */
  cut(user?: string, device?: string): void;
  /** Lets no connection in until it is called with false. */
  refuse(on: boolean): void;
  /** Holds all frames to clients back for so many milliseconds of the fake's clock; 0 = no longer. */
  delay(ms: number): void;
  /** Carries the next request with this op out, and cuts the connection instead of answering. */
  loseNextAnswer(op: string): void;
  /** Cuts the connection instead of carrying the next request with this op out. */
  loseNextRequest(op: string): void;
  /** Answers the next request with this op with an error, without carrying it out. */
  refuseNext(op: string, code: WireCode, retryAfterMs?: number): void;
  /** Ends a user's sessions, or one device's, as an administrator does: `onKicked`, then 4403. */
  kick(user: string, device?: string): void;
  /** Ends a user's sessions as if their tokens had expired: 4401. All their tokens of before are refused. */
  expireToken(user: string): void;
  /** Ends all connections with 1001, as a server that is stopped does. */
  stop(retryAfterMs?: number): void;
  /** Limits take messages from a user's queue unread: `lost` of the next login names them. */
  lose(user: string, conv: string, from: number, to: number): void;
  /** Messages of a user's view are gone, for this reason. */
  gap(user: string, conv: string, from: number, to: number, reason: Exclude<GapReason, "notMember">): void;
  /** The store begins another epoch, as after a restore from a backup: no cursor is good any more. */
  reset(): void;
}

/** A server in memory. */
export interface FakeServer {
  /** For createClient, like `WebSocket`. */
  readonly url: string;
  readonly WebSocket: WebSocketConstructor;
  /** A token of a user that the fake takes. It lasts for `ttl` milliseconds of the fake's clock; default an hour. */
  token(user: string, ttl?: number): string;
  readonly faults: Faults;
  as(user: string): Actor;
  /** Unix milliseconds by the fake's clock. It stands still but for `advance`. */
  now(): number;
  /** Moves the clock: messages and tokens expire, delayed frames arrive. */
  advance(ms: number): void;
  /** All frames so far, in order, without those before the last `clear`. */
  frames(): readonly SeenFrame[];
  /** The args of all requests and notices with this op, of a user if one is named. */
  requests(op: string, user?: string): readonly Record<string, unknown>[];
  /** Forgets the frames so far. */
  clear(): void;
  /** Devices of a user that are logged in. */
  online(user: string): readonly string[];
}

type Handler = (world: World, who: Caller, args: Args) => object;

const operations: Readonly<Record<string, Handler>> = {
  ping: (world) => ({ serverTime: world.now }),
  setState: () => ({}),
  ...messages.operations,
  ...groups.operations,
};

const idle = 60_000;

/** Makes a fake server: see the module's comment. */
export function createFakeServer(options: FakeServerOptions = {}): FakeServer {
  const world: World = {
    now: options.now ?? Date.now(), epoch: 1, limits: { ...defaultLimits, ...options.limits },
    users: new Map(), groups: new Map(), sessions: new Set(), made: 0,
  };
  const codecs = [json, ...(options.codecs ?? [])];
  const connections = new Set<Connection>();
  const timers: { at: number; fn: () => void }[] = [];
  let seen: SeenFrame[] = [];
  let refusing = false;
  let delay = 0;
  let numbered = 0;
  let tokens = 0;
  /** By user: tokens up to this number are refused. */
  const refusedTokens = new Map<string, number>();
  const planned: { op: string; do: "loseAnswer" | "loseRequest" | Refusal }[] = [];

  interface Connection {
    session: Session | undefined;
    end(code: number, reason: string): void;
  }

  function token(user: string, ttl = 3600_000): string {
    const part = (of: object): string => btoa(JSON.stringify(of)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    return `${part({ alg: "none" })}.${part({ sub: user, exp: Math.floor((world.now + ttl) / 1000), n: ++tokens })}.fake`;
  }

  function readToken(given: string): { user: string; exp: number } {
    const refused = new Refusal("unauthorized", "token: is refused");
    let claims: unknown;
    try {
      claims = JSON.parse(atob((given.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")));
    } catch {
      throw refused;
    }
    if (!isObject(claims)) throw refused;
    const { sub, exp, n } = claims;
    if (typeof sub !== "string" || typeof exp !== "number" || typeof n !== "number") throw refused;
    if (exp * 1000 <= world.now || n <= (refusedTokens.get(sub) ?? 0)) throw refused;
    return { user: sub, exp: exp * 1000 };
  }

  /** Presence of a user whose first session began, or whose last one ended. */
  function tellWatchers(name: string): void {
    const user = userOf(world, name);
    user.lastSeen = world.now;
    const status = sessionsOf(world, name).length > 0 ? "online" : "offline";
    for (const s of world.sessions) if (user.watchers.has(s)) s.push("onPresence", { user: name, status, time: world.now });
  }

  function open(wire: Wire): { frame(data: unknown): void; closed(): void } {
    const codec = codecs.find((c) => c.protocol === wire.protocol) ?? json;
    const connection: Connection = {
      session: undefined,
      end(code, reason) {
        closed();
        wire.end(code, reason);
      },
    };
    connections.add(connection);
    const note = (direction: SeenFrame["direction"], frame: SeenFrame["frame"]): void => {
      seen.push({ user: connection.session?.user ?? "", device: connection.session?.device ?? "", direction, frame });
    };
    const reply = (frame: object): void => {
      if (!connections.has(connection)) return;
      note("toClient", frame);
      const data = codec.encode(frame);
      if (delay === 0) wire.push(data);
      else timers.push({ at: world.now + delay, fn: () => wire.push(data) });
    };
    const closed = (): void => {
      connections.delete(connection);
      const session = connection.session;
      if (session === undefined || !world.sessions.delete(session)) return;
      if (sessionsOf(world, session.user).length === 0) tellWatchers(session.user);
    };

    function login(id: number, args: Args): void {
      if (connection.session !== undefined) throw new Refusal("bad_request", "op: you are logged in");
      const device = text(args, "device");
      const { user, exp } = readToken(text(args, "token", 8192));
      const wanted = loginArgs(args);
      for (const s of sessionsOf(world, user)) if (s.device === device) kick(s, "sameDevice");
      const first = sessionsOf(world, user).length === 0;
      const session = newSession({
        number: ++numbered, user, device, autoRead: args["autoRead"] !== false, expires: exp, send: reply, close: connection.end,
      });
      connection.session = session;
      reply({
        id,
        ok: {
          user, session: session.number, serverTime: world.now, protocol: 1,
          limits: { maxBody: world.limits.maxBody, maxFrame: 6 * Math.max(world.limits.maxBody, 12_288) + 16_384, window: 256, idleMs: idle },
        },
      });
      sync(world, session, wanted);
      world.sessions.add(session);
      if (first) tellWatchers(user);
    }

    function answer(id: number | undefined, op: string, args: Args): object | undefined {
      const session = connection.session;
      if (op === "login" && id !== undefined) return void login(id, args);
      if (session === undefined && op !== "ping") throw new Refusal("unauthorized", "op: there was no login");
      if (session === undefined) return { serverTime: world.now };
      if (op === "ack") {
        session.ack(Number(args["d"]), (list) => messages.readByAck(world, session, list));
        return {};
      }
      if (op === "refreshToken") {
        const { user, exp } = readToken(text(args, "token", 8192));
        if (user !== session.user) throw new Refusal("unauthorized", "token: is another user's");
        session.expires = exp;
        return { exp };
      }
      const handler = operations[op];
      if (handler === undefined && op !== "logout") throw new Refusal("unknown_op", `op: no such operation, or the fake does not play it: ${op}`);
      return handler?.(world, { user: session.user, session }, args) ?? {};
    }

    function request(id: number | undefined, op: string, args: Args): void {
      const at = planned.findIndex((p) => p.op === op);
      const plan = at < 0 ? undefined : planned.splice(at, 1)[0]?.do;
      if (plan === "loseRequest") return connection.end(1006, "");
      try {
        if (plan instanceof Refusal) throw plan;
        const ok = answer(id, op, args);
        if (plan === "loseAnswer") return connection.end(1006, "");
        if (id !== undefined && ok !== undefined) reply({ id, ok });
        if (op === "logout") connection.end(1000, "");
      } catch (e) {
        if (!(e instanceof Refusal)) throw e;
        const { code, message, retryAfterMs } = e;
        if (id !== undefined) reply({ id, err: { code, message, ...(retryAfterMs !== undefined && { retryAfterMs }) } });
        if (code === "unauthorized" && (op === "login" || op === "refreshToken")) connection.end(4401, "token refused");
      }
    }

    return {
      closed,
      frame(data) {
        const frame = decode(codec, data);
        if (frame === undefined) return connection.end(4400, "malformed frame");
        note("fromClient", frame);
        request(frame.id, frame.op, isObject(frame.args) ? frame.args : {});
      },
    };
  }

  function kick(session: Session, reason: "sameDevice" | "policy" | "admin"): void {
    session.push("onKicked", { reason });
    session.close(4403, "kicked");
  }

  function runTimers(): void {
    for (;;) {
      timers.sort((a, b) => a.at - b.at);
      const next = timers[0];
      if (next === undefined || next.at > world.now) return;
      timers.shift();
      next.fn();
    }
  }

  const entriesOf = (user: string, conv: string, from: number, to: number) =>
    (findView(world, user, conv)?.entries ?? []).slice(from - 1, to);
  const of = (user?: string, device?: string) =>
    [...connections].filter((c) => (user === undefined || c.session?.user === user) && (device === undefined || c.session?.device === device));

  const faults: Faults = {
    cut: (user, device) => of(user, device).forEach((c) => c.end(1006, "")),
    refuse: (on) => void (refusing = on),
    delay: (ms) => void (delay = ms),
    loseNextAnswer: (op) => void planned.push({ op, do: "loseAnswer" }),
    loseNextRequest: (op) => void planned.push({ op, do: "loseRequest" }),
    refuseNext: (op, code, retryAfterMs) => void planned.push({ op, do: new Refusal(code, "op: the test has it so", retryAfterMs) }),
    kick: (user, device) => of(user, device).forEach((c) => c.session && kick(c.session, "admin")),
    expireToken(user) {
      refusedTokens.set(user, tokens);
      for (const c of of(user)) c.end(4401, "token expired");
    },
    stop: (ms) => of().forEach((c) => c.end(1001, `server going away${ms === undefined ? "" : `; retry after ${ms} ms`}`)),
    lose: (user, conv, from, to) => entriesOf(user, conv, from, to).forEach((e) => (e.lost = true)),
    gap: (user, conv, from, to, reason) => entriesOf(user, conv, from, to).forEach((e) => (e.gone = reason)),
    reset: () => void world.epoch++,
  };

  let cids = 0;
  return {
    url: "ws://fake.invalid/v1/ws",
    WebSocket: fakeWebSocket({
      accept: (protocols) => (refusing ? undefined : (protocols.find((p) => codecs.some((c) => c.protocol === p)) ?? "")),
      open,
    }),
    token,
    faults,
    as: (user) => ({
      request: (op, args) => (operations[op] as Handler)(world, { user }, args as Args) as never,
      send: (conv, body, sent = {}) => messages.send(world, { user }, { cid: `fake-${++cids}`, ...sent, conv, body }) as never,
      typing: (conv) => void messages.typing(world, { user }, { conv }),
    }),
    now: () => world.now,
    advance(ms) {
      const end = world.now + ms;
      while (world.now < end) {
        const expiries = [...world.sessions].map((s) => s.expires);
        const next = Math.min(end, ...[...timers.map((t) => t.at), ...expiries].filter((at) => at > world.now));
        world.now = next;
        runTimers();
        for (const c of connections) if (c.session !== undefined && c.session.expires <= world.now) c.end(4401, "token expired");
      }
    },
    frames: () => seen,
    requests: (op, user) =>
      seen.flatMap((s) => (s.direction === "fromClient" && s.frame.op === op && (user === undefined || s.user === user) && isObject(s.frame.args) ? [s.frame.args] : [])),
    clear: () => void (seen = []),
    online: (user) => sessionsOf(world, user).map((s) => s.device),
  };
}

function decode(codec: Codec, data: unknown): { id?: number; op: string; args?: unknown } | undefined {
  try {
    if ((typeof data === "string") !== (codec.protocol === "belfry.v1.json")) return undefined;
    const frame: unknown = codec.decode(data instanceof Uint8Array ? data.slice().buffer : data);
    if (!isObject(frame) || typeof frame["op"] !== "string") return undefined;
    const { id, op, args } = frame;
    if (id === undefined) return { op, args };
    return Number.isSafeInteger(id) && (id as number) >= 1 ? { id: id as number, op, args } : undefined;
  } catch {
    return undefined;
  }
}

