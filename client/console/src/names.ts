/** Names of groups that this browser has seen, so that the list has them without a connection. */

const stored = "belfry.groups";
/** How many names are kept; those seen the longest ago go first. */
const maxNames = 500;

interface Kept {
  readonly user: string;
  readonly names: readonly (readonly [string, string])[];
}

/** The names kept for a user, by id; none if there are others' or nothing that can be read. */
export function keptNames(user: string, storage: Storage = localStorage): Map<string, string> {
  try {
    const kept = JSON.parse(storage.getItem(stored) ?? "null") as Partial<Kept> | null;
    if (kept?.user !== user || !Array.isArray(kept.names)) return new Map();
    return new Map(kept.names.filter((pair) => Array.isArray(pair) && typeof pair[0] === "string" && typeof pair[1] === "string"));
  } catch {
    return new Map();
  }
}

/** Adds the names of groups to `names` and keeps them for a user. Where there is no room nothing is kept. */
export function keepNames(user: string, names: Map<string, string>, groups: Iterable<{ group: string; name?: string }>, storage: Storage = localStorage): void {
  let changed = false;
  for (const { group, name } of groups) {
    if ((names.get(group) ?? "") === (name ?? "")) continue;
    names.delete(group); // what is set anew comes last
    if (name) names.set(group, name);
    changed = true;
  }
  if (!changed) return;
  for (const group of names.keys()) {
    if (names.size <= maxNames) break;
    names.delete(group);
  }
  try {
    storage.setItem(stored, JSON.stringify({ user, names: [...names] } satisfies Kept));
  } catch {
    // The names come again with the next connection.
  }
}

/** Forgets all names. */
export function forgetNames(storage: Storage = localStorage): void {
  storage.removeItem(stored);
}
