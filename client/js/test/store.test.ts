import { expect, test } from "vitest";

import { StoreError } from "../src/store.ts";

test("a StoreError says what failed and keeps its cause", () => {
  const cause = new Error("no room");
  const e = new StoreError("quota", { cause });
  expect([e.failure, e.cause, e.message]).toEqual(["quota", cause, "belfry: store: quota"]);
});
