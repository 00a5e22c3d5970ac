import { BelfryError, type Client, type Conversation, type ErrorCode, type Group, type Message, type UserPresence } from "@belfry/client";
import { isGroup, nameOf } from "./conv.ts";
import { keepNames, keptNames } from "./names.ts";
import { cell, type Cell } from "./state.ts";

/** Messages of one conversation that are stored nowhere; older ones are let go. */
const maxEphemeral = 200;
/** Someone who has said nothing for so long is no longer typing. */
const typingMs = 6_000;
/** How many people are watched: what one subscription of the server takes. */
const maxWatched = 100;
/** Pages of getGroups that are read: names of more groups are shown as their ids. */
const maxGroupPages = 20;
const maxToasts = 4;
const toastMs = 6_000;

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly kind: "plain" | "error";
}

/** What the console knows beside the client's own views: it is of one user, for one page. */
export interface Model {
  readonly client: Client;
  readonly user: string;
  /** By id, as far as they are known. */
  readonly groups: Cell<ReadonlyMap<string, Group>>;
  readonly presence: Cell<ReadonlyMap<string, UserPresence>>;
  /** Who is typing, by conversation. */
  readonly typing: Cell<ReadonlyMap<string, readonly string[]>>;
  readonly ephemeral: Cell<ReadonlyMap<string, readonly Message[]>>;
  /** Live groups that this page is in: the server has no list of them. */
  readonly live: Cell<readonly string[]>;
  readonly blocked: Cell<ReadonlySet<string>>;
  readonly toasts: Cell<readonly Toast[]>;
  /** The latest sentence for people who do not see the screen. */
  readonly announced: Cell<string>;
  /** What was begun to be written, by conversation. */
  readonly drafts: Map<string, string>;

  /** The name of a conversation. */
  label(conv: string): string;
  toast(text: string, kind?: Toast["kind"]): void;
  announce(text: string): void;
  /** Waits for a call and tells the person if it fails; resolves to whether it did not. */
  act(call: Promise<unknown>): Promise<boolean>;
  /** Wishes to know whether people are online. */
  watch(users: readonly string[]): void;
  addEphemeral(message: Message): void;
  learn(group: Group): void;
  joinLive(group: string): Promise<boolean>;
  leaveLive(group: string): void;
  close(): void;
}

export const codeOf = (err: unknown): ErrorCode => (err instanceof BelfryError ? err.code : "internal");

/** Makes the model of a client. `say` gives the sentence for a code. */
export function createModel(client: Client, say: (code: ErrorCode) => string): Model {
  const groups = cell<ReadonlyMap<string, Group>>(new Map());
  const names = keptNames(client.user);
  const presence = cell<ReadonlyMap<string, UserPresence>>(new Map());
  const typing = cell<ReadonlyMap<string, readonly string[]>>(new Map());
  const ephemeral = cell<ReadonlyMap<string, readonly Message[]>>(new Map());
  const live = cell<readonly string[]>([]);
  const blocked = cell<ReadonlySet<string>>(new Set());
  const toasts = cell<readonly Toast[]>([]);
  const announced = cell("");
  const typingTimers = new Map<string, ReturnType<typeof setTimeout>>();
  let watched = new Set<string>();
  let toastCount = 0;
  const abort = new AbortController();
  const { signal } = abort;

  const toast = (text: string, kind: Toast["kind"] = "plain"): void => {
    const id = ++toastCount;
    toasts.set([...toasts.getSnapshot().slice(1 - maxToasts), { id, text, kind }]);
    setTimeout(() => toasts.set(toasts.getSnapshot().filter((one) => one.id !== id)), toastMs);
  };

  const act = async (call: Promise<unknown>): Promise<boolean> => {
    try {
      await call;
      return true;
    } catch (err) {
      if (!signal.aborted) toast(say(codeOf(err)), "error");
      return false;
    }
  };

  const setTyping = (conv: string, user: string, is: boolean): void => {
    const key = `${conv} ${user}`;
    clearTimeout(typingTimers.get(key));
    typingTimers.delete(key);
    const others = (typing.getSnapshot().get(conv) ?? []).filter((u) => u !== user);
    if (is) typingTimers.set(key, setTimeout(() => setTyping(conv, user, false), typingMs));
    typing.set(new Map(typing.getSnapshot()).set(conv, is ? [...others, user] : others));
  };

  const learn = (group: Group): void => groups.set(new Map(groups.getSnapshot()).set(group.group, group));

  /** Subscribes to those of the users that are not watched yet, as far as there is room. */
  const watch = (users: readonly string[]): void => {
    const { connection, synced } = client.status.getSnapshot();
    const wanted = users.filter((u) => u !== client.user && !watched.has(u)).slice(0, maxWatched - watched.size);
    if (connection !== "online" || !synced || wanted.length === 0) return;
    for (const user of wanted) watched.add(user);
    client.request("subscribePresence", { users: wanted }, { signal }).then(
      (reply) => presence.set(new Map([...presence.getSnapshot(), ...Object.entries(reply.presence)])),
      () => wanted.forEach((user) => watched.delete(user)),
    );
  };

  /** Whoever writes lets us see whether they are online, which may have been refused before. */
  const seen = (user: string): void => {
    if (presence.getSnapshot().has(user)) return;
    watched.delete(user);
    watch([user]);
  };

  const watchList = (): void => {
    watch(client.conversations().getSnapshot().list.filter((c) => !isGroup(c.conv)).map((c) => nameOf(c.conv)));
  };

  const loadGroups = async (): Promise<void> => {
    const found = new Map(groups.getSnapshot());
    let after: string | undefined;
    for (let page = 0; page < maxGroupPages; page++) {
      const reply = await client.request("getGroups", after === undefined ? {} : { after }, { signal });
      for (const group of reply.groups) found.set(group.group, group);
      after = reply.groups.at(-1)?.group;
      if (!reply.more) break;
    }
    groups.set(found);
  };

  /** Asks for what logins do not bring. What fails is asked for at the next one. */
  const afterLogin = (): void => {
    watched = new Set();
    watchList();
    const quiet = (): void => undefined;
    loadGroups().catch(quiet);
    client.request("getBlocked", {}, { signal }).then(({ users }) => blocked.set(new Set(users)), quiet);
    for (const group of live.getSnapshot()) client.request("joinGroup", { group }, { signal }).catch(quiet);
  };

  let wasSynced = false;
  const onStatus = (): void => {
    const { synced, connection } = client.status.getSnapshot();
    const is = synced && connection === "online";
    if (is && !wasSynced) afterLogin();
    if (!is && wasSynced) {
      presence.set(new Map());
      typing.set(new Map());
    }
    wasSynced = is;
  };

  const refreshGroup = (group: string): void => {
    client.request("getGroup", { group }, { signal }).then(learn, () => undefined);
  };

  const addEphemeral = (message: Message): void => {
    const held = ephemeral.getSnapshot().get(message.conv) ?? [];
    if (held.some((m) => m.id === message.id)) return;
    ephemeral.set(new Map(ephemeral.getSnapshot()).set(message.conv, [...held, message].slice(-maxEphemeral)));
  };

  const ends = [
    client.status.subscribe(onStatus),
    groups.subscribe(() => keepNames(client.user, names, groups.getSnapshot().values())),
    client.conversations().subscribe(watchList),
    client.on("messages", (messages) => {
      for (const message of messages) {
        setTyping(message.conv, message.from, false);
        seen(message.from);
        if (message.ephemeral) addEphemeral(message);
      }
    }),
    client.on("typing", ({ conv, user }) => user !== client.user && setTyping(conv, user, true)),
    client.on("presence", ({ user, status, time }) =>
      presence.set(new Map(presence.getSnapshot()).set(user, { online: status === "online", lastSeen: time })),
    ),
    client.on("blocked", ({ user, blocked: is }) => {
      const next = new Set(blocked.getSnapshot());
      if (is) next.add(user);
      else next.delete(user);
      blocked.set(next);
    }),
    client.on("groupEvent", ({ group, event, users }) => {
      const over = event === "dismissed" || ((event === "left" || event === "removed") && users?.includes(client.user));
      if (!over) return refreshGroup(group);
      live.set(live.getSnapshot().filter((g) => g !== group));
      const next = new Map(groups.getSnapshot());
      next.delete(group);
      groups.set(next);
    }),
  ];
  onStatus();

  return {
    client, user: client.user, groups, presence, typing, ephemeral, live, blocked, toasts, announced, drafts: new Map(),
    label: (conv) => (isGroup(conv) && (groups.getSnapshot().get(nameOf(conv))?.name || names.get(nameOf(conv)))) || nameOf(conv),
    toast, act, watch, addEphemeral, learn,
    announce: (text) => announced.set(text),
    async joinLive(group) {
      const ok = await act(client.request("joinGroup", { group }));
      if (ok && !live.getSnapshot().includes(group)) live.set([...live.getSnapshot(), group]);
      return ok;
    },
    leaveLive: (group) => live.set(live.getSnapshot().filter((g) => g !== group)),
    close() {
      abort.abort();
      for (const end of ends) end();
      for (const timer of typingTimers.values()) clearTimeout(timer);
    },
  };
}

/** The list with the live groups that this page is in, which no list of the server has. */
export function withLive(list: readonly Conversation[], live: readonly string[]): readonly Conversation[] {
  const missing = live.filter((group) => !list.some((c) => c.conv === `g:${group}`));
  if (missing.length === 0) return list;
  const entry = (group: string): Conversation => ({
    conv: `g:${group}`, lastSeq: 0, time: 0, readSeq: 0, unread: 0, peerReadSeq: 0, muted: false, pinned: false, markedUnread: false,
  });
  return [...list, ...missing.map(entry)];
}
