/** Tabs talking to each other: news for all, and calls of one to another with an answer. */
import { BelfryError } from "./api.ts";
import { type Failure, fromFailure, toFailure } from "./link.ts";
import { abortable } from "./wait.ts";

export interface Channel<News> {
  /** Tells all other tabs, in order. */
  tell(news: News): void;
  /**
   * Asks one other tab, and waits for as long as it takes: a tab that is gone does not
   * answer. Rejects with the other's error, with `aborted`, or with what `drop` is given.
   */
  call(to: string, method: string, args: unknown, signal?: AbortSignal): Promise<unknown>;
  /** Gives up the calls to a tab. Their outcome is not known. */
  drop(to: string): void;
  /** Gives up all calls and hears nothing more. */
  close(): void;
}

export interface Receiver<News> {
  news(news: News, from: string): void;
  /** Answers a call. Its signal aborts when the caller does not want the answer any more. */
  serve(method: string, args: unknown, signal: AbortSignal, from: string): Promise<unknown>;
}

/** What goes over the BroadcastChannel. Without `to` it is for all. */
type Packet<News> = { readonly from: string; readonly to?: string } & (
  | { readonly news: News }
  | { readonly call: number; readonly method: string; readonly args: unknown }
  | { readonly abort: number }
  | { readonly answer: number; readonly ok?: unknown; readonly failure?: Failure }
);

/** What a call rejects with when its answer will not come. */
export const unanswered = () => new BelfryError("offline", "the tab that was asked is gone", { unknown: true });

/** Opens the channel `name` as the tab `id`. */
export function openChannel<News>(name: string, id: string, receiver: Receiver<News>): Channel<News> {
  const channel = new BroadcastChannel(name);
  const asked = new Map<number, { to: string; resolve(ok: unknown): void; reject(err: BelfryError): void }>();
  const serving = new Map<string, AbortController>();
  let calls = 0;

  const post = (packet: Packet<News>) => channel.postMessage(packet);
  const drop = (to?: string) => {
    for (const call of asked.values()) if (to === undefined || call.to === to) call.reject(unanswered());
  };
  const serve = async (from: string, call: number, method: string, args: unknown) => {
    const abort = new AbortController();
    const key = `${from} ${call}`;
    serving.set(key, abort);
    let answer: { ok: unknown } | { failure: Failure };
    try {
      answer = { ok: await receiver.serve(method, args, abort.signal, from) };
    } catch (err) {
      answer = { failure: toFailure(err) };
    }
    // Nobody serves any more after close, nor what was aborted.
    if (serving.delete(key) && !abort.signal.aborted) post({ from: id, to: from, answer: call, ...answer });
  };
  channel.onmessage = ({ data }: MessageEvent<Packet<News>>) => {
    if (data.to !== undefined && data.to !== id) return;
    if ("news" in data) receiver.news(data.news, data.from);
    else if ("call" in data) void serve(data.from, data.call, data.method, data.args);
    else if ("abort" in data) serving.get(`${data.from} ${data.abort}`)?.abort();
    else if (data.failure) asked.get(data.answer)?.reject(fromFailure(data.failure));
    else asked.get(data.answer)?.resolve(data.ok);
  };

  return {
    tell: (news) => post({ from: id, news }),
    async call(to, method, args, signal) {
      const call = ++calls;
      post({ from: id, to, call, method, args });
      const answer = new Promise((resolve, reject) => asked.set(call, { to, resolve, reject }));
      const abort = () => post({ from: id, to, abort: call });
      signal?.addEventListener("abort", abort);
      return abortable(answer, signal).finally(() => {
        asked.delete(call);
        signal?.removeEventListener("abort", abort);
      });
    },
    drop,
    close() {
      drop();
      serving.clear();
      channel.close();
    },
  };
}
