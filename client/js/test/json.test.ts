import fc from "fast-check";
import { expect, test } from "vitest";
import { json } from "../src/json.ts";
import type { Value } from "../src/store.ts";

const scalar = fc.oneof(
  fc.constant(null), fc.boolean(), fc.string(), fc.string({ unit: "binary" }), fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n }), fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  fc.uint8Array(),
  fc.constantFrom("1234567890123456789", '"1234567890123456789', "\\", "12345678901234567890\\\"", "$bin"),
);
const body = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, scalar, fc.array(tie("value"), { maxLength: 4 }), fc.dictionary(fc.string().filter((k) => k !== "__proto__" && k !== "$bin"), tie("value"), { maxKeys: 4 })),
})).value;

test("a body comes back equal", () => {
  fc.assert(
    fc.property(body, (value) => {
      const text = json.encode({ op: "send", args: { body: value } });
      expect(json.decode(text)).toEqual({ op: "send", args: { body: value } });
    }),
    { numRuns: 2000 },
  );
});

test("floats stay floats to a server that tells them from integers", () => {
  expect(json.encode({ a: 2 ** 60, b: -0, c: 1e300, d: 2n ** 60n, e: 1.5, f: undefined })).toBe(
    '{"a":1152921504606847000.0,"b":-0.0,"c":1e+300,"d":1152921504606846976,"e":1.5}',
  );
});

test("what is no JSON throws", () => {
  expect(() => json.decode("{")).toThrow();
  expect(() => json.decode('{"a":12345678901234567890')).toThrow();
});
