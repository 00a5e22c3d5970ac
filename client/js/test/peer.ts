/** The other end of a client in tests that play the server by hand: sockets without a network. */
import type { WebSocketConstructor, WebSocketLike } from "../src/api.ts";
// Loaded before any test sets the clock: a client loads them when it is made.
import "../src/engine.ts";
import "../src/lead.ts";
import "../src/told.ts";
import { json } from "../src/json.ts";

type Args = Record<string, unknown>;
export interface Request {
  readonly id?: number;
  readonly op: string;
  readonly args: Args;
}

/** One connection, seen from the server. */
export interface Peer {
  push(op: string, args: Args): void;
  close(code: number, reason?: string): void;
  /** Answers a request that `answer` left open. */
  reply(id: number, answer: { ok: unknown } | { err: { code: string; message?: string; retryAfterMs?: number } }): void;
  readonly requests: readonly Request[];
}

/** What a request gets: an `ok`, an error, or undefined for no answer now. */
export type Answer = (request: Request, peer: Peer) => { ok: unknown } | { err: { code: string; message?: string; retryAfterMs?: number } } | undefined;

/** Options of a client whose server is `answer`. Frames are handed over as text, each in a microtask of its own. */
export function playServer(answer: Answer): { WebSocket: WebSocketConstructor; peers: Peer[]; refuse: { connections: boolean } } {
  const peers: Peer[] = [];
  const refuse = { connections: false };
  class Socket implements WebSocketLike {
    binaryType = "";
    bufferedAmount = 0;
    protocol = "belfry.v1.json";
    onopen: ((event: never) => void) | null = null;
    onmessage: ((event: never) => void) | null = null;
    onclose: ((event: never) => void) | null = null;
    onerror: ((event: never) => void) | null = null;
    #open = true;
    #requests: Request[] = [];
    readonly #peer: Peer = {
      requests: this.#requests,
      push: (op, args) => this.#deliver({ op, args }),
      reply: (id, reply) => this.#deliver({ id, ...reply }),
      close: (code, reason = "") => queueMicrotask(() => this.#end(code, reason)),
    };
    constructor() {
      queueMicrotask(() => {
        if (refuse.connections) return this.#end(1006, "refused");
        peers.push(this.#peer);
        this.onopen?.({} as never);
      });
    }
    #deliver(frame: object) {
      const text = json.encode(frame) as string;
      queueMicrotask(() => this.#open && this.onmessage?.({ data: text } as never));
    }
    #end(code: number, reason: string) {
      if (!this.#open) return;
      this.#open = false;
      this.onclose?.({ code, reason } as never);
    }
    send(data: string | Uint8Array) {
      if (!this.#open) return;
      const request = json.decode(data) as unknown as Request;
      this.#requests.push(request);
      const reply = answer(request, this.#peer);
      if (reply && request.id !== undefined) this.#peer.reply(request.id, reply);
    }
    close(code = 1000) {
      queueMicrotask(() => this.#end(code, ""));
    }
  }
  return { WebSocket: Socket, peers, refuse };
}

export const limits = { maxBody: 12288, maxFrame: 90112, window: 256, idleMs: 60000 };

/** The reply to a login of this user. */
export const loginOK = (user: string) => ({ ok: { user, session: 1, serverTime: Date.now(), protocol: 1, limits } });

export const synced = (more: Args = {}): Args => ({
  offline: 0, lost: [], cursor: "c", unreadTotal: 0, unreadUnmuted: 0, groups: [], conversations: [], ...more,
});
