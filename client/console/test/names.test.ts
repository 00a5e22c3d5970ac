import { expect, test } from "vitest";
import { forgetNames, keepNames, keptNames } from "../src/names.ts";

function memory(): Storage {
  const held = new Map<string, string>();
  return {
    get length() {
      return held.size;
    },
    clear: () => held.clear(),
    getItem: (key) => held.get(key) ?? null,
    key: (i) => [...held.keys()][i] ?? null,
    removeItem: (key) => void held.delete(key),
    setItem: (key, value) => void held.set(key, value),
  };
}

test("names are kept for the user who has seen them, until they are forgotten", () => {
  const storage = memory();
  keepNames("alice", keptNames("alice", storage), [{ group: "team", name: "The team" }, { group: "bare" }], storage);
  expect([...keptNames("alice", storage)]).toEqual([["team", "The team"]]);
  expect(keptNames("bob", storage).size).toBe(0);
  const names = keptNames("alice", storage);
  keepNames("alice", names, [{ group: "team", name: "Another" }], storage);
  expect(keptNames("alice", storage).get("team")).toBe("Another");
  keepNames("alice", names, [{ group: "team" }], storage);
  expect(keptNames("alice", storage).size).toBe(0);
  keepNames("alice", names, [{ group: "team", name: "The team" }], storage);
  forgetNames(storage);
  expect(keptNames("alice", storage).size).toBe(0);
});

test("of many names the newest are kept, and what cannot be read is none", () => {
  const storage = memory();
  const names = keptNames("alice", storage);
  keepNames("alice", names, Array.from({ length: 600 }, (_, i) => ({ group: `g${i}`, name: `Group ${i}` })), storage);
  expect([names.size, keptNames("alice", storage).size]).toEqual([500, 500]);
  expect([names.has("g99"), names.has("g100")]).toEqual([false, true]);
  for (const broken of ["{", "null", "3", '{"user":"alice","names":3}', '{"user":"alice","names":[3,["a"],["b",1]]}']) {
    storage.setItem("belfry.groups", broken);
    expect(keptNames("alice", storage).size, broken).toBe(0);
  }
});
