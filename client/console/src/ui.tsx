import { useCallback, useEffect, useId, useLayoutEffect, useRef, useState, type JSX, type KeyboardEvent, type ReactNode } from "react";
import { beginForm, focusIsNowhere, goOn } from "./focus.ts";
import { useText } from "./i18n.ts";
import { Icon, type IconName } from "./icons.tsx";

/** A button that shows an icon and says its label. */
export function IconButton(props: { icon: IconName; label: string; onClick: () => void; className?: string; pressed?: boolean; disabled?: boolean }): JSX.Element {
  return (
    <button
      type="button"
      className={`icon-button ${props.className ?? ""}`}
      aria-label={props.label}
      title={props.label}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}

export interface MenuEntry {
  readonly label: string;
  readonly action: () => void;
  readonly danger?: boolean;
}

/** Moves the focus among elements by the arrow keys, Home and End. */
export function rove(event: KeyboardEvent, elements: readonly HTMLElement[]): void {
  const at = elements.indexOf(document.activeElement as HTMLElement);
  const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? elements.length - 1 : at - 1, Home: 0, End: elements.length - 1 }[event.key];
  if (to === undefined || elements.length === 0) return;
  event.preventDefault();
  elements[Math.min(Math.max(to, 0), elements.length - 1)]?.focus();
}

/** A button that opens a menu in the top layer, beside itself. */
export function Menu(props: { icon?: IconName; label: string; entries: readonly (MenuEntry | false | null | undefined)[]; className?: string; children?: ReactNode; buttonRef?: (button: HTMLButtonElement | null) => void }): JSX.Element {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const id = useId();
  const entries = props.entries.filter((e) => !!e);

  useLayoutEffect(() => {
    const box = menu.current;
    if (!open || !box || !button.current) return;
    box.showPopover();
    const at = button.current.getBoundingClientRect();
    const below = at.bottom + box.offsetHeight + 8 < innerHeight;
    box.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - box.offsetHeight - 4)}px`;
    box.style.left = `${Math.max(8, Math.min(at.right - box.offsetWidth, innerWidth - box.offsetWidth - 8))}px`;
    box.querySelector("button")?.focus();
  }, [open]);

  useEffect(() => {
    if (!open) return;
    const outside = (event: Event): void => {
      if (!menu.current?.contains(event.target as Node) && !button.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);

  const keys = (event: KeyboardEvent): void => {
    if (event.key === "Escape" || event.key === "Tab") {
      if (event.key === "Escape") event.stopPropagation();
      button.current?.focus();
      setOpen(false);
    } else {
      rove(event, [...(menu.current?.querySelectorAll("button") ?? [])]);
    }
  };
  return (
    <>
      <button
        type="button"
        ref={(element) => {
          button.current = element;
          props.buttonRef?.(element);
        }}
        className={props.className ?? "icon-button"}
        aria-label={props.label}
        title={props.label}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        {props.children ?? <Icon name={props.icon ?? "more"} />}
      </button>
      {open && (
        <div ref={menu} id={id} className="menu" role="menu" aria-label={props.label} popover="manual" onKeyDown={keys}>
          {entries.map((entry) => (
            <button
              key={entry.label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              className={entry.danger ? "danger" : undefined}
              onClick={() => {
                button.current?.focus();
                setOpen(false);
                entry.action();
              }}
            >
              {entry.label}
            </button>
          ))}
        </div>
      )}
    </>
  );
}

/** A modal dialog: the browser keeps the focus in it and closes it by Escape. */
export function Dialog(props: { title: string; onClose: () => void; children: ReactNode; className?: string; mustAnswer?: boolean }): JSX.Element {
  const t = useText();
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    shown?.showModal();
    if (shown) beginForm(shown);
    return () => {
      shown?.close();
      if (before instanceof HTMLElement) before.focus();
      if (focusIsNowhere()) goOn(); // it was opened by a key, or from what is gone
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      className={`dialog ${props.className ?? ""}`}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        if (!props.mustAnswer) props.onClose();
      }}
      onClick={(event) => {
        if (event.target === dialog.current && !props.mustAnswer) props.onClose();
      }}
    >
      <div className="dialog-body">
        <header>
          <h2 id={id}>{props.title}</h2>
          {!props.mustAnswer && <IconButton icon="close" label={t.close} onClick={props.onClose} />}
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

/** A labelled input with what is to be known of it. */
export function Field(props: { label: string; hint?: string; error?: string | undefined; children: (id: string, described: string | undefined) => ReactNode }): JSX.Element {
  const id = useId();
  const note = props.error ?? props.hint;
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      {props.children(id, note === undefined ? undefined : `${id}-note`)}
      {note !== undefined && (
        <p id={`${id}-note`} className={props.error === undefined ? "hint" : "hint error"} role={props.error === undefined ? undefined : "alert"}>
          {note}
        </p>
      )}
    </div>
  );
}

export interface Question {
  readonly title: string;
  readonly hint?: string;
  readonly yes: string;
  readonly danger?: boolean;
  readonly action: () => void;
}

/** Asks before something that cannot be undone. */
export function useConfirm(): [JSX.Element | null, (question: Question) => void] {
  const [question, ask] = useState<Question | null>(null);
  const t = useText();
  const close = useCallback(() => ask(null), []);
  const dialog = question && (
    <Dialog title={question.title} onClose={close}>
      {question.hint !== undefined && <p>{question.hint}</p>}
      <div className="dialog-actions">
        <button type="button" className="button" onClick={close}>
          {t.cancel}
        </button>
        <button
          type="button"
          className={question.danger ? "button danger" : "button primary"}
          onClick={() => {
            close();
            question.action();
          }}
        >
          {question.yes}
        </button>
      </div>
    </Dialog>
  );
  return [dialog, ask];
}
