/**
 * The JSON codec. Integers beyond 2^53 are bigint, and floats of that size are
 * written with a fraction so that they come back as floats; binary is `{"$bin": base64}`.
 */
import type { Codec, ServerFrame } from "./wire.ts";

/** What stands before the digits of a bigint while a frame is parsed: no text of a user can begin so. */
const mark = `${Math.random()}${Math.random()}:`;

const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

export const json: Codec = {
  protocol: "belfry.v1.json",
  encode: (frame) => write(frame),
  decode(data) {
    let text = String(data);
    // Numbers that long are rare, and so are frames that need the slow way.
    const long = /\d{16}/.test(text);
    if (long) {
      text = text.replace(tokens, (token) =>
        token[0] === '"' || /[.eE]/.test(token) || Number.isSafeInteger(Number(token)) ? token : `"${mark}${token}"`,
      );
    }
    const frame: unknown = JSON.parse(text, long ? revive : undefined);
    return (text.includes('"$bin"') ? binary(frame, false) : frame) as ServerFrame;
  },
};

function revive(_key: string, value: unknown): unknown {
  return typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value;
}

/** Makes bytes of `{"$bin": …}` in bodies alone: elsewhere it may be a map with names that users choose, as of groups. */
function binary(value: unknown, inBody: boolean): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => binary(item, inBody));
  const fields = Object.entries(value) as [string, unknown][];
  const [name, content] = fields[0] ?? [];
  if (inBody && fields.length === 1 && name === "$bin" && typeof content === "string") {
    return Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  }
  return Object.fromEntries(fields.map(([key, field]) => [key, binary(field, inBody || key === "body" || key === "properties")]));
}

function write(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number" && Number.isInteger(value) && (!Number.isSafeInteger(value) || Object.is(value, -0))) {
    return Object.is(value, -0) ? "-0.0" : Math.abs(value) < 1e21 ? `${value}.0` : String(value);
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (value instanceof Uint8Array) return `{"$bin":"${btoa(Array.from(value, (b) => String.fromCharCode(b)).join(""))}"}`;
  if (Array.isArray(value)) return `[${Array.from(value, (item) => write(item ?? null)).join()}]`;
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${write(field)}`).join()}}`;
}
