/** Where the keyboard is, when no element on the page has it. */

/** Where one goes on in the chat: the conversation, else the list, else the button that begins a chat. */
const goingOn = (): string[] => [conversation(), ".conversations .entry[tabindex='0']", ".sidebar-head button"];

/** The line to write; on a phone, whose keyboard would cover what one has come to read, the messages. */
const conversation = (): string => (matchMedia("(pointer: coarse)").matches ? ".messages" : ".composer textarea");

/** What is filled in first; of the choices of one name, the chosen one. */
const firstField = "form :is(input:not([type=radio]), input:checked, textarea, select)";

/** Reports whether no element has the focus. */
export const focusIsNowhere = (): boolean => document.activeElement === null || document.activeElement === document.body;

/** Focuses the open conversation. */
export const focusConversation = (): void => document.querySelector<HTMLElement>(conversation())?.focus();

/** Focuses what one goes on with; elements that are not shown take no focus. */
export function goOn(): void {
  for (const selector of goingOn()) {
    document.querySelector<HTMLElement>(selector)?.focus();
    if (!focusIsNowhere()) return;
  }
}

/** Focuses the first field of a form in a dialog, if there is one: the browser would take its close button. */
export function beginForm(dialog: HTMLElement): void {
  dialog.querySelector<HTMLElement>(firstField)?.focus();
}
