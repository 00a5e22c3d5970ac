import { useStatus } from "@belfry/client/react";
import { useEffect, useId, useLayoutEffect, useRef, useState, type ClipboardEvent, type JSX, type KeyboardEvent } from "react";
import { useModel } from "./context.ts";
import { mentioned } from "./conv.ts";
import { focusConversation } from "./focus.ts";
import { useText } from "./i18n.ts";
import { Icon } from "./icons.tsx";
import { useLabel } from "./chat.tsx";

/** Bytes of a body that {"text": …} takes beside the text. */
const bodyBytes = 16;
/** How often others are told that somebody is typing. */
const typingMs = 3_000;
const maxSuggestions = 6;

/** The part of a name that stands behind an @ before the caret, null if there is none. */
export function mentionBefore(text: string, caret: number): { start: number; part: string } | null {
  const match = /(?:^|\s)@([!-~]{0,64})$/.exec(text.slice(0, caret));
  return match ? { start: caret - match[1]!.length - 1, part: match[1]! } : null;
}

/** The line to write on. What is begun stays when another conversation is opened. */
export function Composer({ conv, known, live }: { conv: string; known: readonly string[]; live: boolean }): JSX.Element {
  const t = useText();
  const { client, drafts, act, addEphemeral, user } = useModel();
  const label = useLabel(conv);
  const [text, setText] = useState(() => drafts.get(conv) ?? "");
  const [caret, setCaret] = useState(0);
  const [chosen, setChosen] = useState(0);
  const [dismissed, setDismissed] = useState(-1);
  const area = useRef<HTMLTextAreaElement>(null);
  const lastTyping = useRef(0);
  const listId = useId();
  const hintId = useId();

  const at = mentionBefore(text, caret);
  const suggestions = at && at.start !== dismissed ? known.filter((u) => u.toLowerCase().startsWith(at.part.toLowerCase()) && u !== at.part).slice(0, maxSuggestions) : [];
  // Before the first login the server's limit is not known: what is too long then is refused.
  const { limits } = useStatus(client);
  const tooLong = limits ? new TextEncoder().encode(text).length + bodyBytes - limits.maxBody : 0;

  const write = (next: string): void => {
    setText(next);
    if (next.trim() === "") drafts.delete(conv);
    else drafts.set(conv, next);
    if (next !== "" && Date.now() - lastTyping.current > typingMs) {
      lastTyping.current = Date.now();
      client.typing(conv);
    }
  };

  useLayoutEffect(() => {
    const box = area.current;
    if (!box) return;
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
  }, [text]);

  useEffect(focusConversation, [conv]);

  const complete = (name: string): void => {
    if (!at) return;
    const next = `${text.slice(0, at.start)}@${name} ${text.slice(caret)}`;
    write(next);
    setChosen(0);
    const to = at.start + name.length + 2;
    requestAnimationFrame(() => {
      area.current?.focus();
      area.current?.setSelectionRange(to, to);
      setCaret(to);
    });
  };

  useEffect(() => {
    const insert = (event: Event): void => {
      const name = String((event as CustomEvent).detail);
      write(`${text}${text === "" || text.endsWith(" ") ? "" : " "}@${name} `);
      area.current?.focus();
    };
    addEventListener("belfry-mention", insert);
    return () => removeEventListener("belfry-mention", insert);
  });

  const send = (): void => {
    const said = text.trim();
    if (said === "" || tooLong > 0) return;
    const mentions = mentioned(said, known);
    const body = { text: said };
    write("");
    lastTyping.current = 0;
    const sent = live
      ? client.sendNow(conv, body, { mentions }).then(({ id, time }) => addEphemeral({ id, conv, from: user, seq: 0, time, cid: id, body, ephemeral: true, mentions }))
      : client.send(conv, body, { mentions });
    void act(sent).then((ok) => {
      // It was not taken: give it back, unless something else is being written.
      if (!ok && (drafts.get(conv) ?? "") === "") write(said);
    });
  };

  const keys = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return;
    if (suggestions.length > 0 && !event.shiftKey) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step !== undefined) {
        event.preventDefault();
        setChosen((chosen + step + suggestions.length) % suggestions.length);
        return;
      }
      if (event.key === "Enter" || event.key === "Tab") {
        event.preventDefault();
        complete(suggestions[chosen] ?? suggestions[0]!);
        return;
      }
      if (event.key === "Escape") {
        event.preventDefault();
        setDismissed(at?.start ?? -1);
        return;
      }
    }
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && text === "") {
      event.preventDefault();
      [...document.querySelectorAll<HTMLElement>(".messages .row-focus")].at(-1)?.focus();
    } else if (event.key === "Escape") {
      event.preventDefault();
      area.current?.blur();
    }
  };

  const noFiles = (event: ClipboardEvent): void => {
    if (event.clipboardData.files.length > 0 && event.clipboardData.getData("text") === "") event.preventDefault();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {suggestions.length > 0 && (
        <ul id={listId} className="suggestions" role="listbox" aria-label={t.members(suggestions.length)}>
          {suggestions.map((name, i) => (
            <li key={name} id={`${listId}-${i}`} role="option" aria-selected={i === chosen} onPointerDown={(e) => e.preventDefault()} onClick={() => complete(name)}>
              @{name}
            </li>
          ))}
        </ul>
      )}
      <div className="composer-line">
        <textarea
          ref={area}
          rows={1}
          dir="auto"
          value={text}
          aria-label={t.write(label)}
          aria-describedby={hintId}
          aria-autocomplete="list"
          aria-controls={suggestions.length > 0 ? listId : undefined}
          aria-activedescendant={suggestions.length > 0 ? `${listId}-${chosen}` : undefined}
          placeholder={t.write(label)}
          onChange={(event) => {
            write(event.target.value);
            setCaret(event.target.selectionStart);
            setChosen(0);
          }}
          onSelect={(event) => setCaret(event.currentTarget.selectionStart)}
          onKeyDown={keys}
          onPaste={noFiles}
        />
        <button type="submit" className="send" aria-label={t.send} title={t.send} disabled={text.trim() === "" || tooLong > 0}>
          <Icon name="send" />
        </button>
      </div>
      <p id={hintId} className={tooLong > 0 ? "hint error" : "sr-only"} role={tooLong > 0 ? "alert" : undefined}>
        {tooLong > 0 ? t.tooLong(tooLong) : t.sendHint}
      </p>
    </form>
  );
}
