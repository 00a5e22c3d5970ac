/** What went over the wire last, without bodies. */
import type { Trace as Exported } from "./api.ts";

/** The most frames that are kept; the oldest make room. */
const MAX_FRAMES = 500;

export interface Trace {
  add(direction: "in" | "out" | "", what: string, bytes: number): void;
  frames(): Exported["frames"];
}

export function newTrace(): Trace {
  const frames: Exported["frames"][number][] = [];
  return {
    add(direction, what, bytes) {
      frames.push([Date.now(), direction, what, bytes]);
      if (frames.length > MAX_FRAMES) frames.shift();
    },
    frames: () => [...frames],
  };
}
