/** Who leads: the tab that holds a Web Lock. The browser gives it to the next one when that tab closes or crashes. */

export interface Campaign {
  /**
   * Takes the lock from whoever holds it, before all that wait for it. For a holder
   * that was suspended without notice: it cannot give the lock back, and hears only
   * later that it has lost it.
   */
  steal(): void;
  /** Gives the lock back and asks for it no more. */
  end(): void;
}

/** How long to wait before a request for the lock that failed is made again. */
const RETRY_MS = 1000;

/**
 * Asks for the lock `name` and, while it is held, runs `lead`: the lock goes back when
 * that has settled, and is asked for again. `lost` aborts when the lock was taken away or
 * the campaign ends. `lead` may outlast that.
 */
export function campaign(name: string, lead: (lost: AbortSignal) => Promise<void>): Campaign {
  const end = new AbortController();
  const hold = async (options: LockOptions): Promise<boolean> => {
    const lost = new AbortController();
    const lose = () => lost.abort();
    let granted = false;
    try {
      await navigator.locks.request(name, options, () => {
        granted = true;
        if (end.signal.aborted) return;
        end.signal.addEventListener("abort", lose);
        return lead(lost.signal);
      });
    } catch {
      // stolen, ended while it waited, or locks are not to be had
    } finally {
      lose();
      end.signal.removeEventListener("abort", lose);
    }
    return granted;
  };
  void (async () => {
    while (!end.signal.aborted) {
      if (!(await hold({ signal: end.signal })) && !end.signal.aborted) await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  })();
  return {
    steal: () => void hold({ steal: true }),
    end: () => end.abort(),
  };
}
