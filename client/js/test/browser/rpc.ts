/** Calls and events over a WebSocket: what the Chrome DevTools Protocol and WebDriver BiDi have in common. */

import { createRequire } from "node:module";

interface Socket {
  send(text: string): void;
  terminate(): void;
  on(event: "open" | "close", fn: () => void): void;
  on(event: "error", fn: (err: Error) => void): void;
  on(event: "message", fn: (data: Buffer) => void): void;
}
// Node 20 has no WebSocket of its own, and the package ws brings no types.
const { WebSocket } = createRequire(import.meta.url)("ws") as {
  WebSocket: new (url: string, options: { maxPayload: number; perMessageDeflate: boolean }) => Socket;
};

export type Params = Readonly<Record<string, unknown>>;

export interface Rpc {
  /** Resolves to the result. Rejects with what the browser says, and when the connection ends. */
  call<T = Params>(method: string, params?: Params, sessionId?: string): Promise<T>;
  on(method: string, fn: (params: Params, sessionId: string | undefined) => void): void;
  close(): void;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Params;
  readonly sessionId?: string;
  readonly result?: unknown;
  /** An object in the Chrome DevTools Protocol, a word in BiDi. */
  readonly error?: { readonly message: string } | string;
  readonly message?: string;
}

export function connect(url: string): Promise<Rpc> {
  const socket = new WebSocket(url, { maxPayload: 256 << 20, perMessageDeflate: false });
  const waiting = new Map<number, { resolve(result: unknown): void; reject(err: Error): void; method: string }>();
  const listeners = new Map<string, ((params: Params, sessionId: string | undefined) => void)[]>();
  let lastId = 0;
  let ended = false;

  const rpc: Rpc = {
    call: <T>(method: string, params: Params = {}, sessionId?: string) =>
      new Promise<T>((resolve, reject) => {
        if (ended) {
          reject(new Error(`${method}: the browser's connection has ended`));
          return;
        }
        const id = ++lastId;
        waiting.set(id, { resolve: (result) => resolve(result as T), reject, method });
        socket.send(JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) }));
      }),
    on(method, fn) {
      listeners.set(method, [...(listeners.get(method) ?? []), fn]);
    },
    close: () => socket.terminate(),
  };

  socket.on("message", (data) => {
    const m = JSON.parse(data.toString()) as Message;
    if (m.id === undefined) {
      for (const fn of listeners.get(m.method ?? "") ?? []) fn(m.params ?? {}, m.sessionId);
      return;
    }
    const call = waiting.get(m.id);
    waiting.delete(m.id);
    if (m.error === undefined) call?.resolve(m.result);
    else call?.reject(new Error(`${call.method}: ${typeof m.error === "string" ? `${m.error}: ${m.message}` : m.error.message}`));
  });
  return new Promise((resolve, reject) => {
    socket.on("open", () => resolve(rpc));
    socket.on("error", reject);
    socket.on("close", () => {
      ended = true;
      for (const { reject, method } of waiting.values()) reject(new Error(`${method}: the browser's connection has ended`));
      waiting.clear();
    });
  });
}
