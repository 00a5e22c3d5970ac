/** All that a fake server knows, and what its operations share: views, cursors, deliveries. */
import type { Message, WireConversation } from "../wire.ts";
import type { Session } from "./session.ts";
import {
  conversationOf, lastShown, newOwn, shown, type Entry, type FakeGroup, type FakeUser, type Item, type Limits, type Membership, type View,
} from "./state.ts";

export interface World {
  now: number;
  /** Cursors of another epoch count as absent. */
  epoch: number;
  readonly limits: Limits;
  readonly users: Map<string, FakeUser>;
  readonly groups: Map<string, FakeGroup>;
  readonly sessions: Set<Session>;
  /** Counts ids. */
  made: number;
}

/** Who makes a request. Without a session it is the test that acts for a user. */
export interface Caller {
  readonly user: string;
  readonly session?: Session;
}

export function userOf(world: World, name: string): FakeUser {
  let user = world.users.get(name);
  if (user === undefined) {
    user = { name, views: new Map(), log: [], sent: new Map(), blocked: new Set(), watchers: new Set(), lastSeen: 0 };
    world.users.set(name, user);
  }
  return user;
}

const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** A ULID: its time is the fake's, its random part a counter. */
export function newId(world: World): string {
  const part = (value: number, length: number): string => {
    let text = "";
    for (let i = 0, rest = value; i < length; i++, rest = Math.floor(rest / 32)) text = digits.charAt(rest % 32) + text;
    return text;
  };
  return part(world.now, 10) + part(++world.made, 16);
}

/** The user's view of a one-to-one conversation, made if there is none. */
export function openView(user: FakeUser, conv: string): View {
  let view = user.views.get(conv);
  if (view === undefined) {
    view = { conv, user: user.name, entries: [], own: newOwn(), first: 1 };
    user.views.set(conv, view);
  }
  return view;
}

export function groupView(group: FakeGroup, user: string, member: Membership): View {
  const first = group.settings.history === "all" ? 1 : member.joined + 1;
  return { conv: `g:${group.id}`, user, entries: group.entries, own: member.own, first, group };
}

/** The user's view of a conversation; undefined if they have none. Live groups have none. */
export function findView(world: World, user: string, conv: string): View | undefined {
  if (conv.startsWith("u:")) return userOf(world, user).views.get(conv);
  const group = world.groups.get(conv.slice(2));
  const member = group?.members.get(user);
  return group === undefined || member === undefined || !group.settings.stored ? undefined : groupView(group, user, member);
}

/** The stored groups that a user is in, by name. */
export function groupViews(world: World, user: string): View[] {
  const views: View[] = [];
  for (const id of [...world.groups.keys()].sort()) {
    const view = findView(world, user, `g:${id}`);
    if (view !== undefined) views.push(view);
  }
  return views;
}

export function cursorAt(world: World, owner: string, at: number): string {
  return `${world.epoch}/${owner}/${at}`;
}

/** The position of a cursor; undefined if it is none of this owner and epoch, or beyond `end`. */
export function positionOf(world: World, owner: string, cursor: string, end: number): number | undefined {
  const [epoch, whose, at] = cursor.split("/");
  const position = Number(at);
  const good = epoch === String(world.epoch) && whose === owner && Number.isInteger(position) && position >= 0 && position <= end;
  return good ? position : undefined;
}

export function groupCursor(world: World, group: FakeGroup): string {
  return cursorAt(world, `g:${group.id}`, group.log.length);
}

export function sessionsOf(world: World, user: string): Session[] {
  return [...world.sessions].filter((s) => s.user === user);
}

/** Adds a message to a user's view and arrival order, and pushes it to their sessions but `except`. */
export function deliver(world: World, user: FakeUser, conv: string, base: Omit<Message, "conv" | "seq">, peerSeq: number, except?: Session): Entry {
  const view = openView(user, conv);
  const time = Math.max(base.time, view.entries.at(-1)?.message.time ?? 0);
  const { id, from, cid, body, ...rest } = base;
  const message: Message = { id, conv, from, seq: view.entries.length + 1, cid, body, ...rest, time };
  const entry: Entry = { message, at: user.log.length + 1, peerSeq };
  view.entries.push(entry);
  view.own.listed = true;
  view.own.marked = false;
  user.log.push({ view, entry });
  const cursor = cursorAt(world, user.name, user.log.length);
  for (const s of sessionsOf(world, user.name)) if (s !== except) s.messages([message], { cursor });
  return entry;
}

/** Notes a change in a user's arrival order, and pushes it to their sessions but `except`. */
export function change(world: World, user: string, op: string, args: Record<string, unknown>, except?: Session): void {
  userOf(world, user).log.push({ op, args });
  for (const s of sessionsOf(world, user)) if (s !== except) s.push(op, args);
}

/** The same for a change of one member's own view of a group. */
export function changeOwn(world: World, view: View, op: string, args: Record<string, unknown>, except?: Session): void {
  if (view.group === undefined) return change(world, view.user, op, args, except);
  view.group.log.push({ op, args: { ...args, only: view.user } });
  for (const s of sessionsOf(world, view.user)) if (s !== except) s.push(op, args);
}

/** Pushes to the sessions of a group's members, in live groups to those that are in it. */
export function toGroup(world: World, group: FakeGroup, fn: (session: Session) => void): void {
  for (const s of world.sessions) {
    if (group.settings.stored ? group.members.has(s.user) : s.live.has(group.id)) fn(s);
  }
}

/** The list of conversations, newest first, each with its view. */
export function recents(world: World, user: string): { view: View; entry: Entry; as: WireConversation }[] {
  const { now, limits } = world;
  const all = [...userOf(world, user).views.values(), ...groupViews(world, user)].flatMap((view) => {
    const entry = view.own.listed ? lastShown(view, now, limits) : undefined;
    return entry === undefined ? [] : [{ view, entry, as: listed(world, view) }];
  });
  const newest = (a: (typeof all)[number], b: (typeof all)[number]): number =>
    b.entry.message.time - a.entry.message.time || (b.entry.message.id < a.entry.message.id ? -1 : 1);
  all.sort((a, b) => Number(b.view.own.pinned) - Number(a.view.own.pinned) || newest(a, b));
  return all.slice(0, limits.recents).sort(newest);
}

export function listed(world: World, view: View): WireConversation {
  return conversationOf(view, world.now, world.limits, view.group === undefined ? undefined : groupCursor(world, view.group));
}

export function lastOf(world: World, view: View): { last?: Message } {
  const entry = lastShown(view, world.now, world.limits);
  return entry === undefined ? {} : { last: shown(view, entry) };
}

export function isMessage(item: Item): item is Extract<Item, { entry: Entry }> {
  return "entry" in item;
}
