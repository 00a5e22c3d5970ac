/** What an application gives, checked before anything is done with it. Each throws `bad_request`. */
import { BelfryError, type ClientOptions, type Events, type PageOptions, type SendOptions } from "./api.ts";
import type { Message } from "./wire.ts";

export function wrong(field: string, rule: string): never {
  throw new BelfryError("bad_request", `${field}: ${rule}`);
}

/** Whether a text has UTF-8: it has no lone surrogates. */
export function wellFormed(text: unknown): text is string {
  return typeof text === "string" && !/\p{Surrogate}/u.test(text);
}

export function checkOptions({ url, moreUrls = [], user, token, device, groupBacklog = 0, WebSocket }: ClientOptions): void {
  for (const one of [url, ...moreUrls]) if (!/^wss?:\/\/./.test(one)) wrong("url", "must begin with ws: or wss:");
  if (!user) wrong("user", "must be set");
  if (typeof token !== "function") wrong("token", "must be a function");
  checkName("device", device);
  checkWhole("groupBacklog", groupBacklog, 0, 100);
  if (!WebSocket && !globalThis.WebSocket) wrong("WebSocket", "must be given where there is no global one");
}

function checkWhole(field: string, value: number, least: number, most: number): void {
  if (!(Number.isInteger(value) && value >= least && value <= most)) wrong(field, `must be a whole number, ${least}-${most}`);
}

export function checkConv(conv: string): void {
  if (!/^(u:[!-~]{1,64}|g:[!-~]{1,48})$/.test(conv)) wrong("conv", "must be u: and a user or g: and a group");
}

function checkName(field: string, name: string | undefined): void {
  if (name === undefined) return;
  if (!wellFormed(name) || !name || new TextEncoder().encode(name).length > 64) wrong(field, "must be 1-64 bytes of well-formed text");
}

/** Returns what goes with a message, in a copy and without what is undefined. */
export function checkSend(conv: string, { ttl, mentions, cid }: SendOptions): { ttl?: number; mentions?: readonly string[] } {
  checkConv(conv);
  checkName("cid", cid);
  if (ttl !== undefined) checkWhole("ttl", ttl, 1, 604_800);
  // Unlike every, from does not pass over what a list lacks.
  if (mentions && !(Array.isArray(mentions) && Array.from(mentions).every(wellFormed))) wrong("mentions", "must be a list of well-formed texts");
  return { ...(ttl !== undefined && { ttl }), ...(mentions && { mentions: [...mentions] }) };
}

export function checkWindow(conv: string, { size = 50, at = 1 }: { size?: number; at?: number }): void {
  checkConv(conv);
  checkWhole("size", size, 1, 100);
  if (!(at >= 1)) wrong("at", "must be a seq, from 1 on");
}

const events: Record<keyof Events, true> = {
  messages: true, sent: true, synced: true, readReport: true, readReceipt: true, recall: true, messagesDeleted: true,
  conversationDeleted: true, conversationChanged: true, blocked: true, groupEvent: true, presence: true, typing: true,
  skipped: true, kicked: true, storage: true, error: true,
};

export function checkEvent(name: string): void {
  if (!Object.hasOwn(events, name)) wrong("name", "must be one of " + Object.keys(events).join(", "));
}

export function checkPage({ limit = 1, before, after, range }: PageOptions): void {
  checkWhole("limit", limit, 1, 100);
  if ([before, after, range].filter((one) => one !== undefined).length > 1) wrong("before", "must not be given with after or range");
}

export function checkMessage({ conv, seq, id, time }: Message): void {
  checkConv(conv);
  checkWhole("seq", seq, 1, Number.MAX_SAFE_INTEGER);
  checkWhole("time", time, 0, Number.MAX_SAFE_INTEGER);
  if (!id) wrong("id", "must be set");
}
