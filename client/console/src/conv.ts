import type { Body, Conversation } from "@belfry/client";

/** The user of `u:bob`, the group of `g:team`. */
export const nameOf = (conv: string): string => conv.slice(2);
export const isGroup = (conv: string): boolean => conv.startsWith("g:");

/** The rules of names: docs/semantics.md, Terms. */
export const validUser = (name: string): boolean => /^[!-~]{1,64}$/.test(name) && name !== "." && name !== "..";
export const validGroup = (name: string): boolean => /^[!-~]{1,48}$/.test(name) && name !== "." && name !== "..";

/** What a body says, null if it is not text. */
export function textOf(body: Body): string | null {
  if (typeof body === "string") return body;
  if (body !== null && typeof body === "object" && !Array.isArray(body) && !(body instanceof Uint8Array)) {
    const { text } = body as { text?: Body };
    if (typeof text === "string") return text;
  }
  return null;
}

/** A body that is no text, as people who write programs read it. */
export function sourceOf(body: Body): string {
  return JSON.stringify(
    body,
    (_, value: unknown) => {
      if (typeof value === "bigint") return value.toString();
      if (value instanceof Uint8Array) return `<${value.length} B>`;
      return value;
    },
    2,
  );
}

const emoji = /^(?:\p{Regional_Indicator}{2}|[#*0-9]\u{FE0F}?\u{20E3}|\p{Emoji_Presentation}|\p{Emoji}\u{FE0F}|\p{Emoji_Modifier}|\p{Emoji_Modifier_Base}|\u{200D}|\u{FE0F}|\p{Extended_Pictographic}|\s)+$/u;

/** Reports whether a text is one to six emoji and nothing else. */
export function isEmoji(text: string): boolean {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed.length > 80 || /^[\d\s#*]+$/.test(trimmed) || !emoji.test(trimmed)) return false;
  const parts = [...new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(trimmed)];
  return parts.filter((p) => p.segment.trim() !== "").length <= 6;
}

/** A piece of a text: plain, a link, or the name of somebody who is mentioned. */
export interface Piece {
  readonly text: string;
  readonly href?: string;
  readonly mention?: string;
}

/** Splits a text at its links and at the names after @ of users who are mentioned. */
export function pieces(text: string, mentions: readonly string[] = []): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"'`]+|(?<![\w@])@([!-~]{1,64})/g)) {
    const piece = match[1] === undefined ? link(match[0]) : mention(match[1], mentions);
    if (!piece) continue;
    if (match.index > at) found.push({ text: text.slice(at, match.index) });
    found.push(piece);
    at = match.index + piece.text.length;
  }
  if (at < text.length) found.push({ text: text.slice(at) });
  return found;
}

function link(text: string): Piece | null {
  const trimmed = text.replace(/[.,;:!?)\]}]+$/, "");
  return URL.canParse(trimmed) ? { text: trimmed, href: trimmed } : null;
}

function mention(word: string, mentions: readonly string[]): Piece | null {
  // The longest name that the word begins with: a comma behind it is not its.
  const user = mentions.filter((m) => word.startsWith(m)).sort((a, b) => b.length - a.length)[0];
  return user === undefined ? null : { text: `@${user}`, mention: user };
}

/** The users of `known` that a text names after an @, at most 100. */
export function mentioned(text: string, known: readonly string[]): string[] {
  const found = pieces(text, known).flatMap((p) => p.mention ?? []);
  return [...new Set(found)].slice(0, 100);
}

/** Conversations whose name holds the text. */
export function filterConversations(list: readonly Conversation[], text: string, label: (conv: string) => string): readonly Conversation[] {
  const wanted = text.trim().toLocaleLowerCase();
  if (wanted === "") return list;
  return list.filter((c) => label(c.conv).toLocaleLowerCase().includes(wanted) || nameOf(c.conv).toLowerCase().includes(wanted));
}
