import "fake-indexeddb/auto";

import { indexedDB } from "../src/indexeddb.ts";
import { keepsContract } from "./store/run.ts";

const open = indexedDB({ openMs: 60_000 });

keepsContract("indexedDB", () => ({
  lasting: true,
  shared: true,
  strict: true,
  open: (user) => open({ server: "ws://127.0.0.1/v1/ws", user }),
}));
