/**
 * The TypeScript SDK as a driver of client/conformance (its README.md says what is read
 * and written), in Node, with the file store. It is bundled and run by the tests there.
 */
import { createInterface } from "node:readline";
import { WebSocket } from "ws";

import { BelfryError, type Client, type ErrorCode, type Page, type SendState } from "../../src/api.ts";
import { createClient } from "../../src/client.ts";
import { fileStore } from "../../src/file.ts";
import { msgpack } from "../../src/msgpack.ts";
import type { Body, Message } from "../../src/wire.ts";

/** A line of stdin. What a command does not take is absent. */
interface Command {
  n: number;
  do: string;
  url: string;
  user: string;
  device: string;
  store?: string;
  withoutStorage?: boolean;
  manualRead?: boolean;
  recents?: "on" | "quiet" | "off";
  codec?: "json" | "msgpack";
  conv: string;
  cid: string;
  body: unknown;
  before?: number;
  after?: number;
  range?: [number, number];
  limit?: number;
  seq: number;
  seqs: number[];
  local?: boolean;
  messages?: boolean;
  for: number;
  token?: string;
  refuse?: string;
}

let client: Client | undefined;
let asked = 0;
const tokens = new Map<number, (answer: Command) => void>();

function write(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function on(event: string, of: object): void {
  write({ on: event, ...of });
}

/** What JSON cannot hold has the notation of the vectors. */
function toNeutral(v: unknown): unknown {
  if (typeof v === "bigint") return { $int: String(v) };
  if (v instanceof Uint8Array) return { $bin: Buffer.from(v).toString("base64") };
  if (Array.isArray(v)) return v.map(toNeutral);
  if (typeof v !== "object" || v === null) return v;
  return Object.fromEntries(Object.entries(v).map(([key, field]) => [key, toNeutral(field)]));
}

function fromNeutral(v: unknown): unknown {
  if (Array.isArray(v)) return v.map(fromNeutral);
  if (typeof v !== "object" || v === null) return v;
  const entries = Object.entries(v);
  const [[key, only] = ["", undefined]] = entries;
  if (entries.length === 1 && typeof only === "string") {
    if (key === "$int") return BigInt(only);
    if (key === "$bin") return new Uint8Array(Buffer.from(only, "base64"));
  }
  return Object.fromEntries(entries.map(([k, field]) => [k, fromNeutral(field)]));
}

const plain = (m: Message): object => ({ ...m, body: toNeutral(m.body) });
const pageOf = ({ messages, gaps, more }: Page): object => ({ messages: messages.map(plain), gaps, more });

function settled(conv: string, cid: string, state: SendState): void {
  if (state.state !== "queued") on("settled", { conv, cid, ...state });
}

/** Tells of messages that earlier processes left in the outbox: what becomes of them shows in the store. */
async function followOutbox(of: Client): Promise<void> {
  const left = new Map((await of.exportTrace()).outbox.filter((o) => !o.refused).map((o) => [`${o.conv} ${o.cid}`, o]));
  const look = async (): Promise<void> => {
    const trace = await of.exportTrace();
    for (const [key, { conv, cid }] of left) {
      const now = trace.outbox.find((o) => o.conv === conv && o.cid === cid);
      if (now !== undefined && now.refused === undefined) continue;
      left.delete(key);
      if (now?.refused !== undefined) settled(conv, cid, { state: "refused", code: now.refused, message: "" });
      else {
        const found = (await of.localMessages(conv, { limit: 100 })).messages.find((m) => m.cid === cid);
        if (found !== undefined) settled(conv, cid, { state: "stored", id: found.id, seq: found.seq, time: found.time });
      }
    }
  };
  if (left.size === 0) return;
  const stop = of.status.subscribe(() => {
    void look().catch(() => undefined).then(() => left.size === 0 && stop());
  });
  await look();
}

async function open(c: Command): Promise<void> {
  if (client !== undefined) throw new Error("a client is open");
  const opened = createClient({
    url: c.url, user: c.user, device: c.device, WebSocket, tabs: false,
    token: ({ reason }) =>
      new Promise((resolve, reject) => {
        const n = ++asked;
        tokens.set(n, (answer) => {
          if (answer.token !== undefined) resolve(answer.token);
          else reject(new BelfryError("unauthorized", answer.refuse));
        });
        on("token", { for: n, reason });
      }),
    ...(c.store !== undefined && { store: fileStore(c.store) }),
    ...(c.withoutStorage !== undefined && { withoutStorage: c.withoutStorage }),
    ...(c.manualRead !== undefined && { manualRead: c.manualRead }),
    ...(c.recents !== undefined && { recents: c.recents }),
    ...(c.codec === "msgpack" && { codec: msgpack() }),
  });
  client = opened;
  opened.on("messages", (list) => on("messages", { messages: list.map(plain) }));
  opened.on("synced", ({ lost, reset, resetGroups }) => on("synced", { lost, reset: reset ?? false, resetGroups: resetGroups ?? [] }));
  opened.on("readReport", (p) => on("readReport", p));
  opened.on("readReceipt", (p) => on("readReceipt", p));
  opened.on("recall", (p) => on("recall", p));
  opened.on("error", ({ code, message }) => process.stderr.write(`${code}: ${message}\n`));
  opened.on("storage", (s) => process.stderr.write(`storage: ${JSON.stringify(s)}\n`));
  let last = "";
  const state = (): void => {
    const { connection, error } = opened.status.getSnapshot();
    if (connection === last) return;
    last = connection;
    on("state", { state: connection, ...(error && { code: error.code }) });
  };
  opened.status.subscribe(state);
  opened.conversations().subscribe(() => undefined); // it reads the store while somebody looks
  state();
  await followOutbox(opened);
}

async function close(): Promise<void> {
  const open = client;
  client = undefined;
  await open?.close();
}

function opened(): Client {
  if (client === undefined) throw new BelfryError("closed");
  return client;
}

type Run = (c: Command) => Promise<object | void>;

/** What a page is asked for by. */
function which({ before, after, range, limit }: Command): { before?: number; after?: number; range?: [number, number]; limit?: number } {
  return {
    ...(before !== undefined && { before }), ...(after !== undefined && { after }), ...(range && { range }), ...(limit !== undefined && { limit }),
  };
}

const commands: Record<string, Run> = {
  open,
  close,
  async send({ conv, cid, body }) {
    const pending = await opened().send(conv, fromNeutral(body) as Body, { cid });
    pending.settled.then((state) => settled(conv, cid, state), () => undefined);
  },
  async sendNow({ conv, body }) {
    const { id } = await opened().sendNow(conv, fromNeutral(body) as Body);
    return { id };
  },
  getMessages: async (c) => pageOf(await opened().getMessages(c.conv, which(c))),
  localMessages: async (c) => pageOf(await opened().localMessages(c.conv, which(c))),
  async conversations() {
    const { list, unreadTotal } = opened().conversations().getSnapshot();
    return { conversations: list.map(({ conv, lastSeq, unread }) => ({ conv, lastSeq, unread })), unreadTotal };
  },
  readReport: ({ conv, seq }) => opened().readReport(conv, seq),
  deleteMessages: ({ conv, seqs, local = false }) => opened().deleteMessages(conv, seqs, { local }),
  deleteConversation: ({ conv, messages = false, local = false }) => opened().deleteConversation(conv, { messages, local }),
  recall: ({ conv, seq }) => opened().recall(conv, seq),
  disableStorage: ({ conv }) => opened().disableStorage(conv),
  async token(c) {
    tokens.get(c.for)?.(c);
    tokens.delete(c.for);
  },
};

function codeOf(err: unknown): ErrorCode {
  return err instanceof BelfryError ? err.code : "internal";
}

async function run(c: Command): Promise<void> {
  const { n } = c;
  try {
    const command = commands[c.do];
    if (command === undefined) throw new Error(`no command: ${c.do}`);
    const ok = (await command(c)) ?? {};
    if (c.do !== "token") write({ n, ok });
  } catch (err) {
    write({ n, err: { code: codeOf(err), message: String(err) } });
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => void run(JSON.parse(line) as Command));
lines.on("close", () => void close());
