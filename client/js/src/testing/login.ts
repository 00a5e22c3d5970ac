/** What a login pushes: the queue or what came since the cursor, groups, recents, and onSynced. */
import type { Message, WireConversation } from "../wire.ts";
import { isObject, optionalInteger, optionalText, word, type Args } from "./args.ts";
import { moveRead } from "./messages.ts";
import type { Session } from "./session.ts";
import { goneReason, lostRuns, shown, unreadEntries, type Entry, type View } from "./state.ts";
import {
  cursorAt, findView, groupCursor, groupViews, isMessage, listed, positionOf, recents, userOf, type World,
} from "./world.ts";

export interface LoginArgs {
  readonly since: string | undefined;
  readonly groups: Readonly<Record<string, string>>;
  readonly recents: "on" | "quiet" | "off";
  readonly backlog: number;
}

export function loginArgs(args: Args): LoginArgs {
  const groups = isObject(args["groups"]) ? args["groups"] : {};
  return {
    since: optionalText(args, "since", 8192),
    groups: Object.fromEntries(Object.entries(groups).map(([id, cursor]) => [id, String(cursor)])),
    recents: word(args, "recents", ["on", "quiet", "off"]) ?? "on",
    backlog: optionalInteger(args, "groupBacklog", 0, 100) ?? 20,
  };
}

/** Pushes all that a device has to hear as it comes back, and ends with onSynced. */
export function sync(world: World, session: Session, args: LoginArgs): void {
  const user = userOf(world, session.user);
  const end = user.log.length;
  const since = args.since === undefined ? undefined : positionOf(world, user.name, args.since, end);
  const reset = args.since !== undefined && since === undefined;
  if (since !== undefined && session.autoRead) readUpTo(world, session, since);

  const views = [...user.views.values()];
  const queue = views.flatMap((v) => unreadEntries(v, world.now, world.limits));
  const told = { unreadTotal: 0, unreadUnmuted: 0 };
  for (const view of [...views, ...groupViews(world, user.name)]) {
    const n = unreadEntries(view, world.now, world.limits).length;
    told.unreadTotal += n;
    if (!view.own.muted) told.unreadUnmuted += n;
  }
  const pushed = new Set<Entry>();
  const position = (at: number): { cursor: string } => ({ cursor: cursorAt(world, user.name, at) });

  if (since !== undefined) replay(world, session, since, pushed, position);
  else {
    const items = queue.sort((a, b) => a.at - b.at);
    for (const e of items) pushed.add(e);
    const more = items.length > 0 && !recentsToPush(world, session, args, since, pushed).some(({ view }) => view.group === undefined);
    session.messages(items.map((e) => e.message), more ? position(end) : {});
  }
  const offline = queue.filter((e) => pushed.has(e)).length;

  const cursors = new Map<string, number>();
  const refused = new Set<string>();
  for (const view of groupViews(world, user.name)) {
    const group = view.group;
    const cursor = group === undefined ? undefined : args.groups[group.id];
    if (group === undefined || cursor === undefined) continue;
    const at = positionOf(world, `g:${group.id}`, cursor, group.log.length);
    if (at === undefined) refused.add(group.id);
    else cursors.set(group.id, at);
  }
  pushGroups(world, session, args, cursors, refused, pushed);
  pushRecents(world, session, args, since, pushed, position(end));
  for (const [id, at] of cursors) groupChanges(world, session, id, at);
  session.push("onSynced", { offline, lost: lost(world, user.name, since ?? 0, cursors), ...position(end), ...resets(reset, refused), ...told, ...lists(world, user.name, args, cursors, refused) });
}

/** Whether the login's own cursor was refused, or which of groups alone. */
function resets(reset: boolean, refused: ReadonlySet<string>): { reset?: true; resetGroups?: string[] } {
  if (!reset && refused.size === 0) return {};
  return { reset: true, ...(!reset && { resetGroups: [...refused] }) };
}

/** In an auto-read session `since` acks all up to it. */
function readUpTo(world: World, session: Session, since: number): void {
  const user = userOf(world, session.user);
  for (const view of user.views.values()) {
    const last = view.entries.findLast((e) => e.at <= since && e.message.from !== user.name);
    if (last !== undefined) moveRead(world, view, last.message.seq, session);
  }
}

/** Of several changes with one name for one thing only the last is told. */
function supersedes(op: string, args: Record<string, unknown>): string | undefined {
  if (op === "onReadReport" || op === "onReadReceipt" || op === "onConversationChanged") return `${op} ${String(args["conv"])}`;
  if (op === "onBlocked") return `${op} ${String(args["user"])}`;
  return op === "onGroupEvent" ? `${op} ${String(args["group"])}` : undefined;
}

/** Pushes what came after a position, in arrival order. */
function replay(world: World, session: Session, since: number, pushed: Set<Entry>, position: (at: number) => { cursor: string }): void {
  const items = userOf(world, session.user).log.slice(since);
  const last = new Map<string, number>();
  items.forEach((item, i) => {
    const key = isMessage(item) ? undefined : supersedes(item.op, item.args);
    if (key !== undefined) last.set(key, i);
  });
  let run: Message[] = [];
  const flush = (at: number): void => {
    session.messages(run, position(at));
    run = [];
  };
  items.forEach((item, i) => {
    if (isMessage(item)) {
      const view = item.view;
      if (view === undefined || goneReason(view, item.entry, world.now, world.limits) !== undefined) return;
      run.push(item.entry.message);
      pushed.add(item.entry);
      return;
    }
    const key = supersedes(item.op, item.args);
    if (key !== undefined && last.get(key) !== i) return;
    flush(since + i);
    session.push(item.op, item.args);
  });
  flush(since + items.length);
}

/** The newest unread messages of each group, or what came after its cursor if that is no more. */
function pushGroups(
  world: World, session: Session, args: LoginArgs, cursors: ReadonlyMap<string, number>, refused: ReadonlySet<string>, pushed: Set<Entry>,
): void {
  const views = groupViews(world, session.user).sort((a, b) => (b.entries.at(-1)?.message.time ?? 0) - (a.entries.at(-1)?.message.time ?? 0));
  for (const view of views) {
    if (view.group === undefined) continue;
    const at = cursors.get(view.group.id);
    const unread = unreadEntries(view, world.now, world.limits);
    const came = at === undefined ? undefined : view.entries.filter((e) => e.at > at && goneReason(view, e, world.now, world.limits) === undefined);
    const newest = args.backlog === 0 ? [] : (view.group.settings.unread ? unread : (came ?? [])).slice(-args.backlog);
    const list = came !== undefined && came.length <= args.backlog ? came : newest;
    for (const e of list) pushed.add(e);
    const changes = at !== undefined && view.group.log.slice(at).some((item) => !isMessage(item));
    session.messages(list.map((e) => shown(view, e)), changes || refused.has(view.group.id) ? {} : { groupCursors: { [view.group.id]: groupCursor(world, view.group) } });
  }
}

function recentsToPush(world: World, session: Session, args: LoginArgs, since: number | undefined, pushed: Set<Entry>): { view: View; entry: Entry }[] {
  if (args.recents !== "on") return [];
  return recents(world, session.user)
    .filter(({ view, entry }) => {
      const at = view.group === undefined ? since : positionOf(world, `g:${view.group.id}`, args.groups[view.group.id] ?? "", view.group.log.length);
      return !pushed.has(entry) && (at === undefined || entry.at > at);
    })
    .reverse();
}

/** The last message of each conversation that the device does not have: those with users first. */
function pushRecents(world: World, session: Session, args: LoginArgs, since: number | undefined, pushed: Set<Entry>, cursor: { cursor: string }): void {
  const all = recentsToPush(world, session, args, since, pushed);
  for (const isGroup of [false, true]) {
    const list = all.filter(({ view }) => (view.group !== undefined) === isGroup);
    session.messages(list.map(({ view, entry }) => shown(view, entry)), isGroup ? {} : cursor);
  }
}

/** What changed in a group after a cursor. */
function groupChanges(world: World, session: Session, id: string, at: number): void {
  const group = world.groups.get(id);
  const view = findView(world, session.user, `g:${id}`);
  if (group === undefined || view === undefined) return;
  const changes = group.log.slice(at).filter((item) => !isMessage(item));
  const lastChanged = changes.findLast((item) => !isMessage(item) && item.op === "onGroupEvent");
  for (const item of changes) {
    if (isMessage(item) || (item.op === "onGroupEvent" && item !== lastChanged)) continue;
    const { only, ...args } = item.args;
    if (only === undefined || only === session.user) session.push(item.op, args);
  }
}

function lost(world: World, user: string, since: number, cursors: ReadonlyMap<string, number>): object[] {
  const ones = [...userOf(world, user).views.values()].flatMap((view) => lostRuns(view, since));
  const groups = groupViews(world, user).flatMap((view) => lostRuns(view, cursors.get(view.group?.id ?? "") ?? 0));
  return [...ones, ...groups];
}

/** The list of conversations, and those that are not in it and that the device has to hear of. */
function lists(world: World, user: string, args: LoginArgs, cursors: ReadonlyMap<string, number>, refused: ReadonlySet<string>): { conversations?: WireConversation[]; users?: WireConversation[]; groups: WireConversation[] } {
  const list = args.recents === "off" ? [] : recents(world, user);
  const within = new Set(list.map(({ view }) => view.conv));
  const unknown = ({ group, own }: View): boolean =>
    group !== undefined &&
    (refused.has(group.id) || (!group.settings.unread && own.listed && (cursors.get(group.id) ?? -1) < (group.members.get(user)?.joinedAt ?? 0)));
  const rest = (views: View[]): WireConversation[] =>
    views
      .filter((v) => !within.has(v.conv) && (v.own.marked || unreadEntries(v, world.now, world.limits).length > 0 || unknown(v)))
      .map((v) => listed(world, v));
  const users = rest([...userOf(world, user).views.values()]);
  const groups = rest(groupViews(world, user));
  return { ...(args.recents !== "off" && { conversations: list.map(({ as }) => as) }), ...(users.length > 0 && { users }), groups };
}
