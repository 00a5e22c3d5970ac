/** The package `ws` has no types of its own; tests hand its class to the client. */
declare module "ws" {
  export const WebSocket: import("../src/api.ts").WebSocketConstructor;
}
