import * as fc from "fast-check";
import { expect, test } from "vitest";
import { inPath, withQuery } from "../src/operator/api.ts";
import { bytes, ranges, span } from "../src/operator/format.ts";
import { fromHash, parseSearch, type Route, toHash } from "../src/operator/route.ts";

test("a search means a user, a group or a message", () => {
  const means: [string, Route | null][] = [
    ["alice", { page: "user", user: "alice" }],
    [" u:alice ", { page: "user", user: "alice" }],
    ["g:team", { page: "group", group: "team" }],
    ["01hf7yat00zzzzzzzzzzzzzzzz", { page: "message", id: "01HF7YAT00ZZZZZZZZZZZZZZZZ" }],
    ["u:01HF7YAT00ZZZZZZZZZZZZZZZZ", { page: "user", user: "01HF7YAT00ZZZZZZZZZZZZZZZZ" }],
    ["g:team 12", { page: "trace", user: "", conv: "g:team", seq: 12 }],
    ["g:team#12", { page: "trace", user: "", conv: "g:team", seq: 12 }],
    ["alice u:bob 3", { page: "trace", user: "alice", conv: "u:bob", seq: 3 }],
    ["u:alice g:team #3", { page: "trace", user: "alice", conv: "g:team", seq: 3 }],
    ["", null],
    ["g:", null],
    ["u:", null],
    ["alice bob", null],
    ["g:team 0", null],
    ["g:team x", null],
    ["alice bob 3", null],
    ["alice u:bob 3 4", null],
    ["ålice", null],
    ["x".repeat(65), null],
    [`g:${"x".repeat(49)}`, null],
  ];
  for (const [text, route] of means) expect(parseSearch(text), text).toEqual(route);
});

test("a route comes back from its fragment, whatever the names are", () => {
  const name = (most: number): fc.Arbitrary<string> =>
    fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((c) => String.fromCharCode(c)), minLength: 1, maxLength: most });
  const conv = fc.oneof(name(64).map((n) => `u:${n}`), name(48).map((n) => `g:${n}`));
  const route: fc.Arbitrary<Route> = fc.oneof(
    fc.constantFrom<Route>({ page: "nodes" }, { page: "sick" }, { page: "settings" }, { page: "audit" }),
    name(64).map((user): Route => ({ page: "user", user })),
    name(48).map((group): Route => ({ page: "group", group })),
    fc.record({ page: fc.constant("trace" as const), user: name(64), conv, seq: fc.integer({ min: 1, max: 2 ** 50 }) }),
  );
  fc.assert(fc.property(route, (r) => {
    expect(fromHash(toHash(r))).toEqual(r);
  }));
  expect(fromHash("#/user/%zz")).toEqual({ page: "nodes" });
  expect(fromHash("")).toEqual({ page: "nodes" });
});

test("a name in a path is no other path, and no word of the paths", () => {
  for (const name of ["sessions", "a/b", "..x", "%2e", "x?y#z", "~"]) {
    const url = new URL(`/v1/users/${inPath(name)}/sessions`, "http://127.0.0.1");
    const segment = url.pathname.split("/")[3] ?? "";
    expect(decodeURIComponent(segment)).toBe(name);
    expect(segment).not.toBe(name);
    expect(url.search + url.hash).toBe("");
  }
  expect(withQuery("/x", { after: undefined, limit: 5, device: "a b&c" })).toBe("/x?limit=5&device=a+b%26c");
  expect(withQuery("/x", { after: "" })).toBe("/x");
});

test("figures are for people", () => {
  expect([0, 1023, 1024, 150 * 1024, 5.25 * 2 ** 30].map(bytes)).toEqual(["0 B", "1023 B", "1.0 KiB", "150 KiB", "5.3 GiB"]);
  expect([5, 61_000, 3_600_000, 90_000_000].map(span)).toEqual(["5 ms", "1 min 1 s", "1 h", "1 d 1 h"]);
  expect(ranges([[1, 3], [7, 7]])).toBe("1–3, 7");
});
