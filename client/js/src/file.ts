/** The store of Node: a file per server and user in a folder (filelog.ts has its bytes), all of which is in memory too. */

import { createHash } from "node:crypto";
import { copyFile, type FileHandle, link, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";

import { BelfryError } from "./api.ts";
import { type Content, newContent } from "./filecontent.ts";
import { type Lock, takeLock } from "./filelock.ts";
import { header, isNewer, type Line, lineOf, maxRecord, parseFile, recordOf, textOf } from "./filelog.ts";
import { type Change, type OpenStore, type Opened, type Opening, type Store, StoreError, type StoreFailure, type Value } from "./store.ts";
import { decodeValue } from "./storedvalue.ts";

/** Batches that wait are written together, with one fsync, up to so many characters. */
const groupLength = 4 << 20;
/** A file is written anew when it has twice the bytes that it needs, and so many more. */
const slackBytes = 1 << 20;
/** How often a store is asked for that another process has open. */
const retryMs = 250;

/**
 * Keeps stores in a folder, which is made if there is none. `write` resolves when the
 * disk has the batch. Content is in memory: the bytes of the file as it was opened, until
 * it is written anew, the JSON text of what was written since, and about 200 bytes for
 * each key. While another process has the user's store open, opening waits
 * (`blocked`); containers do not see each other's, so they must not share a
 * folder. A damaged file is kept beside the new one, as `….damaged`. Rejects with
 * `storage`, and says of which folder and why, if there can be no store.
 */
export function fileStore(folder: string): OpenStore {
  return async ({ server, user }, opening) => {
    const name = createHash("sha256").update(JSON.stringify([server, user])).digest("hex").slice(0, 32);
    let lock: Lock | undefined;
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const { dev, ino } = await stat(folder);
      lock = await waitForLock(`${dev} ${ino} ${name}`, opening);
      return await openFile(folder, join(folder, `${name}.belfry`), lock);
    } catch (err) {
      await lock?.release();
      throw new BelfryError("storage", `the store in the folder ${folder} cannot be opened: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
    }
  };
}

async function waitForLock(name: string, opening: Opening | undefined): Promise<Lock> {
  for (let told = false; ; told = true) {
    const lock = await takeLock(name);
    if (lock) return lock;
    if (!told) opening?.waits("blocked");
    await after(retryMs, undefined, opening && { signal: opening.signal });
  }
}

async function openFile(folder: string, path: string, lock: Lock): Promise<Opened> {
  await rm(`${path}.new`, { force: true }); // of a process that was killed as it wrote one
  const bytes = await readFile(path).catch((err: unknown) => {
    if (codeOf(err) === "ENOENT") return Buffer.alloc(0);
    throw err;
  });
  if (isNewer(bytes)) throw new Error("a newer version of the SDK has written it");
  const content = newContent(bytes);
  const parsed = parseFile(bytes, content.apply);
  const lost = parsed === undefined || parsed.damaged;
  if (lost) {
    // The rest of what is left cannot be relied on.
    for (const table of ["messages", "conversations", "meta"] as const) content.apply({ table, remove: {} });
    await keepAside(path);
  }

  let file: FileHandle | undefined;
  let size: number;
  try {
    if (lost || parsed.end === 0) {
      [file, size] = await writeAnew(path, content);
      await syncFolder(folder);
    } else {
      file = await open(path, "r+");
      size = parsed.end;
      if (bytes.length > size) {
        await file.truncate(size); // a record that nobody was told of
        await file.datasync();
      }
    }
  } catch (err) {
    await file?.close().catch(() => {});
    throw err;
  }
  return { store: storeOf(folder, path, file, size, content, lock), ...(lost && { lost }) };
}

/** Keeps what a damaged file has under another name as well, until another one takes its own. */
async function keepAside(path: string): Promise<void> {
  const aside = `${path}.damaged`;
  await rm(aside, { force: true });
  await link(path, aside).catch(() => copyFile(path, aside)); // some file systems have no links
}

/**
 * Writes a file of a content, and puts it in the place of the one before. Resolves to it
 * and its size. Which of the two is there after a loss of power is open until the folder
 * is synced; both have the content.
 */
async function writeAnew(path: string, content: Content): Promise<[FileHandle, number]> {
  const fresh = `${path}.new`;
  const file = await open(fresh, "w+", 0o600);
  try {
    let size = await append(file, header, 0);
    for (const text of content.snapshot()) size = await append(file, recordOf(text), size);
    await file.sync();
    await rename(fresh, path);
    return [file, size];
  } catch (err) {
    await file.close().catch(() => {});
    await rm(fresh, { force: true }).catch(() => {});
    throw err;
  }
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
  readonly relaxed: boolean;
  resolve(): void;
  reject(err: StoreError): void;
}

function storeOf(folder: string, path: string, opened: FileHandle, openedSize: number, content: Content, lock: Lock): Store {
  let file = opened;
  let size = openedSize;
  /** What the file had when it was written anew, or that failed; before, nothing. */
  let anew = 0;
  /** The file was written anew, and the folder may still have the one before. */
  let placed = true;
  const waiting: Batch[] = [];
  let writing: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  /** What the disk has is unknown since it failed: nothing is written any more. */
  let broken: unknown;

  const mayRead = () => {
    if (closing) throw new StoreError("closed");
  };

  const enqueue = (lines: readonly Line[], fence?: number, relaxed = false) =>
    new Promise<void>((resolve, reject) => {
      const text = lines.map(textOf).join("");
      waiting.push({ lines, text, fence, relaxed, resolve, reject });
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
        if (fence !== undefined && content.get("meta", ["over", fence]) !== undefined) throw new StoreError("fenced");
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
        await place();
        const end = await append(file, record, size);
        if (!group.every(({ relaxed }) => relaxed)) await file.datasync();
        size = end;
      } catch (err) {
        await file.truncate(size).catch(() => (broken = err));
        if (failureOf(err) !== "quota") broken = err;
        throw err;
      }
    }
    for (const batch of group) for (const line of batch.lines) content.apply(line);
    if (size > 2 * Math.max(anew, content.bytes()) + slackBytes) await compact();
  };

  /** Writes the file anew. If it cannot, the one that is there stays. What the content has is safe in either. */
  const compact = async () => {
    const old = file;
    try {
      [file, size] = await writeAnew(path, content);
    } catch (err) {
      if (failureOf(err) !== "quota") broken = err; // it may have taken the other's place
      anew = size; // tried again when there is twice as much
      return;
    }
    anew = size;
    placed = false;
    await old.close().catch(() => {});
    await place().catch(() => {}); // the next batch tries again, and says so
  };

  /** What is written is safe only in the file that is there after a loss of power, too. */
  const place = async () => {
    if (!placed) await syncFolder(folder);
    placed = true;
  };

  const end = async (removed: readonly string[]) => {
    await writing;
    try {
      await file.close();
      for (const one of removed) await rm(one, { force: true });
      if (removed.length > 0) await syncFolder(folder);
    } finally {
      await lock.release();
    }
  };

  return {
    durability: "persistent",
    async get(table, key) {
      mayRead();
      const text = content.get(table, key);
      return text === undefined ? undefined : decode(text);
    },
    async list(table, { limit = Infinity, reverse = false, ...range }) {
      mayRead();
      return content.list(table, range, limit, reverse).map(([key, text]) => ({ key, value: decode(text) }));
    },
    async write(changes, fence, relaxed) {
      mayRead();
      await enqueue(linesOf(changes), fence, relaxed);
    },
    async append(table, value) {
      mayRead();
      const [change] = linesOf([{ table, key: [0], value }]);
      const n = content.next();
      await enqueue([{ ...change!, key: [n] } as Line]);
      return n;
    },
    close: () => (closing ??= end([])),
    async erase() {
      mayRead();
      await (closing = end([path, `${path}.new`, `${path}.damaged`]));
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
