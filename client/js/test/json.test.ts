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

test("names that users choose are no binary: a group may be called $bin", () => {
  const frame = { op: "onNewMessage", args: { d: 1, messages: [{ conv: "u:bob", body: { a: [new Uint8Array([1, 2])] } }], groupCursors: { $bin: "a-b_c" } } };
  expect(json.decode(JSON.stringify(frame).replace('{"0":1,"1":2}', '{"$bin":"AQI="}'))).toEqual(frame);
  const login = { id: 1, ok: { properties: new Uint8Array([3]), conversations: [{ last: { body: new Uint8Array([4]) } }] } };
  expect(json.decode('{"id":1,"ok":{"properties":{"$bin":"Aw=="},"conversations":[{"last":{"body":{"$bin":"BA=="}}}]}}')).toEqual(login);
});
