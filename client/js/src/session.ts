/** One WebSocket to the server: requests with their replies, and pushes. */
import { BelfryError, type WebSocketConstructor, type WebSocketLike } from "./api.ts";
import type { Trace } from "./trace.ts";
import { abortable, aborted } from "./wait.ts";
import type { Codec, ServerFrame } from "./wire.ts";

/** For connecting and logging in, each. */
const CONNECT_MS = 10_000;
/** A server silent for so long is pinged, and must answer within PONG_MS. */
const PING_MS = 25_000;
const PONG_MS = 10_000;
/** The most bytes that may wait in the socket before requests are refused as `rate_limited`. */
const MAX_BUFFERED = 4 << 20;

export type Push = Extract<ServerFrame, { op: string }>;

export interface Ended {
  /** The WebSocket's close code; 1006 if the connection broke. */
  readonly code: number;
  readonly reason: string;
}

export interface Session {
  /**
   * Rejects with the server's refusal, with `too_large` if the frame is, with `offline`
   * (and `unknown`) when the session ends before the answer, or with `aborted`.
   * `answered` is called with what the server answers before any later push is handed
   * on, also if nobody waits for it any more.
   */
  request(op: string, args: object, signal?: AbortSignal, answered?: (ok: unknown) => void): Promise<unknown>;
  /** Sends a frame that has no reply; does nothing once the session has ended. */
  notify(op: string, args: object): void;
  /** Sets the bytes that a frame may have. */
  limit(maxFrame: number): void;
  close(code?: number, reason?: string): void;
  readonly ended: Promise<Ended>;
}

interface Waiting {
  resolve(ok: unknown): void;
  reject(err: BelfryError): void;
}

export interface Dial {
  readonly url: string;
  readonly codec: Codec;
  readonly WebSocket: WebSocketConstructor;
  readonly trace: Trace;
  /** Ends the session, also before it is open. */
  readonly signal: AbortSignal;
  onPush(push: Push): void;
}

/** Opens a session. Rejects with `offline` if it cannot within 10 s. */
export function dial({ url, codec, WebSocket, trace, signal, onPush }: Dial): Promise<Session> {
  let socket: WebSocketLike;
  try {
    socket = new WebSocket(url, [codec.protocol]);
  } catch (cause) {
    return Promise.reject(new BelfryError("bad_request", `url: ${String(cause)}`, { cause }));
  }
  socket.binaryType = "arraybuffer";
  const waiting = new Map<number, Waiting>();
  let lastID = 0;
  let maxFrame = 32 << 10; // until the login says more
  let heard = Date.now();
  let asked = false; // nothing was heard since a ping
  let silent: ReturnType<typeof setTimeout> | undefined;
  let over: ((ended: Ended) => void) | undefined;
  const ended = new Promise<Ended>((resolve) => (over = resolve));

  const end = (code: number, reason: string) => {
    if (!over) return;
    clearInterval(watch);
    clearTimeout(silent);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {};
    for (const { reject } of waiting.values()) reject(new BelfryError("offline", "the connection ended", { unknown: true }));
    waiting.clear();
    trace.add("", `close ${code}`, 0);
    over({ code, reason });
    over = undefined;
  };
  const close = (code = 1000, reason = "") => {
    end(code, reason);
    try {
      socket.close(code, reason);
    } catch {
      // It was never open.
    }
  };
  const write = (op: string, args: object, id?: number) => {
    const data = encoded(codec, id === undefined ? { op, args } : { id, op, args });
    const bytes = typeof data === "string" ? new TextEncoder().encode(data).length : data.length;
    if (bytes > maxFrame) throw new BelfryError("too_large", `${op}: ${bytes} bytes, the most are ${maxFrame}`);
    if (socket.bufferedAmount > MAX_BUFFERED) throw new BelfryError("rate_limited", `${op}: too much waits`, { retryAfterMs: 1000 });
    trace.add("out", op, bytes);
    socket.send(data as string);
  };

  const session: Session = {
    ended,
    close,
    limit: (bytes) => (maxFrame = bytes),
    notify(op, args) {
      if (over) write(op, args);
    },
    request(op, args, signal, answered) {
      if (signal?.aborted) return Promise.reject(aborted());
      if (!over) return Promise.reject(new BelfryError("offline"));
      const id = ++lastID;
      const answer = new Promise((resolve, reject) => {
        write(op, args, id); // what it throws, this promise rejects with
        const take = (ok: unknown) => {
          answered?.(ok);
          resolve(ok);
        };
        waiting.set(id, { resolve: take, reject });
      });
      return abortable(answer, signal);
    },
  };

  const receive = (data: unknown) => {
    heard = Date.now();
    asked = false;
    let frame: ServerFrame;
    try {
      frame = codec.decode(data);
    } catch {
      return close(4400, "malformed frame");
    }
    const bytes = typeof data === "string" ? data.length : (data as ArrayBuffer).byteLength;
    if ("op" in frame) {
      trace.add("in", frame.op, bytes);
      return onPush(frame);
    }
    const entry = waiting.get(frame.id);
    waiting.delete(frame.id);
    if ("err" in frame) {
      const { code, message, retryAfterMs } = frame.err;
      trace.add("in", code, bytes);
      entry?.reject(new BelfryError(code, message, { retryAfterMs }));
    } else {
      trace.add("in", "ok", bytes);
      entry?.resolve(frame.ok);
    }
  };

  const watch = setInterval(() => {
    if (Date.now() - heard < PING_MS) return;
    asked = true; // also if it cannot be written because so much waits already
    silent = setTimeout(() => asked && close(4408, "no sign of life"), PONG_MS);
    session.request("ping", {}).catch(() => {});
  }, PING_MS);

  return new Promise((resolve, reject) => {
    const late = setTimeout(() => close(4408, "it did not open in time"), CONNECT_MS);
    const stop = () => close();
    signal.addEventListener("abort", stop);
    void ended.then(({ code, reason }) => {
      clearTimeout(late);
      signal.removeEventListener("abort", stop);
      reject(new BelfryError("offline", `cannot connect: ${reason || code}`));
    });
    socket.onopen = () => {
      clearTimeout(late);
      heard = Date.now();
      if (socket.protocol !== codec.protocol) close(4400, `the server does not speak ${codec.protocol}`);
      else resolve(session);
    };
    socket.onmessage = (event: { data: unknown }) => receive(event.data);
    socket.onclose = (event: Ended) => end(event.code, event.reason);
    socket.onerror = () => end(1006, "the connection failed");
    if (signal.aborted) close();
  });
}

/** Rejects as the server would what can be written in no frame: it is not the connection's fault. */
function encoded(codec: Codec, frame: object): string | Uint8Array {
  try {
    return codec.encode(frame);
  } catch (cause) {
    throw new BelfryError("bad_request", `no frame: ${String(cause)}`, { cause });
  }
}
