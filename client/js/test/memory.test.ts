import { memoryStore } from "../src/memory.ts";
import { keepsContract } from "./store/run.ts";

keepsContract("memory", () => ({ open: async () => ({ store: memoryStore() }) }));
