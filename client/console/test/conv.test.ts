import fc from "fast-check";
import { expect, test } from "vitest";
import { filterConversations, isEmoji, mentioned, pieces, sourceOf, textOf, validGroup, validUser } from "../src/conv.ts";
import { mentionBefore } from "../src/composer.tsx";

test("a body is text if it is one, or has one under text", () => {
  expect(textOf("hi")).toBe("hi");
  expect(textOf({ text: "hi", font: "big" })).toBe("hi");
  for (const body of [null, 3, true, ["hi"], { text: 3 }, {}, new Uint8Array(3)]) expect(textOf(body)).toBeNull();
});

test("what is no text is shown as its source, with big integers and bytes", () => {
  expect(sourceOf({ n: 2n ** 60n, b: new Uint8Array(5) })).toBe('{\n  "n": "1152921504606846976",\n  "b": "<5 B>"\n}');
});

test("only emoji, and few of them, are shown large", () => {
  for (const text of ["👍", "🎉🎉", "👩‍👩‍👧 🇫🇷", "❤️", "1️⃣", "👋🏽"]) expect(isEmoji(text), text).toBe(true);
  for (const text of ["", " ", "1", "12", "#", "a👍", "👍👍👍👍👍👍👍", "→", "Hi"]) expect(isEmoji(text), text).toBe(false);
});

test("links end before the punctuation behind them", () => {
  expect(pieces("see https://example.com/a?b=c, or (http://example.org).").filter((p) => p.href)).toEqual([
    { text: "https://example.com/a?b=c", href: "https://example.com/a?b=c" },
    { text: "http://example.org", href: "http://example.org" },
  ]);
});

test("no piece of a text gets lost, and links are of the web alone", () => {
  const word = fc.oneof(fc.string(), fc.constantFrom("https://", "http://x.example/", "javascript:alert(1)", "@bob", "@bo", ",", " "));
  fc.assert(
    fc.property(fc.array(word), (words) => {
      const text = words.join("");
      const made = pieces(text, ["bob", "bobby"]);
      expect(made.map((p) => p.text).join("")).toBe(text);
      for (const { href } of made) if (href !== undefined) expect(href).toMatch(/^https?:\/\//);
    }),
  );
});

test("a mention is the longest known name behind an @", () => {
  expect(mentioned("@bob, @bobby: ask x@carol or @dave", ["bob", "bobby", "carol"])).toEqual(["bob", "bobby"]);
});

test("a name that is being written behind an @ is completed", () => {
  expect(mentionBefore("hi @bo", 6)).toEqual({ start: 3, part: "bo" });
  expect(mentionBefore("@", 1)).toEqual({ start: 0, part: "" });
  expect(mentionBefore("mail@bo", 7)).toBeNull();
  expect(mentionBefore("@bo ", 4)).toBeNull();
});

test("the filter looks at names and ids", () => {
  const conversation = (conv: string) => ({ conv, lastSeq: 1, time: 1, readSeq: 0, unread: 0, peerReadSeq: 0, muted: false, pinned: false, markedUnread: false });
  const list = ["u:bob", "g:x1"].map(conversation);
  const label = (conv: string): string => (conv === "g:x1" ? "Bell ringers" : conv.slice(2));
  const found = (text: string): string[] => filterConversations(list, text, label).map((c) => c.conv);
  expect([found(""), found("RING"), found("x1"), found("bo"), found("?")]).toEqual([["u:bob", "g:x1"], ["g:x1"], ["g:x1"], ["u:bob"], []]);
});

test("names follow the rules of the protocol", () => {
  for (const name of ["a", "Bob-2", "x".repeat(64), "a/b"]) expect(validUser(name), name).toBe(true);
  for (const name of ["", ".", "..", "a b", "ü", "x".repeat(65)]) expect(validUser(name), name).toBe(false);
  expect([validGroup("x".repeat(48)), validGroup("x".repeat(49))]).toEqual([true, false]);
});
