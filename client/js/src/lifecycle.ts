/**
 * A page's life: looked at or not, and suspended, frozen in place or kept in the
 * back-forward cache.
 *
 * A suspended page runs no timers, but it keeps its locks, and frozen in place it even
 * answers messages of other tabs. So it has to let go of everything in the event that
 * tells it; that also lets it into the back-forward cache.
 */

export interface Lifecycle {
  /** The page is being suspended or left: what is not done when this returns may never be. */
  suspend(): void;
  /** The page goes on. Also called when it was not suspended. */
  resume(): void;
  /** Whether anybody can see the page, whenever that changes. */
  visible(now: boolean): void;
  /** There is a network again. */
  online(): void;
}

/** Watches the page until the returned function is called. Where there is none (Node, React Native) nothing ever happens. */
export function watchPage(on: Lifecycle): () => void {
  if (typeof document === "undefined") return () => {};
  const seen = () => on.visible(isVisible());
  const events: [EventTarget, string, () => void][] = [
    [document, "freeze", on.suspend],
    [document, "resume", on.resume],
    [globalThis, "pagehide", on.suspend],
    [globalThis, "pageshow", on.resume],
    [globalThis, "online", on.online],
    [document, "visibilitychange", seen],
  ];
  for (const [target, name, fn] of events) target.addEventListener(name, fn);
  return () => {
    for (const [target, name, fn] of events) target.removeEventListener(name, fn);
  };
}

export function isVisible(): boolean {
  return typeof document === "undefined" || document.visibilityState !== "hidden";
}
