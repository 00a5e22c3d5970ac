/** A TCP relay before the server: it counts sockets, sees which are in use, and cuts the network. */

import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface Relay {
  /** The server's WebSocket address by way of the relay. */
  readonly url: string;
  /** How many connections there were in all. */
  connections(): number;
  /** How many are open. */
  open(): number;
  /**
   * Frames of clients on a connection after another one had sent its first: 0 as
   * long as never two were in use. Close frames are not counted.
   */
  late(): number;
  /** Breaks all connections and takes no new ones, until `heal`. */
  cut(): void;
  heal(): void;
  close(): Promise<void>;
}

/** Relays to a WebSocket's address. */
export async function relayTo(target: string): Promise<Relay> {
  const { hostname, port, pathname } = new URL(target);
  const open = new Set<Socket>();
  let connections = 0;
  let late = 0;
  let latest = 0; // the connection that sent a frame last came as which
  let down = false;
  const server = createServer((from) => {
    if (down) return void from.destroy();
    const number = ++connections;
    const to = connect(Number(port), hostname);
    let chunks = 0;
    open.add(from);
    from.on("data", (chunk: Buffer) => {
      // The first chunk is the request for the WebSocket; 0x88 begins a close frame.
      if (chunks++ === 0 || chunk[0] === 0x88) return;
      if (number < latest) late++;
      latest = Math.max(latest, number);
    });
    from.pipe(to).pipe(from);
    for (const socket of [from, to]) {
      socket.on("error", () => {}).on("close", () => {
        open.delete(from);
        from.destroy();
        to.destroy();
      });
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}${pathname}`,
    connections: () => connections,
    open: () => open.size,
    late: () => late,
    cut() {
      down = true;
      for (const socket of open) socket.destroy();
    },
    heal: () => void (down = false),
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        for (const socket of open) socket.destroy();
      }),
  };
}
