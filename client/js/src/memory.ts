/** A store in memory: the default, what others fall back to, and the model that they are tested against. */
import { StoreError, type Change, type Entry, type Key, type OpenStore, type Range, type Store, type Table, } from "./store.ts";

/** Compares keys as `Key` says: negative if a comes first, 0 if they are equal. */
export function compareKeys(a: Key, b: Key): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    if (x === y) continue;
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    return x < y ? -1 : 1;
  }
  return a.length - b.length;
}

/** A store that lives as long as the returned object. */
export function memoryStore(): Store {
  const tables: Record<Table, Entry[]> = { messages: [], conversations: [], outbox: [], meta: [] };
  let last = 0;
  let closed = false;

  const open = () => {
    if (closed) throw new StoreError("closed");
  };
  const get = (table: Table, key: Key) => {
    const entry = tables[table][find(tables[table], key)];
    return entry !== undefined && compareKeys(entry.key, key) === 0 ? entry.value : undefined;
  };
  const apply = (change: Change) => {
    const entries = tables[change.table];
    if ("remove" in change) {
      const [from, to] = bounds(entries, change.remove);
      entries.splice(from, Math.max(0, to - from));
      return;
    }
    const at = find(entries, change.key);
    const same = entries[at] !== undefined && compareKeys(entries[at].key, change.key) === 0;
    entries.splice(at, same ? 1 : 0, { key: change.key, value: change.value });
  };

  return {
    durability: "memory",
    get: async (table, key) => (open(), get(table, key)),
    async list(table, { limit = Infinity, reverse, ...range }) {
      open();
      const [from, to] = bounds(tables[table], range);
      if (!reverse) return tables[table].slice(from, Math.min(Math.max(from, to), from + limit));
      return tables[table].slice(Math.max(from, to - limit), Math.max(from, to)).reverse();
    },
    async write(changes, fence) {
      open();
      if (fence !== undefined && get("meta", ["over", fence]) !== undefined) throw new StoreError("fenced");
      for (const change of changes) apply(change);
    },
    async append(table, value) {
      open();
      last++;
      apply({ table, key: [last], value });
      return last;
    },
    async close() {
      closed = true;
    },
    async erase() {
      closed = true;
      for (const entries of Object.values(tables)) entries.length = 0;
    },
  };
}

/** Opens a store in memory, empty each time. */
export const openMemory: OpenStore = async () => ({ store: memoryStore() });

/** The index of the first entry that is not before the key. */
function find(entries: readonly Entry[], key: Key): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (compareKeys(entries[mid]!.key, key) < 0) low = mid + 1;
    else high = mid;
  }
  return low;
}

function bounds(entries: readonly Entry[], { from, to }: Range): [number, number] {
  return [from ? find(entries, from) : 0, to ? find(entries, to) : entries.length];
}
