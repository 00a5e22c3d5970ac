/** The fake server's operations on messages and conversations. */
import type { Message, WirePage } from "../wire.ts";
import { body, conv, flag, integer, optionalInteger, range, Refusal, seqs, text, user, users, type Args } from "./args.ts";
import type { Session } from "./session.ts";
import { goneReason, keepQueueLimit, pageOf, unreadEntries, type FakeGroup, type FakeUser, type Sent, type View } from "./state.ts";
import {
  change, changeOwn, deliver, findView, groupCursor, lastOf, listed, newId, openView, recents, sessionsOf, toGroup, userOf, groupViews,
  type Caller, type World,
} from "./world.ts";

type Base = Omit<Message, "conv" | "seq">;

export function send(world: World, who: Caller, args: Args): object {
  const to = conv(args);
  const cid = text(args, "cid");
  const form = body(args, world.limits.maxBody);
  const ttl = optionalInteger(args, "ttl", 0, 604_800);
  const mentions = users(args, "mentions", 0, 100);
  const sender = userOf(world, who.user);
  const group = to.kind === "g" ? groupToSend(world, who, to.id) : undefined;
  const key = `${ttl === 0} ${to.conv} ${cid}`;
  const known = repeat(world, sender, key, form, flag(args, "retry") ?? false);
  if (known !== undefined) return known;
  if (group === undefined && userOf(world, to.id).blocked.has(who.user)) throw new Refusal("forbidden", "conv: this user has blocked you");
  const base: Base = {
    id: newId(world), from: who.user, time: world.now, cid, body: args["body"] as Message["body"],
    ...(ttl !== undefined && ttl > 0 && { ttl }), ...(mentions.length > 0 && { mentions }),
  };
  const sent = ttl === 0 || group?.settings.stored === false
    ? sendNow(world, who, to, base, group)
    : group === undefined ? sendToUser(world, who, to.id, base) : sendToGroup(world, who, group, base);
  sender.sent.set(key, { ...sent, body: form });
  return sent;
}

/** The answer to a repeat; undefined if it is none. */
function repeat(world: World, sender: FakeUser, key: string, form: string, retry: boolean): object | undefined {
  const first = sender.sent.get(key);
  if (first === undefined || world.now - first.time > (retry ? world.limits.historyTTL : world.limits.dedupWindow)) return undefined;
  if (first.body !== form) throw new Refusal("conflict", "cid: was used with another body");
  const { body: _, ...answer } = first;
  return { ...answer, duplicate: true };
}

function groupToSend(world: World, who: Caller, id: string): FakeGroup {
  const group = world.groups.get(id);
  if (group === undefined || group.dismissed) throw new Refusal("not_found", "conv: no such group");
  const member = group.members.get(who.user);
  const isIn = group.settings.stored ? member !== undefined : who.session === undefined || who.session.live.has(id);
  if (!isIn) throw new Refusal("forbidden", "conv: you are no member");
  const muted = member !== undefined && member.mutedUntil > world.now;
  const mutedAll = group.settings.mutedAll === true && (member?.role ?? "member") === "member";
  if (muted || mutedAll) throw new Refusal("forbidden", "conv: you are muted");
  return group;
}

type Answer = Omit<Sent, "body">;

function sendToUser(world: World, who: Caller, peer: string, base: Base): Answer {
  const me = userOf(world, who.user);
  const to = userOf(world, peer);
  const mine = openView(me, `u:${peer}`);
  const theirs = openView(to, `u:${me.name}`);
  const peerSeq = theirs.entries.length + 1;
  const { message } = deliver(world, me, mine.conv, base, peerSeq, who.session);
  if (to === me) {
    mine.own.readSeq = message.seq;
  } else {
    deliver(world, to, theirs.conv, base, message.seq);
    keepQueueLimit(to, world.now, world.limits);
  }
  return { id: message.id, seq: message.seq, time: message.time };
}

function sendToGroup(world: World, who: Caller, group: FakeGroup, base: Base): Answer {
  const time = Math.max(base.time, group.entries.at(-1)?.message.time ?? 0);
  const { id, from, cid, body: content, ...rest } = base;
  const message: Message = { id, conv: `g:${group.id}`, from, seq: group.entries.length + 1, cid, body: content, ...rest, time };
  const entry = { message, at: group.log.length + 1, peerSeq: 0 };
  group.entries.push(entry);
  group.log.push({ view: undefined, entry });
  for (const member of group.members.values()) {
    member.own.listed = true;
    member.own.marked = false;
  }
  const cursors = { groupCursors: { [group.id]: groupCursor(world, group) } };
  toGroup(world, group, (s) => {
    if (s !== who.session && !userOf(world, s.user).blocked.has(who.user)) s.messages([message], cursors);
  });
  const own = group.members.get(who.user)?.own;
  if (own !== undefined) {
    const passed = group.entries.slice(own.readSeq, -1).some((e) => e.message.from !== who.user);
    own.readSeq = message.seq;
    if (passed) for (const s of sessionsOf(world, who.user)) if (s !== who.session) s.push("onReadReport", { conv: message.conv, seq: message.seq });
  }
  return { id: message.id, seq: message.seq, time: message.time };
}

/** Sends to who is connected. It is stored nowhere. */
function sendNow(world: World, who: Caller, to: ReturnType<typeof conv>, base: Base, group: FakeGroup | undefined): Answer {
  const { id, from, cid, body: content, time, mentions } = base;
  const message = (as: string): Message =>
    ({ id, conv: as, from, time, cid, body: content, ephemeral: true, ...(mentions && { mentions }) }) as unknown as Message;
  const give = (s: Session, as: string): void => {
    if (s !== who.session) s.messages([message(as)], {});
  };
  if (group !== undefined) toGroup(world, group, (s) => give(s, to.conv));
  else {
    for (const s of sessionsOf(world, who.user)) give(s, to.conv);
    if (to.id !== who.user) for (const s of sessionsOf(world, to.id)) give(s, `u:${who.user}`);
  }
  return { id, time };
}

export function getMessage(world: World, who: Caller, args: Args): WirePage {
  const of = conv(args);
  const before = optionalInteger(args, "before", 1);
  const after = optionalInteger(args, "after", 0);
  const within = range(args);
  const limit = optionalInteger(args, "limit", 1, 100) ?? 20;
  if ([before, after, within].filter((v) => v !== undefined).length > 1) {
    throw new Refusal("bad_request", "before: must come alone: only one of before, after and range");
  }
  const view = of.kind === "g" ? memberView(world, who, of.id) : findView(world, who.user, of.conv);
  if (view === undefined) return { messages: [], from: 0, to: 0, gaps: [], more: false };
  return pageOf(view, { before, after, range: within, limit }, world.now, world.limits);
}

/** A member's view of a group; undefined for a live one. */
function memberView(world: World, who: Caller, id: string): View | undefined {
  const group = world.groups.get(id);
  if (group === undefined || group.dismissed) throw new Refusal("not_found", "conv: no such group");
  if (!group.settings.stored) return undefined;
  if (!group.members.has(who.user)) throw new Refusal("forbidden", "conv: you are no member");
  return findView(world, who.user, `g:${id}`);
}

/** The view that a request names; it has to be there. */
function named(world: World, who: Caller, args: Args): View {
  const of = conv(args);
  const view = of.kind === "g" ? memberView(world, who, of.id) : findView(world, who.user, of.conv);
  if (view === undefined) throw new Refusal("not_found", "conv: no such conversation");
  return view;
}

export function getRecents(world: World, who: Caller): object {
  return { conversations: recents(world, who.user).map(({ view, as }) => ({ ...as, ...lastOf(world, view) })) };
}

export function getConversations(world: World, who: Caller, args: Args): object {
  const limit = optionalInteger(args, "limit", 1, 100) ?? 20;
  const skip = args["after"] === undefined || args["after"] === null ? 0 : Number(text(args, "after"));
  const ones = [...userOf(world, who.user).views.values()].filter((v) => v.own.listed);
  ones.sort((a, b) => (b.entries.at(-1)?.at ?? 0) - (a.entries.at(-1)?.at ?? 0));
  const all = [...ones, ...groupViews(world, who.user).filter((v) => v.own.listed)];
  const page = all.slice(skip, skip + limit);
  const more = skip + limit < all.length;
  return {
    conversations: page.map((view) => ({ ...listed(world, view), ...lastOf(world, view) })),
    ...(more && { more: true, after: String(skip + limit) }),
  };
}

export function readReport(world: World, who: Caller, args: Args): object {
  const seq = integer(args, "seq", 1, Number.MAX_SAFE_INTEGER);
  const view = named(world, who, args);
  const upTo = Math.min(seq, view.entries.length);
  moveRead(world, view, upTo, who.session);
  unmark(world, view);
  if (view.group === undefined && upTo > view.own.reported) tellPeer(world, view, upTo);
  view.own.reported = Math.max(view.own.reported, upTo);
  return { unread: unreadEntries(view, world.now, world.limits).length };
}

/** A report takes the mark as unread back. */
function unmark(world: World, view: View): void {
  const { own, conv: name } = view;
  if (!own.marked) return;
  own.marked = false;
  change(world, view.user, "onConversationChanged", { conv: name, muted: own.muted, pinned: own.pinned, unread: false });
}

/** Moves the read cursor forward, and tells the user's other sessions. */
export function moveRead(world: World, view: View, seq: number, except?: Session): void {
  if (seq <= view.own.readSeq) return;
  view.own.readSeq = seq;
  changeOwn(world, view, "onReadReport", { conv: view.conv, seq }, except);
}

/** Pushes the receipt of the peer's newest message up to `upTo`. */
function tellPeer(world: World, view: View, upTo: number): void {
  const peer = view.conv.slice(2);
  const read = view.entries.slice(view.own.reported, upTo).findLast((e) => e.message.from === peer && e.peerSeq > 0);
  if (read === undefined || peer === view.user) return;
  const theirs = openView(userOf(world, peer), `u:${view.user}`);
  theirs.own.peerReadSeq = Math.max(theirs.own.peerReadSeq, read.peerSeq);
  change(world, peer, "onReadReceipt", { conv: theirs.conv, seq: read.peerSeq, time: world.now });
}

export function deleteMessage(world: World, who: Caller, args: Args): object {
  const list = seqs(args);
  const view = named(world, who, args);
  if (list.some((seq) => seq > view.entries.length)) throw new Refusal("not_found", "seqs: no such message");
  for (const seq of list) hide(view, seq);
  changeOwn(world, view, "onMessageDeleted", { conv: view.conv, seqs: [...new Set(list)].sort((a, b) => a - b) }, who.session);
  return {};
}

function hide(view: View, seq: number): void {
  const entry = view.entries[seq - 1];
  if (view.group !== undefined) view.own.hidden.add(seq);
  else if (entry !== undefined) entry.gone ??= "deleted";
}

export function deleteConversation(world: World, who: Caller, args: Args): object {
  const messages = flag(args, "messages") ?? false;
  const view = named(world, who, args);
  view.own.listed = false;
  view.own.dequeued = view.entries.length;
  if (messages) for (const e of view.entries) hide(view, e.message.seq);
  const told = { conv: view.conv, ...(messages && { messages }), upTo: view.entries.length };
  changeOwn(world, view, "onConversationDeleted", told, who.session);
  return {};
}

export function setConversation(world: World, who: Caller, args: Args): object {
  const { own, conv: name } = named(world, who, args);
  own.muted = flag(args, "muted") ?? own.muted;
  own.pinned = flag(args, "pinned") ?? own.pinned;
  own.marked = flag(args, "unread") ?? own.marked;
  change(world, who.user, "onConversationChanged", { conv: name, muted: own.muted, pinned: own.pinned, unread: own.marked });
  return {};
}

export function recall(world: World, who: Caller, args: Args): object {
  const seq = integer(args, "seq", 1, Number.MAX_SAFE_INTEGER);
  const view = named(world, who, args);
  const entry = view.entries[seq - 1];
  if (entry === undefined || seq < view.first) throw new Refusal("not_found", "seq: no such message");
  const role = view.group?.members.get(who.user)?.role ?? "member";
  if (entry.message.from !== who.user && role === "member") throw new Refusal("forbidden", "seq: not your message");
  if (entry.gone === "recalled") return {};
  const reason = goneReason(view, entry, world.now, world.limits);
  if (reason === "expired") throw new Refusal("not_found", "seq: no such message");
  if (role === "member" && world.now > entry.message.time + world.limits.recallWindow) throw new Refusal("too_late", "seq: the recall window is over");
  entry.gone = "recalled";
  const args1 = { conv: view.conv, ranges: [[seq, seq]], by: who.user };
  if (view.group !== undefined) {
    view.group.log.push({ op: "onRecall", args: args1 });
    toGroup(world, view.group, (s) => {
      if (seq >= (findView(world, s.user, view.conv)?.first ?? 0)) s.push("onRecall", args1);
    });
    return {};
  }
  change(world, who.user, "onRecall", args1);
  const peer = userOf(world, view.conv.slice(2));
  const theirs = peer.name === who.user ? undefined : peer.views.get(`u:${who.user}`);
  const copy = theirs?.entries[entry.peerSeq - 1];
  if (theirs !== undefined && copy !== undefined) {
    copy.gone = "recalled";
    change(world, peer.name, "onRecall", { conv: theirs.conv, ranges: [[entry.peerSeq, entry.peerSeq]], by: who.user });
  }
  return {};
}

export function typing(world: World, who: Caller, args: Args): object {
  const to = conv(args);
  const told = (as: string) => ({ user: who.user, conv: as, time: world.now });
  if (to.kind === "u" && findView(world, who.user, to.conv) !== undefined && !userOf(world, to.id).blocked.has(who.user)) {
    for (const s of sessionsOf(world, to.id)) s.push("onTyping", told(`u:${who.user}`));
  }
  const group = to.kind === "g" ? world.groups.get(to.id) : undefined;
  if (group?.members.has(who.user) && group.settings.stored && group.members.size <= 200) {
    toGroup(world, group, (s) => {
      if (s.user !== who.user) s.push("onTyping", told(to.conv));
    });
  }
  return {};
}

export function block(world: World, who: Caller, args: Args, blocked: boolean): object {
  const name = user(args);
  if (name === who.user) throw new Refusal("bad_request", "user: must be somebody else");
  const list = userOf(world, who.user).blocked;
  if (list.has(name) === blocked) return {};
  if (blocked) list.add(name);
  else list.delete(name);
  change(world, who.user, "onBlocked", { user: name, blocked });
  return {};
}

/** What the asker may see: those who have written to them, or share a group with them. */
function presence(world: World, who: Caller, args: Args, subscribe: boolean): object {
  const all = users(args, "users", 1, 100).flatMap((name) => {
    const view = userOf(world, who.user).views.get(`u:${name}`);
    const wrote = view?.entries.some((e) => e.message.from === name) ?? false;
    const shares = [...world.groups.values()].some((g) => g.members.has(name) && g.members.has(who.user));
    const { lastSeen, blocked } = userOf(world, name);
    if ((!wrote && !shares) || lastSeen === 0 || blocked.has(who.user)) return [];
    if (subscribe && who.session !== undefined) userOf(world, name).watchers.add(who.session);
    const online = sessionsOf(world, name).length > 0;
    return [[name, { online, lastSeen: online ? world.now : lastSeen }] as const];
  });
  return { presence: Object.fromEntries(all) };
}

/** In an auto-read session an ack is also the read report of one-to-one messages. */
export function readByAck(world: World, session: Session, list: readonly Message[]): void {
  if (!session.autoRead) return;
  for (const m of list) {
    const view = m.conv.startsWith("u:") && m.from !== session.user ? findView(world, session.user, m.conv) : undefined;
    if (view !== undefined && m.seq > 0) moveRead(world, view, m.seq, session);
  }
}

export const operations = {
  send, getMessage, getRecents, getConversations, readReport, deleteMessage, deleteConversation, setConversation, recall, typing,
  getPresence: (world: World, who: Caller, args: Args) => presence(world, who, args, false),
  subscribePresence: (world: World, who: Caller, args: Args) => presence(world, who, args, true),
  block: (world: World, who: Caller, args: Args) => block(world, who, args, true),
  unblock: (world: World, who: Caller, args: Args) => block(world, who, args, false),
  getBlocked: (world: World, who: Caller) => ({ users: [...userOf(world, who.user).blocked].sort() }),
} as const;
