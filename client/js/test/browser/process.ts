/** Browsers as processes: started with a profile of their own, ended by their pid, gone with whoever started them. */

import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How long a browser may take to start, or to end, before the test fails. */
const patienceMs = 120_000;

/** A browser's folder. Browsers that use it one after the other find what the last one kept. */
export interface Profile {
  readonly folder: string;
  remove(): Promise<void>;
}

export async function makeProfile(): Promise<Profile> {
  const folder = await mkdtemp(join(tmpdir(), "belfry-browser-"));
  const guard = endWith(`rm -rf -- "$1"; sleep 3; rm -rf -- "$1"`, folder); // a browser that is being killed may still write
  return {
    folder,
    async remove() {
      // The last process of a browser may still be writing when the first has ended.
      await rm(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
      await guard.dismiss();
    },
  };
}

export interface Process {
  readonly pid: number;
  readonly ended: Promise<void>;
  /** Ends all processes of the browser as a power cut would, and waits for that. */
  kill(): Promise<void>;
}

/** Starts a browser and resolves to it and the first match of `sign` in what it prints, which is how it tells its address. */
export async function start(program: string, args: readonly string[], home: string, sign: RegExp): Promise<Process & { address: string }> {
  const child = spawn(program, args, { detached: true, stdio: ["ignore", "ignore", "pipe"], env: environment(home) });
  const pid = child.pid;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()).once("error", () => resolve()));
  if (pid === undefined) throw new Error(`${program} does not start`);
  const guard = endWith(`kill -s KILL -- "-$1"`, String(pid));
  const ended = exited.then(async () => {
    for (let left = processesOf(pid, home); left.length > 0; left = processesOf(pid, home)) {
      for (const helper of left) kill(helper);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await guard.dismiss();
  });
  try {
    const address = await announced(child, program, sign);
    return { pid, address, ended, kill: () => (kill(-pid), within(ended, `${program} does not end`)) };
  } catch (err) {
    kill(-pid);
    await ended;
    throw err;
  }
}

function announced(child: ChildProcess, program: string, sign: RegExp): Promise<string> {
  let printed = "";
  const found = new Promise<string>((resolve, reject) => {
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      if (printed.length < 1 << 16) printed += text;
      const match = sign.exec(printed);
      if (match?.[1]) resolve(match[1]);
    });
    child.once("exit", (code, signal) => reject(new Error(`${program} ended (${signal ?? code}) before it was ready:\n${printed}`)));
  });
  return within(found, `${program} is not ready`);
}

/** Rejects if the promise is not settled after a time in which it should be, however busy the machine is. */
export async function within<T>(promise: Promise<T>, complaint: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${complaint} (${patienceMs / 1000} s)`)), patienceMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Kills a process or, if negative, a group. */
function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it has ended
  }
}

/**
 * The processes of a browser: its process group, and what has left that but has the
 * browser's home (Chromium's crash handler). Those that have ended and that nobody
 * has waited for do not count: process 1 may never do it.
 */
export function processesOf(group: number, home: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "latin1"); // pid (name) state ppid pgrp …
        const [state, , pgrp] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        if (state === "Z" || state === "X") return false;
        return Number(pgrp) === group || readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(`HOME=${home}`);
      } catch {
        return false; // no process, or one that has just ended
      }
    });
}

function environment(home: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/_proxy$/i.test(name) && !/^(DISPLAY|WAYLAND_DISPLAY|XDG_.*)$/.test(name));
  return { ...Object.fromEntries(kept), HOME: home, MOZ_CRASHREPORTER_DISABLE: "1" };
}

/**
 * Has a shell run a command with one argument once this process has ended, however
 * it did: the shell waits for the end of a pipe that only we hold.
 */
function endWith(command: string, argument: string): { dismiss(): Promise<void> } {
  const shell = spawn("sh", ["-c", `read -r word; [ "$word" = dismiss ] || { ${command}; }`, "sh", argument], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  shell.unref();
  const gone = new Promise<void>((resolve) => shell.once("exit", () => resolve()).once("error", () => resolve()));
  return {
    async dismiss() {
      shell.stdin.on("error", () => {}); // a shell that has ended has nothing to dismiss
      shell.stdin.end("dismiss\n");
      await gone;
    },
  };
}
