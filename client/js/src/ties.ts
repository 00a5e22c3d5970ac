/**
 * What the server keeps for one session only: the live groups that it is in, and the users
 * whose presence it is told. Each later session of this engine asks for the same again.
 */
import { BelfryError } from "./api.ts";
import type { Notice } from "./link.ts";
import { PASSING } from "./outbox.ts";
import type { Session } from "./session.ts";
import { backoff, spread } from "./token.ts";
import type { Operations } from "./wire.ts";

/** The most live groups, and users, that are asked for again; with one more the oldest is forgotten. */
const MAX_TIES = 1000;
/** The users of one request. */
const MAX_USERS = 100;

type Args = { readonly [name: string]: unknown };

export interface Ties {
  /** Notes what the answer to a request tied to the session, or freed. */
  note(op: string, args: Args, ok: unknown): void;
  /** The user is no more in a live group. */
  left(group: unknown): void;
  /** Asks a new session for all, and resolves when it was asked once. */
  renew(session: Session): Promise<unknown>;
}

/** `report` is told what is refused for good; a group is given up then. */
export function newTies(tell: (notice: Notice) => void, report: (err: unknown) => void): Ties {
  const live = new Set<unknown>();
  const watched = new Set<unknown>();
  const add = (to: Set<unknown>, one: unknown) => {
    to.delete(one);
    to.add(one);
    if (to.size > MAX_TIES) to.delete(to.values().next().value);
  };

  const ask = async (session: Session, op: string, args: Args, failures = 0): Promise<void> => {
    if (args.group && !live.has(args.group)) return; // left meanwhile
    try {
      const { presence = {} } = (await session.request(op, args)) as Partial<Operations["getPresence"]["ok"]>;
      // What changed in between was told to nobody.
      for (const [user, { online, lastSeen }] of Object.entries(presence)) {
        tell({ event: { name: "presence", of: { user, status: online ? "online" : "offline", time: lastSeen } } });
      }
    } catch (err) {
      const { code, retryAfterMs } = err as BelfryError;
      if (code === "offline") return; // the next session is asked
      if (!PASSING.has(code)) {
        live.delete(args.group);
        return report(err);
      }
      const timer = setTimeout(ask, retryAfterMs ? spread(retryAfterMs) : backoff(failures), session, op, args, failures + 1);
      void session.ended.then(() => clearTimeout(timer));
    }
  };

  return {
    note(op, args, ok) {
      const { cursor, pending, group = args.group } = ok as { cursor?: string; pending?: true; group?: unknown };
      if (op === "subscribePresence") for (const user of args.users as unknown[]) add(watched, user);
      else if (args.kind === "live" || (op === "joinGroup" && !cursor && !pending)) add(live, group);
      else if (op === "leaveGroup") live.delete(group);
    },
    left: (group) => void live.delete(group),
    renew(session) {
      const asks = [...live].map((group) => ask(session, "joinGroup", { group }));
      const users = [...watched];
      while (users.length > 0) asks.push(ask(session, "subscribePresence", { users: users.splice(0, MAX_USERS) }));
      return Promise.all(asks);
    },
  };
}
