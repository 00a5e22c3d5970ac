/** One connection to the fake server: its frames, its delivery numbers and its window. */
import type { Message } from "../wire.ts";

/** Frames of messages that a session may leave unacked; more wait for its acks. */
const window = 256;
/** Messages of one onNewMessage. */
const maxMessages = 100;

export interface Cursors {
  readonly cursor?: string;
  readonly groupCursors?: Readonly<Record<string, string>>;
}

export interface Session {
  readonly number: number;
  readonly user: string;
  readonly device: string;
  readonly autoRead: boolean;
  /** When its token expires, by the fake's clock; Infinity = never. */
  expires: number;
  /** Groups of kind `live` that it is in. */
  readonly live: Set<string>;
  /** Pushes a frame that is no onNewMessage. */
  push(op: string, args: object): void;
  /** Pushes messages, as many frames as it takes; the cursors come with the last one. */
  messages(list: readonly Message[], cursors: Cursors): void;
  /** All frames up to d are held. Calls `read` with the one-to-one messages that are acked only now. */
  ack(d: number, read: (messages: readonly Message[]) => void): void;
  close(code: number, reason: string): void;
}

export interface SessionOptions {
  readonly number: number;
  readonly user: string;
  readonly device: string;
  readonly autoRead: boolean;
  readonly expires: number;
  send(frame: object): void;
  close(code: number, reason: string): void;
}

export function newSession({ send, close, ...rest }: SessionOptions): Session {
  let d = 0;
  let acked = 0;
  const unacked: { d: number; messages: readonly Message[] }[] = [];
  /** Frames that wait for acks, and whatever was to follow them. */
  let waiting: { op: string; args: object; messages?: readonly Message[] }[] = [];

  const write = (frame: (typeof waiting)[number]): void => {
    if (frame.messages === undefined) return send({ op: frame.op, args: frame.args });
    d++;
    unacked.push({ d, messages: frame.messages });
    send({ op: frame.op, args: { d, messages: frame.messages, ...frame.args } });
  };
  const flush = (): void => {
    while (waiting.length > 0 && d - acked < window) {
      const next = waiting.shift();
      if (next !== undefined) write(next);
    }
  };
  const queue = (frame: (typeof waiting)[number]): void => {
    waiting.push(frame);
    flush();
  };

  return {
    ...rest,
    live: new Set(),
    push: (op, args) => queue({ op, args }),
    messages(list, cursors) {
      for (let i = 0; i < list.length; i += maxMessages) {
        const last = i + maxMessages >= list.length;
        queue({ op: "onNewMessage", args: last ? cursors : {}, messages: list.slice(i, i + maxMessages) });
      }
    },
    ack(upTo, read) {
      while (unacked[0] !== undefined && unacked[0].d <= upTo) {
        const frame = unacked.shift();
        if (frame !== undefined) read(frame.messages);
      }
      acked = Math.max(acked, Math.min(upTo, d));
      flush();
    },
    close(code, reason) {
      waiting = [];
      close(code, reason);
    },
  };
}
