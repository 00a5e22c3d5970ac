/** What a message body may be (docs/semantics.md, Sending 5), checked before a message is stored. */
import { wellFormed, wrong } from "./check.ts";
import type { Body } from "./wire.ts";

const MAX_DEPTH = 32;
const LEAST = -(2n ** 63n);
const MOST = 2n ** 63n;

/** Returns a copy. Throws `bad_request` if the value is no body. Fields that are undefined count as absent. */
export function checkBody(value: unknown, depth = 0): Body {
  switch (typeof value) {
    case "boolean":
      return value;
    case "string":
      return wellFormed(value) ? value : wrong("body", "text must be well-formed Unicode");
    case "number":
      return Number.isFinite(value) ? value : wrong("body", "numbers must be finite");
    case "bigint":
      return value >= LEAST && value <= MOST ? value : wrong("body", "integers must lie within ±2^63");
    case "object":
      if (value === null) return null;
      if (value instanceof Uint8Array) return new Uint8Array(value);
      if (depth >= MAX_DEPTH) wrong("body", `must not be nested deeper than ${MAX_DEPTH}`);
      // Unlike map, from does not pass over what an array lacks.
      return Array.isArray(value) ? Array.from(value, (item) => checkBody(item, depth + 1)) : checkMap(value, depth + 1);
    default:
      return wrong("body", `must be JSON, bigint or Uint8Array, not ${typeof value}`);
  }
}

function checkMap(value: object, depth: number): Body {
  const proto: unknown = Object.getPrototypeOf(value);
  // Of another realm (an iframe, a test's sandbox) Object.prototype is another one; but it has no prototype either.
  if (proto !== null && Object.getPrototypeOf(proto) !== null) wrong("body", "objects must be plain ones");
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  if (fields.length === 1 && fields[0]![0] === "$bin") wrong("body", "a map with $bin alone is reserved; use Uint8Array");
  return Object.fromEntries(fields.map(([key, field]) => [checkBody(key), checkBody(field, depth)]));
}
