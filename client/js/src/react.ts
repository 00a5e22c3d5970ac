/**
 * React's hooks over a client's views. Each takes a client that may not be there yet:
 * until then, and on a server, it returns what a client returns that has read nothing.
 */
import { useMemo, useSyncExternalStore } from "react";
import type { Client, Conversations, MessageWindow, Status, View, WindowState } from "./api.ts";
import { typingView } from "./typing.ts";

const noStatus: Status = {
  connection: "connecting", since: 0, synced: false, storage: { durability: "memory" }, outbox: 0, leader: false,
};
const noConversations: Conversations = { list: [], unreadTotal: 0, unreadUnmuted: 0, complete: false };
const noRows: WindowState = { rows: [], before: "loading", after: "loading" };
const nobody: readonly string[] = [];
const nothing = () => () => {};

/** The value of a view: the component renders again when it changes, and unsubscribes when it goes. */
export function useView<T>(view: View<T> | undefined, none: T): T {
  const before = () => none;
  return useSyncExternalStore(view ? view.subscribe : nothing, view ? view.getSnapshot : before, before);
}

/** The state of the connection, the store and the outbox. */
export function useStatus(client: Client | undefined): Status {
  return useView(client?.status, noStatus);
}

/** The list of conversations. */
export function useConversations(client: Client | undefined): Conversations {
  return useView(useMemo(() => client?.conversations(), [client]), noConversations);
}

/** The rows of a window, and what moves it: the same functions in each render. */
export type Messages = WindowState & Pick<MessageWindow, "older" | "newer" | "jump">;

const stay = () => Promise.resolve();

/** A window over a conversation, and another one when `conv`, `size` or `at` are. */
export function useMessages(client: Client | undefined, conv: string, options: { size?: number; at?: number } = {}): Messages {
  const { size, at } = options;
  const view = useMemo(
    () => client?.messages(conv, { ...(size !== undefined && { size }), ...(at !== undefined && { at }) }),
    [client, conv, size, at],
  );
  const state = useView<WindowState>(view, noRows);
  return useMemo(() => {
    const { older, newer, jump } = view ?? { older: stay, newer: stay, jump: stay };
    return { ...state, older, newer, jump };
  }, [state, view]);
}

/** The users who are typing in a conversation. */
export function useTyping(client: Client | undefined, conv: string): readonly string[] {
  return useView(useMemo(() => client && typingView(client, conv), [client, conv]), nobody);
}
