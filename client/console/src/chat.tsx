import { useConversations } from "@belfry/client/react";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore, type JSX } from "react";
import { AccountDialog, BlockedDialog, KeysDialog, StateDialog } from "./account.tsx";
import { openConversation, useModel, useOpenConversation } from "./context.ts";
import { isGroup, textOf } from "./conv.ts";
import { Details } from "./details.tsx";
import { focusIsNowhere, goOn } from "./focus.ts";
import { useText } from "./i18n.ts";
import { Sidebar } from "./sidebar.tsx";
import { JoinGroupDialog, NewChatDialog, NewGroupDialog } from "./start.tsx";
import { useView } from "./state.ts";
import { EmptyThread, Thread } from "./thread.tsx";

/** Which dialog is open. */
export type Opened = "newChat" | "newGroup" | "joinGroup" | "account" | "blocked" | "state" | "keys";

/** The chat: the list of conversations, the one that is open, and what is to be known of it. */
export function Chat({ onSignOut }: { onSignOut: () => void }): JSX.Element {
  const t = useText();
  const { client } = useModel();
  const conv = useOpenConversation();
  const [opened, setOpened] = useState<Opened | null>(null);
  const [details, setDetails] = useState(false);
  const filter = useRef<HTMLInputElement>(null);
  const listAlone = useNarrow() && conv === null;
  const { unreadUnmuted } = useConversations(client);

  useEffect(() => {
    document.title = unreadUnmuted > 0 ? `(${unreadUnmuted}) Belfry` : "Belfry";
  }, [unreadUnmuted]);
  useEffect(() => {
    if (focusIsNowhere()) goOn(); // what one signed in with is gone
  }, []);
  useAnnouncements(conv);
  useKeys({ setOpened, filter, details, closeDetails: () => setDetails(false), conv });

  const close = useCallback(() => setOpened(null), []);
  return (
    <div className={`chat ${conv === null ? "at-list" : "at-thread"} ${details && conv !== null ? "with-details" : ""}`}>
      <div className="sidebar-pane" role={listAlone ? "main" : undefined}>
        <Sidebar open={conv} onOpen={setOpened} filter={filter} alone={listAlone} />
      </div>
      {!listAlone && (
        <main className="thread-pane" aria-label={t.messages}>
          {conv === null ? <EmptyThread /> : <Thread key={conv} conv={conv} details={details} onDetails={() => setDetails(!details)} />}
        </main>
      )}
      {conv !== null && details && <Details key={conv} conv={conv} onClose={() => setDetails(false)} />}
      {opened === "newChat" && <NewChatDialog onClose={close} />}
      {opened === "newGroup" && <NewGroupDialog onClose={close} />}
      {opened === "joinGroup" && <JoinGroupDialog onClose={close} />}
      {opened === "account" && <AccountDialog onClose={close} onOpen={setOpened} onSignOut={onSignOut} />}
      {opened === "blocked" && <BlockedDialog onClose={close} />}
      {opened === "state" && <StateDialog onClose={close} />}
      {opened === "keys" && <KeysDialog onClose={close} />}
      <Toasts />
      <Announcer />
    </div>
  );
}

const narrow = (): MediaQueryList => matchMedia("(max-width: 720px)");
const subscribeNarrow = (fn: () => void): (() => void) => {
  const query = narrow();
  query.addEventListener("change", fn);
  return () => query.removeEventListener("change", fn);
};

/** Reports whether there is room for one column alone, as style/layout.css has it. */
function useNarrow(): boolean {
  return useSyncExternalStore(subscribeNarrow, () => narrow().matches);
}

/** Tells people who do not see the screen what is said in the open conversation. */
function useAnnouncements(conv: string | null): void {
  const t = useText();
  const { client, announce, label, toast, user } = useModel();
  useEffect(
    () =>
      client.on("messages", (messages) => {
        const last = messages.filter((m) => m.conv === conv && m.from !== user).at(-1);
        if (last) announce(t.saidBy(last.from, textOf(last.body) ?? t.notText));
      }),
    [client, conv, user, announce, t],
  );
  useEffect(
    () =>
      client.on("groupEvent", (event) => {
        const who = (event.users ?? []).join(", ") || (event.event === "ownerOffered" ? "" : t.somebody);
        toast(`${label(`g:${event.group}`)}: ${t.events[event.event](event.by || t.somebody, who)}`);
      }),
    [client, label, toast, t],
  );
}

interface Keys {
  setOpened(opened: Opened): void;
  filter: React.RefObject<HTMLInputElement | null>;
  details: boolean;
  closeDetails(): void;
  conv: string | null;
}

function useKeys({ setOpened, filter, details, closeDetails, conv }: Keys): void {
  const { client } = useModel();
  useEffect(() => {
    const step = (by: 1 | -1): void => {
      const { list } = client.conversations().getSnapshot();
      const at = list.findIndex((c) => c.conv === conv);
      const next = list[at < 0 ? 0 : at + by];
      if (next) openConversation(next.conv);
    };
    const onKey = (event: KeyboardEvent): void => {
      // An open dialog has the keys.
      if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
      const writing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      const command = event.ctrlKey || event.metaKey;
      if (command && event.key === "k") filter.current?.focus();
      else if (event.altKey && event.key === "ArrowDown") step(1);
      else if (event.altKey && event.key === "ArrowUp") step(-1);
      else if (event.altKey && event.code === "KeyN") setOpened("newChat");
      else if (event.key === "?" && !writing) setOpened("keys");
      else if (event.key === "Escape" && details) closeDetails();
      else if (event.key === "Escape" && conv !== null && !writing) openConversation(null);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [client, setOpened, filter, details, closeDetails, conv]);
}

function Toasts(): JSX.Element {
  const toasts = useView(useModel().toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <p key={toast.id} className={`toast ${toast.kind}`} dir="auto">
          {toast.text}
        </p>
      ))}
    </div>
  );
}

function Announcer(): JSX.Element {
  return (
    <p className="sr-only" role="log" aria-live="polite">
      {useView(useModel().announced)}
    </p>
  );
}

/** The name of a conversation, which changes when its group's does. */
export function useLabel(conv: string): string {
  const { label, groups } = useModel();
  useView(groups);
  return label(conv);
}

/** Reports whether the peer of a conversation is online. */
export function useOnline(conv: string): boolean {
  const presence = useView(useModel().presence);
  return !isGroup(conv) && presence.get(conv.slice(2))?.online === true;
}
