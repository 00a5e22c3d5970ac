/** The in-memory WebSocket: what `fake.WebSocket` makes, and the server's end of it. */
import type { WebSocketConstructor, WebSocketLike } from "../api.ts";

/** The server's end of a connection. */
export interface Wire {
  readonly protocol: string;
  /** Sends a frame. */
  push(data: string | Uint8Array): void;
  /** Ends the connection, with a close frame; 1006 stands for none. */
  end(code: number, reason: string): void;
}

/** What the server does with a connection. */
export interface Listener {
  /** Whether to let a connection in, and by which subprotocol. */
  accept(protocols: readonly string[]): string | undefined;
  /** It is open. Returns what takes its frames, and its end. */
  open(wire: Wire): { frame(data: unknown): void; closed(): void };
}

type Handler = ((event: never) => void) | null;

function fire(handler: Handler, event: object): void {
  handler?.(event as never);
}

/**
 * A WebSocket class whose connections all lead to `listener`. Frames and events come as
 * microtasks, in order, so that a test that awaits needs no timers.
 */
export function fakeWebSocket(listener: Listener): WebSocketConstructor {
  return class FakeWebSocket implements WebSocketLike {
    static readonly CONNECTING = 0;
    static readonly OPEN = 1;
    static readonly CLOSING = 2;
    static readonly CLOSED = 3;
    binaryType = "blob";
    readonly bufferedAmount = 0;
    protocol = "";
    readyState = 0;
    onopen: Handler = null;
    onmessage: Handler = null;
    onclose: Handler = null;
    onerror: Handler = null;
    #server: ReturnType<Listener["open"]> | undefined;

    constructor(
      readonly url: string,
      protocols: string[] = [],
    ) {
      queueMicrotask(() => {
        if (this.readyState !== 0) return this.#closed(1006, "");
        const protocol = listener.accept(protocols);
        if (protocol === undefined) {
          fire(this.onerror, { type: "error" });
          return this.#closed(1006, "");
        }
        this.protocol = protocol;
        this.readyState = 1;
        this.#server = listener.open({
          protocol,
          push: (data) => queueMicrotask(() => {
            if (this.readyState === 1) fire(this.onmessage, { data: this.#received(data) });
          }),
          end: (code, reason) => queueMicrotask(() => this.#closed(code, reason)),
        });
        fire(this.onopen, { type: "open" });
      });
    }

    send(data: string | Uint8Array<ArrayBuffer>): void {
      if (this.readyState === 0) throw new Error("InvalidStateError: still connecting");
      const sent = typeof data === "string" ? data : data.slice();
      queueMicrotask(() => {
        if (this.readyState === 1) this.#server?.frame(sent);
      });
    }

    close(code = 1000, reason = ""): void {
      if (this.readyState >= 2) return;
      this.readyState = 2;
      queueMicrotask(() => this.#closed(code, reason));
    }

    #received(data: string | Uint8Array): unknown {
      return typeof data === "string" || this.binaryType !== "arraybuffer" ? data : data.slice().buffer;
    }

    #closed(code: number, reason: string): void {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.#server?.closed();
      fire(this.onclose, { code, reason, wasClean: code !== 1006 });
    }
  };
}
