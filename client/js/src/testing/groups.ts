/** The fake server's operations on groups, without bans, offers of ownership and limits. */
import type { GroupEvent, GroupSettings } from "../wire.ts";
import { flag, group as groupOf, integer, isObject, optionalInteger, optionalText, Refusal, user, users, word, type Args } from "./args.ts";
import { countsOf, newOwn, type FakeGroup, type Membership } from "./state.ts";
import { groupCursor, newId, toGroup, sessionsOf, userOf, type Caller, type World } from "./world.ts";

const kinds = {
  private: { maxMembers: 200, join: "invite", history: "sinceJoin", unread: true, stored: true },
  public: { maxMembers: 2000, join: "approve", history: "sinceJoin", unread: true, stored: true },
  chatroom: { maxMembers: 10_000, join: "open", history: "all", unread: false, stored: true },
  live: { join: "open", history: "none", unread: false, stored: false },
} as const satisfies Record<FakeGroup["kind"], GroupSettings>;

const joins = ["invite", "approve", "open"] as const;
const histories = ["sinceJoin", "all", "none"] as const;

function settingsOf(args: Args, present: GroupSettings): GroupSettings {
  const maxMembers = optionalInteger(args, "maxMembers", 1, 10_000) ?? present.maxMembers;
  const mutedAll = flag(args, "mutedAll") ?? present.mutedAll ?? false;
  return {
    ...(maxMembers !== undefined && { maxMembers }),
    join: word(args, "join", joins) ?? present.join,
    history: word(args, "history", histories) ?? present.history,
    unread: flag(args, "unread") ?? present.unread,
    stored: present.stored,
    ...(mutedAll && { mutedAll }),
  };
}

function existing(world: World, id: string): FakeGroup {
  const group = world.groups.get(id);
  if (group === undefined || group.dismissed) throw new Refusal("not_found", "group: no such group");
  return group;
}

function member(group: FakeGroup, name: string): Membership {
  const found = group.members.get(name);
  if (found === undefined) throw new Refusal("forbidden", "group: you are no member");
  return found;
}

const saysCounts: ReadonlySet<GroupEvent["event"]> = new Set(["created", "joined", "changed"]);

/** Tells a group's connected members of an event. `cursor` goes to those who have just joined. */
function tell(world: World, group: FakeGroup, event: GroupEvent["event"], by: string, list: readonly string[]): void {
  const args = { group: group.id, event, by, ...(list.length > 0 && list.length <= 500 && { users: list }), time: world.now, ...(saysCounts.has(event) && countsOf(group)) };
  if (event === "changed") group.log.push({ op: "onGroupEvent", args });
  const cursor = groupCursor(world, group);
  const told = (to: string): object => ((event === "joined" || event === "created") && list.includes(to) && group.settings.stored ? { ...args, cursor } : args);
  toGroup(world, group, (s) => s.push("onGroupEvent", told(s.user)));
}

/** Notes what became of a membership for the user's devices that are away. */
function note(world: World, group: FakeGroup, event: GroupEvent["event"], name: string): void {
  const cursor = event === "joined" && group.settings.stored ? { cursor: groupCursor(world, group) } : {};
  userOf(world, name).log.push({ op: "onGroupEvent", args: { group: group.id, event, by: "", users: [name], time: world.now, ...cursor, ...(saysCounts.has(event) && countsOf(group)) } });
}

function enter(world: World, group: FakeGroup, name: string, role: Membership["role"]): void {
  const own = newOwn();
  own.readSeq = group.entries.length;
  group.members.set(name, { role, mutedUntil: 0, joined: group.entries.length, joinedAt: group.log.length, since: world.now, own });
  note(world, group, "joined", name);
}

export function createGroup(world: World, who: Caller, args: Args): object {
  const id = args["group"] === undefined ? newId(world).toLowerCase() : groupOf(args);
  const kind = word(args, "kind", ["private", "public", "chatroom", "live"]);
  if (kind === undefined) throw new Refusal("bad_request", "kind: is missing");
  const list = users(args, "members", 0, 500).filter((name) => name !== who.user);
  if (kind === "live" && list.length > 0) throw new Refusal("bad_request", "members: must be empty");
  const old = world.groups.get(id);
  if (old !== undefined) throw new Refusal("conflict", "group: exists");
  const group: FakeGroup = {
    id, kind, name: optionalText(args, "name", 256) ?? "", properties: isObject(args["properties"]) ? (args["properties"] as FakeGroup["properties"]) : {},
    settings: settingsOf(args, kinds[kind]), entries: [], log: [], members: new Map(), requests: new Map(), dismissed: false,
  };
  world.groups.set(id, group);
  enter(world, group, who.user, "owner");
  const failed = list.filter((name) => userOf(world, name).blocked.has(who.user));
  const added = list.filter((name) => !failed.includes(name));
  for (const name of added) enter(world, group, name, "member");
  who.session?.live.add(id);
  if (group.settings.stored) tell(world, group, "created", who.user, [who.user, ...added]);
  return {
    group: id,
    ...(group.settings.stored && { cursor: groupCursor(world, group) }),
    ...(failed.length > 0 && { failed: failed.map((name) => ({ user: name, code: "forbidden" })) }),
  };
}

export function joinGroup(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  if (!group.settings.stored) {
    who.session?.live.add(group.id);
    return {};
  }
  if (group.members.has(who.user)) return { cursor: groupCursor(world, group) };
  if (group.settings.join === "invite") throw new Refusal("forbidden", "group: is joined by invitation");
  if (group.settings.join === "approve") {
    const message = optionalText(args, "message", 256);
    group.requests.set(who.user, { ...(message !== undefined && { message }), time: world.now });
    for (const [name, { role }] of group.members) {
      const event = { group: group.id, event: "joinRequested", by: who.user, users: [who.user], time: world.now };
      if (role !== "member") for (const s of sessionsOf(world, name)) s.push("onGroupEvent", event);
    }
    return { pending: true };
  }
  enter(world, group, who.user, "member");
  tell(world, group, "joined", who.user, [who.user]);
  return { cursor: groupCursor(world, group) };
}

export function answerJoin(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  const name = user(args);
  manage(group, who);
  const asked = group.requests.delete(name);
  if (flag(args, "accept") === true && asked && !group.members.has(name)) {
    enter(world, group, name, "member");
    tell(world, group, "joined", who.user, [name]);
  }
  return {};
}

/** Owner and admins. */
function manage(group: FakeGroup, who: Caller): Membership {
  const me = member(group, who.user);
  if (me.role === "member") throw new Refusal("forbidden", "group: owner and admins may do that");
  return me;
}

export function leaveGroup(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  if (!group.settings.stored) {
    who.session?.live.delete(group.id);
    return {};
  }
  if (!group.members.has(who.user)) return {};
  if (group.members.get(who.user)?.role === "owner") throw new Refusal("forbidden", "group: the owner cannot leave");
  tell(world, group, "left", who.user, [who.user]);
  group.members.delete(who.user);
  note(world, group, "left", who.user);
  return {};
}

export function dismissGroup(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  if (member(group, who.user).role !== "owner") throw new Refusal("forbidden", "group: the owner may do that");
  tell(world, group, "dismissed", who.user, []);
  for (const name of group.members.keys()) note(world, group, "dismissed", name);
  group.members.clear();
  group.dismissed = true;
  for (const s of world.sessions) s.live.delete(group.id);
  return {};
}

export function addMembers(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  const list = [...new Set(users(args, "users", 1, 100))];
  if (!group.settings.stored) throw new Refusal("bad_request", "group: has no list of members");
  if (group.settings.join === "invite") member(group, who.user);
  else manage(group, who);
  const failed = list.filter((name) => userOf(world, name).blocked.has(who.user));
  const added = list.filter((name) => !failed.includes(name));
  const fresh = added.filter((name) => !group.members.has(name));
  for (const name of fresh) enter(world, group, name, "member");
  if (fresh.length > 0) tell(world, group, "joined", who.user, fresh);
  return { added, failed: failed.map((name) => ({ user: name, code: "forbidden" })) };
}

export function removeMembers(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  const list = [...new Set(users(args, "users", 1, 100))];
  const me = manage(group, who);
  const code = (name: string): string | undefined => {
    const role = group.members.get(name)?.role;
    if (role === undefined) return "not_found";
    return role === "owner" || (role === "admin" && me.role !== "owner") ? "forbidden" : undefined;
  };
  const failed = list.flatMap((name) => (code(name) === undefined ? [] : [{ user: name, code: code(name) }]));
  const removed = list.filter((name) => code(name) === undefined);
  if (removed.length > 0) tell(world, group, "removed", who.user, removed);
  for (const name of removed) {
    group.members.delete(name);
    note(world, group, "removed", name);
  }
  return { removed, failed };
}

export function setMember(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  const name = user(args);
  const role = word(args, "role", ["admin", "member"]);
  const until = optionalInteger(args, "mutedUntil", 0);
  const me = manage(group, who);
  const of = group.members.get(name);
  if (of === undefined) throw new Refusal("not_found", "user: is no member");
  if ((role !== undefined && me.role !== "owner") || of.role === "owner") throw new Refusal("forbidden", "user: the owner may do that");
  if (role !== undefined && role !== of.role) {
    of.role = role;
    tell(world, group, "roleChanged", who.user, [name]);
  }
  if (until !== undefined && until !== of.mutedUntil) {
    of.mutedUntil = until;
    tell(world, group, "muted", who.user, [name]);
  }
  return {};
}

export function setGroup(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  const me = manage(group, who);
  if (args["history"] !== undefined && me.role !== "owner") throw new Refusal("forbidden", "history: the owner may do that");
  group.settings = settingsOf(args, group.settings);
  group.name = optionalText(args, "name", 256) ?? group.name;
  if (isObject(args["properties"])) group.properties = args["properties"] as FakeGroup["properties"];
  tell(world, group, "changed", who.user, []);
  return {};
}

function describe(group: FakeGroup, name: string): object {
  const owner = [...group.members].find(([, m]) => m.role === "owner")?.[0] ?? "";
  const role = group.members.get(name)?.role;
  return {
    group: group.id, kind: group.kind, name: group.name, owner, memberCount: group.members.size, lastSeq: group.entries.length, ...(role !== undefined && { role }),
  };
}

export function getGroup(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  const role = group.members.get(who.user)?.role;
  if (role === undefined && group.settings.join === "invite") throw new Refusal("forbidden", "group: you are no member");
  const requests = [...group.requests].map(([name, request]) => ({ user: name, ...request }));
  const mayAnswer = role === "owner" || role === "admin";
  return { ...describe(group, who.user), properties: group.properties, settings: group.settings, ...(mayAnswer && requests.length > 0 && { requests }) };
}

export function getMembers(world: World, who: Caller, args: Args): object {
  const group = existing(world, groupOf(args));
  member(group, who.user);
  const after = optionalText(args, "after") ?? "";
  const limit = optionalInteger(args, "limit", 1, 100) ?? 20;
  const all = [...group.members].filter(([name]) => name > after).sort(([a], [b]) => (a < b ? -1 : 1));
  const members = all.slice(0, limit).map(([name, m]) => ({ user: name, role: m.role, ...(m.mutedUntil > world.now && { mutedUntil: m.mutedUntil }) }));
  return { members, more: all.length > limit };
}

export function getGroups(world: World, who: Caller, args: Args): object {
  const after = optionalText(args, "after") ?? "";
  const limit = integer({ limit: args["limit"] ?? 100 }, "limit", 1, 100);
  const all = [...world.groups.values()].filter((g) => g.members.has(who.user) && g.id > after).sort((a, b) => (a.id < b.id ? -1 : 1));
  return { groups: all.slice(0, limit).map((g) => describe(g, who.user)), more: all.length > limit };
}


export const operations = {
  createGroup, joinGroup, answerJoin, leaveGroup, dismissGroup, addMembers, removeMembers, setMember, setGroup, getGroup, getMembers, getGroups,
} as const;
