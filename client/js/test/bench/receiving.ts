/** What is measured of receiving, with a client that is made for it. Runs in Node and in browsers. */

import type { ClientOptions } from "../../src/api.ts";
import { createClient } from "../../src/client.ts";

/** How many messages wait at the login. */
export const backlog = 10_000;

/** Logs in as a new device and waits for the whole backlog. Returns milliseconds. */
export async function receive(options: Omit<ClientOptions, "token"> & { readonly token: string }): Promise<number> {
  let got = 0;
  const began = performance.now();
  const client = createClient({ ...options, token: async () => options.token, manualRead: true });
  client.on("messages", (list) => void (got += list.length));
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      if (got < backlog || !client.status.getSnapshot().synced) return;
      clearInterval(timer);
      resolve();
    }, 5);
  });
  const ms = performance.now() - began;
  await client.close();
  return ms;
}
