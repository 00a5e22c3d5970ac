/** The real server for tests: built once, started on free ports of 127.0.0.1 with data of its own, gone with whoever started it. */
import { execFile, spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const repository = join(import.meta.dirname, "../../..");
const cache = join(repository, "client/node_modules/.cache/belfry");
/** After how many milliseconds a build or a start has failed. */
const patience = 240_000;

export interface Server {
  /** The WebSocket's address. */
  readonly url: string;
  /** The administration's, without a path. */
  readonly admin: string;
  readonly adminToken: string;
  /** A token of a user that is good for so many seconds. */
  token(user: string, seconds?: number): string;
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
  /** Starts it again after kill, with the same data and addresses. */
  restart(): Promise<void>;
  /** Kills it and removes its data. */
  end(): Promise<void>;
}

/** Builds the binary if it is older than its sources. One process does so at a time. */
async function binary(): Promise<string> {
  const path = join(cache, "belfry");
  const lock = join(cache, "lock");
  await mkdir(cache, { recursive: true });
  for (const began = Date.now(); ; ) {
    try {
      await mkdir(lock);
      break;
    } catch {
      // One that died with the lock leaves it behind.
      const held = await stat(lock).then((s) => Date.now() - s.mtimeMs, () => 0);
      if (held > patience) await rmdir(lock).catch(() => undefined);
      if (Date.now() - began > 2 * patience) throw new Error(`${lock} is not released`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  try {
    await promisify(execFile)("go", ["build", "-o", path, "./cmd/belfry"], { cwd: repository, timeout: patience });
  } finally {
    await rmdir(lock);
  }
  return path;
}

/** Starts a server with these flags beside its own. */
export async function startBelfry(...flags: string[]): Promise<Server> {
  const program = await binary();
  const folder = await mkdtemp(join(tmpdir(), "belfry-test-"));
  const secret = "a secret of the tests, 32 bytes or more";
  const adminToken = `admin-${randomUUID()}`;
  await writeFile(join(folder, "secret"), secret);
  await writeFile(join(folder, "admins"), `${adminToken}\n`);
  let running: { end: () => Promise<void> } | undefined;
  let addresses = { listen: "127.0.0.1:0", admin: "127.0.0.1:0" };

  const start = async (): Promise<void> => {
    const args = [
      "serve", "--listen", addresses.listen, "--admin-listen", addresses.admin, "--data", join(folder, "store"), "--shards", "2",
      "--auth-secret-file", join(folder, "secret"), "--admin-token-file", join(folder, "admins"), ...flags,
    ];
    // The shell kills the server when its own input ends, and so with this process; then nobody else removes the data.
    const child = spawn("sh", ["-c", 'exec 3<&0; data=$1; shift; "$@" </dev/null 3<&- & p=$!; { read -r keep <&3; trap "" TERM; kill -9 $p; [ -n "$keep" ] || rm -rf -- "$data"; } 2>/dev/null & wait $p; kill $! 2>/dev/null', "sh", folder, program, ...args], {
      stdio: ["pipe", "pipe", "pipe"],
      // Those that are for tests (BELFRY_ROUNDS) it would refuse as settings.
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BELFRY_"))),
    });
    let log = "";
    child.stderr.on("data", (text) => (log = (log + String(text)).slice(-20_000)));
    child.stdin.on("error", () => undefined);
    const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
    running = {
      async end() {
        child.stdin.end("keep the data\n");
        await exited;
      },
    };
    addresses = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the server is not ready\n${log}`)), patience);
      createInterface({ input: child.stdout }).on("line", (line) => {
        const [, listen, admin] = /^ready listen=(\S+) admin=(\S+)/.exec(line) ?? [];
        if (listen === undefined || admin === undefined) return;
        clearTimeout(timer);
        resolve({ listen, admin });
      });
      void exited.then(() => reject(new Error(`the server ended\n${log}`)));
    });
  };
  const kill = async (): Promise<void> => {
    await running?.end();
    running = undefined;
  };
  await start();
  return {
    url: `ws://${addresses.listen}/v1/ws`,
    admin: `http://${addresses.admin}`,
    adminToken,
    token(user, seconds = 3600) {
      const part = (of: object): string => Buffer.from(JSON.stringify(of)).toString("base64url");
      const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds })}`;
      return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
    },
    kill,
    restart: start,
    async end() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
