/** The store of Node: a file per server and user in a folder (filelog.ts has its bytes), all of which is in memory too. */

import { createHash } from "node:crypto";
import { type FileHandle, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { type Lock, takeLock } from "./filelock.ts";
import { header, isNewer, type Line, lineOf, maxRecord, parseFile, recordOf, textOf } from "./filelog.ts";
import { memoryStore } from "./memory.ts";
import { type Sorted, sorted } from "./sorted.ts";
import { type Change, type OpenStore, type Opened, type Store, StoreError, type StoreFailure, type Table, type Value } from "./store.ts";
import { decodeValue } from "./storedvalue.ts";

/** Batches that wait are written together, with one fsync, up to so many characters. */
const groupLength = 4 << 20;
/** A file is written anew when it has twice the bytes that it needed the last time, and so many more. */
const slackBytes = 1 << 20;
/** About how many characters a record of a file that is written anew has. */
const snapshotLength = 1 << 20;

/**
 * Keeps stores in a folder, which is made if there is none. `write` resolves when the
 * disk has the batch. Content is in memory as JSON text, so a store needs as much
 * memory as its file has bytes. Another process that has the user's store open means
 * memory, `blocked`; containers do not see each other's, so they must not share a
 * folder. A damaged file is kept beside the new one, as `….damaged`.
 */
export function fileStore(folder: string): OpenStore {
  return async ({ server, user }) => {
    const name = createHash("sha256").update(JSON.stringify([server, user])).digest("hex").slice(0, 32);
    let lock: Lock | undefined;
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const { dev, ino } = await stat(folder);
      lock = await takeLock(`${dev} ${ino} ${name}`);
      if (!lock) return { store: memoryStore(), cause: "blocked" };
      return await openFile(folder, join(folder, `${name}.belfry`), lock);
    } catch (err) {
      await lock?.release();
      const failure = failureOf(err);
      return { store: memoryStore(), cause: failure === "quota" ? "quota" : codeOf(err) === "EIO" ? "corrupt" : "denied" };
    }
  };
}

/** What a file has, in memory. */
interface Content {
  readonly tables: Readonly<Record<Table, Sorted<string>>>;
  /** The last number that `append` gave. */
  last: number;
}

function emptyContent(): Content {
  return { tables: { messages: sorted(), conversations: sorted(), outbox: sorted(), meta: sorted() }, last: 0 };
}

function apply(content: Content, line: Line): void {
  if ("last" in line) {
    content.last = Math.max(content.last, line.last);
  } else if ("text" in line) {
    content.tables[line.table].set(line.key, line.text);
    if (line.table === "outbox" && typeof line.key[0] === "number") content.last = Math.max(content.last, line.key[0]);
  } else {
    content.tables[line.table].remove(line.remove);
  }
}

/** About how many bytes a file of this content needs. */
function bytesOf(content: Content): number {
  let bytes = 0;
  for (const entries of Object.values(content.tables)) {
    for (const [, text] of entries.list({}, Infinity, false)) bytes += Buffer.byteLength(text) + entryBytes;
  }
  return bytes;
}

/** About how many bytes an entry needs beside its value. */
const entryBytes = 40;

async function openFile(folder: string, path: string, lock: Lock): Promise<Opened> {
  const fresh = `${path}.new`;
  await rm(fresh, { force: true }); // of a process that was killed as it wrote one
  const bytes = await readFile(path).catch((err: unknown) => {
    if (codeOf(err) === "ENOENT") return Buffer.alloc(0);
    throw err;
  });
  if (isNewer(bytes)) {
    await lock.release();
    return { store: memoryStore(), cause: "outdated" };
  }
  const parsed = parseFile(bytes);
  const content = emptyContent();
  for (const line of parsed?.lines.flat() ?? []) apply(content, line);
  const lost = parsed === undefined || parsed.damaged;
  if (lost) {
    // The rest of what is left cannot be relied on.
    for (const table of ["messages", "conversations", "meta"] as const) apply(content, { table, remove: {} });
    await rename(path, `${path}.damaged`);
  }

  let file: FileHandle;
  let size: number;
  if (lost || parsed.end === 0) {
    [file, size] = await writeAnew(folder, path, content);
  } else {
    file = await open(path, "r+");
    size = parsed.end;
    if (bytes.length > size) {
      await file.truncate(size); // a record that nobody was told of
      await file.datasync();
    }
  }
  return { store: storeOf(folder, path, file, size, content, lock), ...(lost && { lost }) };
}

/** Writes a file of a content, and puts it in the place of the one before. Resolves to it and its size. */
async function writeAnew(folder: string, path: string, content: Content): Promise<[FileHandle, number]> {
  const fresh = `${path}.new`;
  const file = await open(fresh, "w+", 0o600);
  try {
    let size = await append(file, header, 0);
    for (const text of snapshot(content)) size = await append(file, recordOf(text), size);
    await file.sync();
    await rename(fresh, path);
    await syncFolder(folder);
    return [file, size];
  } catch (err) {
    await file.close();
    await rm(fresh, { force: true });
    throw err;
  }
}

function* snapshot(content: Content): Generator<string> {
  let text = textOf({ last: content.last });
  for (const [table, entries] of Object.entries(content.tables) as [Table, Sorted<string>][]) {
    for (const [key, value] of entries.list({}, Infinity, false)) {
      text += textOf({ table, key, text: value });
      if (text.length < snapshotLength) continue;
      yield text;
      text = "";
    }
  }
  if (text) yield text;
}

async function append(file: FileHandle, bytes: Buffer, at: number): Promise<number> {
  for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  return at + bytes.length;
}

async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return; // has no such thing
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A batch that waits for its turn. */
interface Batch {
  readonly lines: readonly Line[];
  readonly text: string;
  readonly fence: number | undefined;
  resolve(): void;
  reject(err: StoreError): void;
}

function storeOf(folder: string, path: string, opened: FileHandle, openedSize: number, content: Content, lock: Lock): Store {
  let file = opened;
  let size = openedSize;
  /** The bytes that the content needed the last time that they were counted. */
  let needed = bytesOf(content);
  const waiting: Batch[] = [];
  let writing: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  /** What the disk has is unknown since it failed: nothing is written any more. */
  let broken: unknown;

  const mayRead = () => {
    if (closing) throw new StoreError("closed");
  };

  const enqueue = (lines: readonly Line[], fence?: number) =>
    new Promise<void>((resolve, reject) => {
      const text = lines.map(textOf).join("");
      waiting.push({ lines, text, fence, resolve, reject });
      writing ??= writeAll();
    });

  /** Takes the batches that are written next, all of one fence, and none behind one that may end it. */
  const takeGroup = (): Batch[] => {
    const group: Batch[] = [];
    for (let length = 0; waiting[0]; ) {
      const next = waiting[0];
      length += next.text.length;
      const last = group.at(-1);
      if (last && (length > groupLength || next.fence !== last.fence || last.lines.some(endsFences))) break;
      group.push(next);
      waiting.shift();
    }
    return group;
  };

  const writeAll = async () => {
    await Promise.resolve(); // what is asked for in one go is written in one go
    for (let group = takeGroup(); group.length > 0; group = takeGroup()) {
      try {
        const { fence } = group[0]!;
        if (fence !== undefined && content.tables.meta.get(["over", fence]) !== undefined) throw new StoreError("fenced");
        await writeGroup(group);
        for (const batch of group) batch.resolve();
      } catch (err) {
        const failure = err instanceof StoreError ? err : new StoreError(failureOf(err), { cause: err });
        for (const batch of group) batch.reject(failure);
      }
    }
    writing = undefined;
  };

  const writeGroup = async (group: readonly Batch[]) => {
    if (broken !== undefined) throw broken;
    const text = group.map((batch) => batch.text).join("");
    if (text !== "") {
      const record = recordOf(text);
      if (record.length > maxRecord) throw new RangeError(`a batch of ${record.length} bytes, the most is ${maxRecord}`);
      try {
        const end = await append(file, record, size);
        await file.datasync();
        size = end;
      } catch (err) {
        await file.truncate(size).catch(() => (broken = err));
        if (failureOf(err) !== "quota") broken = err;
        throw err;
      }
    }
    for (const batch of group) for (const line of batch.lines) apply(content, line);
    if (size > 2 * needed + slackBytes) await compact();
  };

  /** Writes the file anew. If it cannot, the one that is there stays. */
  const compact = async () => {
    const old = file;
    try {
      [file, size] = await writeAnew(folder, path, content);
      needed = size;
    } catch (err) {
      if (failureOf(err) !== "quota") broken = err; // it may have taken the other's place
      needed = size; // tried again when there is twice as much
      return;
    }
    await old.close();
  };

  const close = () =>
    (closing ??= (async () => {
      await writing;
      await file.close();
      await lock.release();
    })());

  return {
    durability: "persistent",
    async get(table, key) {
      mayRead();
      const text = content.tables[table].get(key);
      return text === undefined ? undefined : decode(text);
    },
    async list(table, { limit = Infinity, reverse = false, ...range }) {
      mayRead();
      return content.tables[table].list(range, limit, reverse).map(([key, text]) => ({ key, value: decode(text) }));
    },
    async write(changes, fence) {
      mayRead();
      await enqueue(linesOf(changes), fence);
    },
    async append(table, value) {
      mayRead();
      const n = content.last + 1;
      const lines = linesOf([{ table, key: [n], value }]);
      content.last = n;
      await enqueue(lines);
      return n;
    },
    close,
    async erase() {
      mayRead();
      closing = (async () => {
        await writing;
        await file.close();
        for (const rest of [path, `${path}.damaged`]) await rm(rest, { force: true });
        await syncFolder(folder);
        await lock.release();
      })();
      await closing;
    },
  };
}

/** Reports whether a line may change a meta ["over", fence]. */
function endsFences(line: Line): boolean {
  return "table" in line && line.table === "meta" && ("remove" in line || line.key[0] === "over");
}

function linesOf(changes: readonly Change[]): Line[] {
  try {
    return changes.map(lineOf);
  } catch (err) {
    throw new StoreError("broken", { cause: err });
  }
}

function decode(text: string): Value {
  try {
    return decodeValue(text);
  } catch (err) {
    throw new StoreError("broken", { cause: err });
  }
}

function codeOf(err: unknown): string | undefined {
  return err instanceof Error ? (err as NodeJS.ErrnoException).code : undefined;
}

function failureOf(err: unknown): StoreFailure {
  return ["ENOSPC", "EDQUOT", "EFBIG"].includes(codeOf(err) ?? "") ? "quota" : "broken";
}
