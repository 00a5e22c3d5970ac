import type { GroupDetails } from "@belfry/client";
import { useConversations, useStatus, type Messages as MessageList } from "@belfry/client/react";
import { useEffect, useLayoutEffect, useMemo, useRef, useState, type JSX, type KeyboardEvent, type RefObject } from "react";
import { useModel } from "./context.ts";
import { useFormat } from "./format.ts";
import { useText } from "./i18n.ts";
import { Icon } from "./icons.tsx";
import { GapRow, MessageRow, PendingRow } from "./row.tsx";
import { useView } from "./state.ts";
import { hasNewer, newestSeq, timeline, type Item } from "./timeline.ts";
import { rove } from "./ui.tsx";

/** So near to the end counts as at the end, in CSS pixels. */
const nearEnd = 60;
/** How long a message has to be in sight until it counts as read. */
const readMs = 400;

interface Props {
  conv: string;
  /** A window over them, which moves. */
  messages: MessageList;
  unreadAbove: number | null;
  group: GroupDetails | null;
  /** Users who can be mentioned. */
  known: readonly string[];
}

/** The messages of a conversation: a window that moves as one scrolls. */
export function Messages({ conv, messages: state, unreadAbove, group, known }: Props): JSX.Element {
  const t = useText();
  const { client, user, ephemeral, label } = useModel();
  const unstored = useView(ephemeral).get(conv);
  const atNewest = state.after === "start";
  const items = useMemo(
    () => timeline(state.rows, { user, unreadAbove, ...(unstored && atNewest && { ephemeral: unstored }) }),
    [state.rows, user, unreadAbove, unstored, atNewest],
  );
  const scroller = useRef<HTMLDivElement>(null);
  const { atEnd, toEnd } = useScroll(scroller, items, unreadAbove !== null);
  const newest = newestSeq(state.rows);
  const newerBelow = hasNewer(state.after, newest, useConversations(client).list.find((c) => c.conv === conv)?.lastSeq ?? 0);
  useReadReports(conv, atEnd && atNewest ? newest : 0);
  const before = useSentinel(() => state.before === "more" && void state.older(), state.before, items.length);
  const after = useSentinel(() => state.after === "more" && void state.newer(), state.after, items.length);

  const keys = (event: KeyboardEvent): void => {
    if (event.target instanceof HTMLElement && event.target.closest("[role=menu], dialog")) return;
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const rows = [...(scroller.current?.querySelectorAll<HTMLElement>(".row-focus") ?? [])];
      const inside = (document.activeElement as HTMLElement).closest<HTMLElement>(".row-focus");
      inside?.focus();
      rove(event, rows);
    } else if (event.key === "Enter" && event.target instanceof HTMLElement && event.target.matches(".row-focus")) {
      event.preventDefault();
      event.target.querySelector<HTMLElement>("[aria-haspopup=menu]")?.click();
    } else if (event.key === "Escape") {
      event.preventDefault();
      document.querySelector<HTMLElement>(".composer textarea")?.focus();
    }
  };
  return (
    <div className="messages-frame">
      <div ref={scroller} className="messages" tabIndex={0} role="region" aria-label={t.messagesWith(label(conv))} onKeyDown={keys}>
        <div ref={before} className="edge">
          {state.before === "loading" && <Loading />}
          {state.before === "start" && state.rows.length > 0 && <p className="beginning">{t.beginning}</p>}
          {state.before === "offline" && (
            <p>
              {t.needsConnection}{" "}
              <button type="button" className="link" onClick={() => void state.older()}>
                {t.tryAgain}
              </button>
            </p>
          )}
        </div>
        {items.length === 0 && state.before === "start" && <p className="nothing">{t.noMessages}</p>}
        <ol className="rows-of-messages">
          {items.map((item) => (
            <Row key={item.key} item={item} conv={conv} group={group} known={known} />
          ))}
        </ol>
        <div ref={after} className="edge">
          {state.after === "loading" && <Loading />}
        </div>
      </div>
      {(!atEnd || newerBelow) && items.length > 0 && (
        <button
          type="button"
          className="to-newest"
          aria-label={t.toNewest}
          title={t.toNewest}
          onClick={() => void (atNewest ? Promise.resolve() : state.jump(Infinity)).then(toEnd)}
        >
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}

function Loading(): JSX.Element {
  const t = useText();
  return (
    <span className="loading" role="status">
      <span className="sr-only">{t.loading}</span>
      <i />
      <i />
      <i />
    </span>
  );
}

function Row({ item, conv, group, known }: { item: Item; conv: string; group: GroupDetails | null; known: readonly string[] }): JSX.Element {
  const t = useText();
  const format = useFormat();
  switch (item.kind) {
    case "day":
      return (
        <li className="day" data-key={item.key}>
          <time dateTime={new Date(item.time).toISOString()}>{format.day(item.time)}</time>
        </li>
      );
    case "unread":
      return (
        <li className="unread-line" data-key={item.key}>
          <span>
            <Icon name="bell" />
            {t.newMessages}
          </span>
        </li>
      );
    case "gap":
      return <GapRow item={item} conv={conv} />;
    case "pending":
      return <PendingRow item={item} conv={conv} known={known} />;
    case "message":
      return <MessageRow item={item} conv={conv} group={group} known={known} />;
  }
}

/**
 * Keeps what one looks at in its place: at the end the newest message, elsewhere the
 * first row in sight, whatever is added above it.
 */
function useScroll(scroller: RefObject<HTMLDivElement | null>, items: readonly Item[], toUnread: boolean): { atEnd: boolean; toEnd: () => void } {
  const [atEnd, setAtEnd] = useState(true);
  const held = useRef<{ end: boolean; key: string; top: number } | null>(null);

  const look = (): void => {
    const box = scroller.current;
    if (!box) return;
    const end = box.scrollHeight - box.scrollTop - box.clientHeight < nearEnd;
    const first = [...box.querySelectorAll<HTMLElement>("[data-key]")].find((row) => row.offsetTop + row.offsetHeight > box.scrollTop);
    held.current = { end, key: first?.dataset["key"] ?? "", top: first ? first.offsetTop - box.scrollTop : 0 };
    setAtEnd(end);
  };

  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box || items.length === 0) return;
    const row = (key: string): HTMLElement | null => box.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!held.current) {
      const line = toUnread ? row("unread") : null;
      box.scrollTop = line ? line.offsetTop - box.clientHeight / 4 : box.scrollHeight;
    } else if (held.current.end) {
      box.scrollTop = box.scrollHeight;
    } else {
      const kept = row(held.current.key);
      if (kept) box.scrollTop = kept.offsetTop - held.current.top;
    }
    look();
  }, [items]);

  useEffect(() => {
    const box = scroller.current;
    if (!box) return;
    box.addEventListener("scroll", look, { passive: true });
    const resized = new ResizeObserver(() => {
      if (held.current?.end) box.scrollTop = box.scrollHeight;
    });
    resized.observe(box);
    return () => {
      box.removeEventListener("scroll", look);
      resized.disconnect();
    };
  }, []);

  const toEnd = (): void => {
    const box = scroller.current;
    if (!box) return;
    box.scrollTo({ top: box.scrollHeight });
    look();
  };
  return { atEnd, toEnd };
}

/** Calls `fn` while an element is near the part that one sees, and again after each change. */
function useSentinel(fn: () => void, ...changes: unknown[]): RefObject<HTMLDivElement | null> {
  const element = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!element.current) return;
    const observer = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && fn(), { root: element.current.closest(".messages"), rootMargin: "400px" });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, changes);
  return element;
}

/** Reports a conversation as read up to a seq once that has been looked at; 0 = nothing is. */
function useReadReports(conv: string, seq: number): void {
  const { client } = useModel();
  const { connection } = useStatus(client);
  useEffect(() => {
    if (seq === 0 || connection !== "online") return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (): void => {
      clearTimeout(timer);
      if (document.visibilityState !== "visible") return;
      timer = setTimeout(() => {
        const entry = client.conversations().getSnapshot().list.find((c) => c.conv === conv);
        if (entry && (entry.readSeq < seq || entry.unread > 0 || entry.markedUnread)) client.readReport(conv, seq).catch(() => undefined);
      }, readMs);
    };
    look();
    document.addEventListener("visibilitychange", look);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [client, conv, seq, connection]);
}
