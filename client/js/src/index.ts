/** The client of Belfry: local storage, an outbox, gap filling and views, over one WebSocket. */
export * from "./api.ts";
export type * from "./wire.ts";
export type * from "./link.ts";
export * from "./store.ts";
export { createClient } from "./client.ts";
export { typingView } from "./typing.ts";
