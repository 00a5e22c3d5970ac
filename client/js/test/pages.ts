/**
 * Pages of one browser in one process, for tests of what tabs do together: each has
 * its own document, and they share locks and channels. What a page runs is known by
 * its asynchronous context.
 *
 * As in Chromium, a page that is frozen keeps its locks and hears its channels; one that
 * hangs keeps its locks and hears nothing until it goes on; one that crashed has let go of everything.
 */
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import { vi } from "vitest";

export interface Page {
  /** Runs a function in the page. */
  run<T>(fn: () => T): T;
  show(visible: boolean): void;
  freeze(): void;
  thaw(): void;
  hide(): void;
  hang(): void;
  goOn(): void;
  crash(): void;
  readonly name: string;
}

interface Inside {
  readonly name: string;
  visible: boolean;
  hangs: boolean;
  gone: boolean;
  /** What happens when it goes on: first what others said, then that it has lost a lock. No browser promises an order. */
  readonly later: (() => void)[];
  readonly lost: (() => void)[];
  readonly events: EventTarget;
}

interface Request {
  readonly page: Inside;
  readonly callback: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (err: unknown) => void;
}

const here = new AsyncLocalStorage<Inside>();
const inside = (): Inside => here.getStore() ?? { name: "none", visible: true, hangs: false, gone: false, later: [], lost: [], events: new EventTarget() };

/** Does something in a page, when it can. */
function at(page: Inside, fn: () => void): void {
  if (page.gone) return;
  if (page.hangs) page.later.push(fn);
  else here.run(page, fn);
}

/** Replaces the globals of a browser, until `vi.unstubAllGlobals` and `vi.useRealTimers`. Timers are vitest's. */
export function browser(): { page(name: string): Page; holder(lock: string): string | undefined } {
  const held = new Map<string, Request>();
  const queued = new Map<string, Request[]>();
  const channels = new Set<Channel>();

  const grant = (name: string) => {
    const next = queued.get(name)?.[0];
    if (!next || held.has(name)) return;
    queued.get(name)!.shift();
    start(name, next);
  };
  const start = (name: string, request: Request) => {
    held.set(name, request);
    at(request.page, () => {
      const ran = (async () => request.callback())();
      void ran.then(request.resolve, request.reject).finally(() => {
        if (held.get(name) !== request) return;
        held.delete(name);
        grant(name);
      });
    });
  };
  const locks = {
    request(name: string, ...rest: [() => unknown] | [{ signal?: AbortSignal; steal?: boolean }, () => unknown]) {
      const callback = rest.at(-1) as () => unknown;
      const options = rest.length === 2 ? (rest[0] as { signal?: AbortSignal; steal?: boolean }) : {};
      const page = inside();
      return new Promise<unknown>((resolve, reject) => {
        const aborted = (why: string) => new DOMException(why, "AbortError");
        if (options.signal?.aborted) return reject(aborted("aborted"));
        const request = { page, callback, resolve, reject };
        const queue = queued.get(name) ?? [];
        queued.set(name, queue);
        options.signal?.addEventListener("abort", () => {
          const i = queue.indexOf(request);
          if (i >= 0) queue.splice(i, 1);
          if (i >= 0) reject(aborted("aborted"));
        });
        // The browser is another process: nothing is granted at once.
        queueMicrotask(() => {
          if (options.steal) {
            const victim = held.get(name);
            held.delete(name);
            const tell = () => victim?.reject(aborted("stolen"));
            if (victim?.page.hangs) victim.page.lost.push(tell);
            else tell();
            start(name, request);
          } else if (!options.signal?.aborted) {
            queue.push(request);
            grant(name);
          }
        });
      });
    },
  };

  class Channel {
    onmessage: ((event: { data: unknown }) => void) | null = null;
    readonly #page = inside();
    #open = true;
    constructor(readonly name: string) {
      channels.add(this);
    }
    postMessage(data: unknown): void {
      if (!this.#open) throw new DOMException("closed", "InvalidStateError");
      const copy = structuredClone(data);
      for (const other of channels) {
        if (other === this || other.name !== this.name) continue;
        queueMicrotask(() =>
          at(other.#page, () => {
            if (other.#open) other.onmessage?.({ data: structuredClone(copy) });
          }),
        );
      }
    }
    close(): void {
      this.#open = false;
      channels.delete(this);
    }
  }

  vi.useFakeTimers();
  for (const name of ["setTimeout", "setInterval"] as const) {
    const plain = globalThis[name] as unknown as (fn: () => void, ...rest: unknown[]) => unknown;
    const within = (fn: (...args: unknown[]) => void, ms: number, ...args: unknown[]) => {
      const page = inside();
      const run = AsyncResource.bind(fn);
      // A page that hangs runs its interval's function once when it goes on, however many were due.
      let due = false;
      return plain(() => {
        if (page.hangs && due) return;
        due = page.hangs;
        at(page, () => ((due = false), run(...args)));
      }, ms);
    };
    vi.stubGlobal(name, within);
  }
  vi.stubGlobal("navigator", { locks });
  vi.stubGlobal("BroadcastChannel", Channel);
  const listen = {
    addEventListener: (name: string, fn: () => void) => inside().events.addEventListener(name, fn),
    removeEventListener: (name: string, fn: () => void) => inside().events.removeEventListener(name, fn),
  };
  vi.stubGlobal("document", {
    ...listen,
    get visibilityState() {
      return inside().visible ? "visible" : "hidden";
    },
  });
  vi.stubGlobal("addEventListener", listen.addEventListener);
  vi.stubGlobal("removeEventListener", listen.removeEventListener);

  const release = (page: Inside) => {
    for (const queue of queued.values()) {
      for (const request of queue.filter((r) => r.page === page)) queue.splice(queue.indexOf(request), 1);
    }
    for (const [name, request] of [...held]) {
      if (request.page !== page) continue;
      held.delete(name);
      grant(name);
    }
  };
  return {
    holder: (lock) => held.get(lock)?.page.name,
    page(name) {
      const page: Inside = { name, visible: true, hangs: false, gone: false, later: [], lost: [], events: new EventTarget() };
      const fire = (event: string) => at(page, () => page.events.dispatchEvent(new Event(event)));
      return {
        name,
        run: (fn) => here.run(page, fn),
        show(visible) {
          page.visible = visible;
          fire("visibilitychange");
        },
        freeze: () => fire("freeze"),
        thaw: () => fire("resume"),
        hide: () => fire("pagehide"),
        hang: () => void (page.hangs = true),
        goOn() {
          page.hangs = false;
          for (const fn of page.later.splice(0)) at(page, fn);
          // What the others said has had its effect by then.
          setTimeout(() => page.lost.splice(0).forEach((fn) => at(page, fn)));
        },
        crash() {
          page.gone = true;
          release(page);
        },
      };
    },
  };
}
