import { expect, test } from "vitest";
import { formats } from "../src/format.ts";
import { userOf } from "../src/session.ts";

const token = (claims: object): string => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.sig`;

test("a token says whose it is", () => {
  expect(userOf(token({ sub: "alice", exp: 1 }))).toBe("alice");
  expect(userOf(` ${token({ sub: "bob?>ÿ".slice(0, 4) })}\n`)).toBe("bob?");
  for (const wrong of ["", "a.b", "a.b.c", token({}), token({ sub: 3 }), token({ sub: "a b" }), `${token({ sub: "alice" })}.x`]) expect(userOf(wrong), wrong).toBeNull();
});

test("days and times are named as people do, in both languages", () => {
  const now = Date.now();
  const day = 86_400_000;
  expect([formats("en").day(now), formats("en").day(now - day)]).toEqual(["Today", "Yesterday"]);
  expect([formats("zh").day(now), formats("zh").day(now - day)]).toEqual(["今天", "昨天"]);
  expect(formats("en").relative(-5 * 60_000)).toBe("5 minutes ago");
  expect(formats("en").short(now)).toMatch(/^\d\d:\d\d$/);
  expect(formats("en").short(now - 30 * day)).not.toMatch(/:/);
});
