/** The page of the harness's own tests. */

export function twice(n: number): number {
  return 2 * n;
}

export async function fail(): Promise<never> {
  throw new Error("this page fails");
}

export const remember = (text: string) => localStorage.setItem("text", text);
export const remembered = () => localStorage.getItem("text");

/** Tells other tabs of the storage, over a channel, that this one is there. */
export function greet(): void {
  const channel = new BroadcastChannel("probe");
  channel.onmessage = ({ data }) => {
    if (data === "who is there?") channel.postMessage("me");
    if (data === "me") others++;
  };
  channel.postMessage("who is there?");
}

let others = 0;
export const othersSeen = () => others;
