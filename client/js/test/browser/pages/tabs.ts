/** A page with a client of its own, that shares socket and store with the same page in other tabs. */

import { type IDBPDatabase, openDB } from "idb";

import type { Client, Message } from "../../../src/api.ts";
import { createClient } from "../../../src/client.ts";
import { indexedDB } from "../../../src/indexeddb.ts";

export interface Setup {
  readonly url: string;
  readonly user: string;
  /** Where tokens come from, and what is promised is told to. */
  readonly desk: string;
  readonly peer: string;
  /** Names this page's life in the application's log, which is kept if it is given. */
  readonly life?: number;
}

/** A line of the application's log: a message of the peer, and which list it came with. */
export interface Logged {
  readonly life: number;
  readonly list: number;
  readonly body: number;
}

let setup: Setup;
let client: Client;
let conv: string;
/** Bodies from the peer that "messages" told of, in order. */
const heard: number[] = [];
/** When this tab led and was online for the first time (Unix ms). */
let ledAt = 0;
let sent = 0;
addEventListener("pagehide", () => localStorage.setItem("left", String(Date.now())));

export function open(of: Setup): void {
  setup = of;
  conv = `u:${of.peer}`;
  client = createClient({
    url: of.url,
    user: of.user,
    store: indexedDB({ persist: false, openMs: 60_000 }), // no test is decided by how busy the machine is
    token: async () => (await fetch(`${of.desk}/token`)).text(),
  });
  client.on("messages", (messages) => heard.push(...messages.filter(fromPeer).map(({ body }) => body as number)));
  const { life } = of;
  let lists = 0;
  if (life !== undefined) {
    client.on("messages", (messages) => {
      const list = ++lists;
      return keep(messages.filter(fromPeer).map(({ body }) => ({ life, list, body: body as number })));
    });
  }
  client.status.subscribe(() => {
    if (ledAt === 0 && leads()) ledAt = Date.now();
  });
}

let application: Promise<IDBPDatabase> | undefined;
const log = () => (application ??= openDB("application", 1, { upgrade: (db) => void db.createObjectStore("log", { autoIncrement: true }) }));
/** Writes lines one by one: a kill may come between any two. */
async function keep(lines: readonly Logged[]): Promise<void> {
  for (const line of lines) {
    const tx = (await log()).transaction("log", "readwrite", { durability: "strict" });
    void tx.store.add(line);
    await tx.done;
  }
}
export const logged = async (): Promise<Logged[]> => (await log()).getAll("log") as Promise<Logged[]>;

const fromPeer = (message: Message) => message.from === setup.peer;

export const status = () => client.status.getSnapshot();
export const leads = () => status().leader && status().connection === "online";
export const heardAll = () => heard;
export const firstLed = () => ledAt;
/** When the last page of this storage was left (Unix ms). */
export const lastLeft = () => Number(localStorage.getItem("left"));

/** Puts a message into the outbox, and tells the desk that it will arrive. */
export async function send(name: string): Promise<void> {
  await client.send(conv, name);
  void fetch(`${setup.desk}/promised/${name}`, { mode: "no-cors", keepalive: true }).catch(() => {});
}

/** Sends one message after the other, for as long as the page lives. */
export function sendOn(name: string): void {
  const next = (): Promise<void> => send(`${name}-${++sent}`).then(() => new Promise((resolve) => setTimeout(resolve, 20))).then(next);
  void next();
}

/** Bodies of all messages of the peer in the store, by seq. */
export async function stored(): Promise<number[]> {
  const all: number[] = [];
  for (let before: number | undefined; ; ) {
    const page = await client.localMessages(conv, { limit: 100, ...(before !== undefined && { before }) });
    all.unshift(...page.messages.filter(fromPeer).map(({ body }) => body as number));
    if (page.to === 0 || !page.more) return all;
    before = page.from;
  }
}

/** The same as a window shows it, from its newest on. */
let view: ReturnType<Client["messages"]> | undefined;
export function shown(): number[] {
  if (!view) {
    view = client.messages(conv);
    view.subscribe(() => {}); // it reads only for those who look
  }
  return view.getSnapshot().rows.flatMap((row) => (row.kind === "message" && fromPeer(row.message) ? [row.message.body as number] : []));
}

/** Hangs, until the desk answers. */
export function hang(): void {
  setTimeout(() => {
    const request = new XMLHttpRequest();
    request.open("GET", `${setup.desk}/hang`, false);
    request.send();
  });
}

export const outbox = () => status().outbox;
export const tabs = async () => (await client.exportTrace()).tabs;
export const hidden = () => document.visibilityState === "hidden";
