/** A device that speaks frames, without the SDK: what tests compare servers by. */
import type { WebSocketConstructor, WebSocketLike } from "../src/api.ts";
import { json } from "../src/json.ts";

/** Milliseconds after which something has not come. */
const patience = 60_000;

export interface Push {
  readonly op: string;
  readonly args: Record<string, unknown>;
}

export type Reply = { readonly ok: Record<string, unknown> } | { readonly err: { readonly code: string } };

export class Device {
  #socket: WebSocketLike;
  #id = 0;
  #replies = new Map<number, (reply: Reply) => void>();
  #taken = 0;
  /** All pushes so far. */
  readonly pushes: Push[] = [];
  closed: { readonly code: number; readonly reason: string } | undefined;
  #changed: (() => void)[] = [];

  private constructor(socket: WebSocketLike) {
    this.#socket = socket;
    socket.onmessage = (event: { data: unknown }) => {
      const frame = json.decode(event.data) as unknown as { id?: number; op?: string; args?: Record<string, unknown> } & Reply;
      if (frame.op !== undefined) this.pushes.push({ op: frame.op, args: frame.args ?? {} });
      else this.#replies.get(frame.id ?? 0)?.(frame);
      this.#wake();
    };
    socket.onclose = (event: { code: number; reason: string }) => {
      this.closed = { code: event.code, reason: event.reason };
      this.#wake();
    };
    socket.onerror = () => undefined;
  }

  static async connect(WebSocket: WebSocketConstructor, url: string): Promise<Device> {
    const socket = new WebSocket(url, [json.protocol]);
    await new Promise<void>((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onclose = () => reject(new Error("not connected"));
      socket.onerror = () => undefined;
    });
    return new Device(socket);
  }

  #wake(): void {
    for (const fn of this.#changed.splice(0)) fn();
  }

  /** Resolves when `is` is true of what came so far. */
  async until(what: string, is: () => boolean): Promise<void> {
    const failed = new Promise<"late">((resolve) => setTimeout(resolve, patience, "late").unref());
    while (!is()) {
      const changed = new Promise<"changed">((resolve) => this.#changed.push(() => resolve("changed")));
      if ((await Promise.race([changed, failed])) === "late") throw new Error(`not in time: ${what}`);
    }
  }

  notice(op: string, args: object): void {
    this.#socket.send(json.encode({ op, args }) as string);
  }

  request(op: string, args: object = {}): Promise<Reply> {
    const id = ++this.#id;
    this.#socket.send(json.encode({ id, op, args }) as string);
    return new Promise((resolve) => this.#replies.set(id, resolve));
  }

  /** The pushes that no call has returned yet. */
  take(): Push[] {
    const from = this.#taken;
    this.#taken = this.pushes.length;
    return this.pushes.slice(from);
  }

  close(): void {
    this.#socket.close();
  }
}
