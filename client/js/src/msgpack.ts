/** The msgpack codec: smaller frames, binary without base64. Exported as `@belfry/client/msgpack`. */
import { decode, encode } from "@msgpack/msgpack";
import type { Codec, ServerFrame } from "./wire.ts";

/** Returns the codec for the option `codec` of createClient. */
export function msgpack(): Codec {
  return {
    protocol: "belfry.v1.msgpack",
    encode: (frame) => encode(frame, { useBigInt64: true, ignoreUndefined: true }),
    decode(data) {
      if (!(data instanceof ArrayBuffer)) throw new Error("a text frame");
      return narrow(decode(data, { useBigInt64: true })) as ServerFrame;
    },
  };
}

/** Makes numbers of integers that are below 2^53 but came in 64 bits, as times do. */
function narrow(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  // Of the frame's own buffer, which would stay as long as its smallest part.
  if (value instanceof Uint8Array) return value.slice();
  if (Array.isArray(value)) return value.map(narrow);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, narrow(field)]));
}
