/** One process at a time: a lock that the kernel gives back when its holder ends, however it ends. */

import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Lock {
  release(): Promise<void>;
}

/**
 * Takes the lock of a name; undefined if another holds it, in this process or another.
 * It is an address that is listened at: Node has no locks of files. So processes that
 * have different networks, as containers do, do not see each other's.
 */
export async function takeLock(name: string): Promise<Lock | undefined> {
  const address = addressOf(name);
  // A socket in the file system stays when its holder is killed: nobody answers there.
  if (address.startsWith("/") && !(await answers(address))) await rm(address, { force: true });
  const server = createServer((socket) => socket.destroy());
  server.unref();
  const taken = await new Promise<boolean>((resolve, reject) => {
    server.once("error", (err: NodeJS.ErrnoException) => (err.code === "EADDRINUSE" ? resolve(false) : reject(err)));
    server.listen({ path: address, exclusive: true }, () => resolve(true));
  });
  return taken ? { release: () => new Promise((resolve) => server.close(() => resolve())) } : undefined;
}

function addressOf(name: string): string {
  const id = `belfry-store-${createHash("sha256").update(name).digest("hex").slice(0, 32)}`;
  if (process.platform === "linux") return `\0${id}`;
  return process.platform === "win32" ? `\\\\.\\pipe\\${id}` : join(tmpdir(), id);
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
