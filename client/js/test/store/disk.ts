/** A disk in memory, as the store of files uses one: it fails where it is told to, and forgets in a loss of power what was not synced. */

import type { FileHandle } from "node:fs/promises";

interface Inode {
  data: Buffer;
  /** What is left after a loss of power. */
  safe: Buffer;
}

/** A fault at the `at`th operation from now on, counted from 1. */
export interface Fault {
  readonly at: number;
  readonly code: "ENOSPC" | "EIO";
  /** Each operation from there on fails but those that give room back, until `heal`. */
  readonly lasting?: boolean;
  /** The operation has its effect nevertheless. */
  readonly done?: boolean;
}

export function newDisk() {
  let names = new Map<string, Inode>();
  let safeNames = new Map<string, Inode>();
  let steps = 0;
  let fault: Fault | undefined;

  /** Does one operation, or fails: half of it is done then. */
  const step = async <T>(name: string, work: () => T, half?: () => void): Promise<T> => {
    steps++;
    const givesRoom = name === "rm" || name === "truncate" || name === "close";
    if (!fault || !(steps === fault.at || (fault.lasting && steps > fault.at && !givesRoom))) return work();
    if (fault.done) work();
    else half?.();
    throw failure(fault.code, name);
  };
  const named = (path: string): Inode => {
    const inode = names.get(path);
    if (!inode) throw failure("ENOENT", path);
    return inode;
  };
  const put = (inode: Inode, bytes: Uint8Array, at: number) => {
    const grown = Buffer.alloc(Math.max(inode.data.length, at + bytes.length));
    inode.data.copy(grown);
    grown.set(bytes, at);
    inode.data = grown;
  };
  const sync = (inode: Inode) => () => void (inode.safe = inode.data);
  const file = (inode: Inode) => ({
    write: (bytes: Buffer, from: number, length: number, at: number) => {
      const all = bytes.subarray(from, from + length);
      return step("write", () => (put(inode, all, at), { bytesWritten: length }), () => put(inode, all.subarray(0, length >> 1), at));
    },
    sync: () => step("sync", sync(inode)),
    datasync: () => step("datasync", sync(inode)),
    truncate: (length: number) => step("truncate", () => void (inode.data = Buffer.from(inode.data.subarray(0, length)))),
    close: () => step("close", () => {}),
  });
  const folder = {
    sync: () => step("sync folder", () => void (safeNames = new Map(names))),
    close: () => step("close", () => {}),
  };

  const fs = {
    mkdir: async () => undefined,
    stat: async () => ({ dev: process.pid, ino: "disk" }),
    open: (path: string, flags: string) =>
      step("open", () => {
        if (!path.includes(".belfry")) return folder as unknown as FileHandle;
        if (flags === "w+") names.set(path, { data: Buffer.alloc(0), safe: Buffer.alloc(0) });
        return file(named(path)) as unknown as FileHandle;
      }),
    readFile: (path: string) => step("read", () => Buffer.from(named(path).data)),
    rename: (from: string, to: string) =>
      step("rename", () => {
        names.set(to, named(from));
        names.delete(from);
      }),
    rm: (path: string) => step("rm", () => void names.delete(path)),
    link: (from: string, to: string) => step("link", () => void names.set(to, named(from))),
    copyFile: (from: string, to: string) => step("copy", () => void names.set(to, { data: Buffer.from(named(from).data), safe: Buffer.alloc(0) })),
  };

  return {
    fs,
    /** Begins to count operations. */
    fail(next: Fault | undefined) {
      steps = 0;
      fault = next;
    },
    heal: () => void (fault = undefined),
    steps: () => steps,
    cutPower() {
      names = new Map(safeNames);
      for (const inode of names.values()) inode.data = inode.safe;
    },
    files: () => [...names].map(([path, { data }]) => ({ path, data })),
    put(path: string, data: Buffer) {
      names.set(path, { data, safe: data });
      safeNames = new Map(names);
    },
  };
}

function failure(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
