// node.mjs CLIENT BASE runs the scenario with one client in Node: ws, undici, or
// node for the one that Node brings along.

import { scenario } from "./scenario.mjs";

const [client, base] = process.argv.slice(2);
const clients = {
  ws: async () => (await import("ws")).WebSocket,
  undici: async () => (await import("undici")).WebSocket,
  node: async () => globalThis.WebSocket,
};
await scenario(await clients[client](), base);
process.exit(0); // whatever a client keeps open
