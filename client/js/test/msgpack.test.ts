import fc from "fast-check";
import { expect, test } from "vitest";
import { msgpack } from "../src/msgpack.ts";
import type { Value } from "../src/store.ts";

const scalar = fc.oneof(
  fc.constant(null), fc.boolean(), fc.string(), fc.maxSafeInteger(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Object.is(n, -0)),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n }), fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  fc.uint8Array(),
);
const body = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, scalar, fc.array(tie("value"), { maxLength: 4 }), fc.dictionary(fc.string().filter((k) => k !== "__proto__"), tie("value"), { maxKeys: 4 })),
})).value;

test("a body comes back equal", () => {
  const codec = msgpack();
  fc.assert(
    fc.property(body, (value) => {
      const bytes = codec.encode({ op: "send", args: { body: value } }) as Uint8Array<ArrayBuffer>;
      expect(codec.decode(bytes.slice().buffer)).toEqual({ op: "send", args: { body: value } });
    }),
    { numRuns: 1000 },
  );
});

test("text that has no UTF-8 is not written as something else", () => {
  const { encode } = msgpack();
  for (const text of ["\ud800", "a\udc00b"]) {
    expect(() => encode({ op: "createGroup", args: { name: text } })).toThrow(TypeError);
    expect(() => encode({ op: "createGroup", args: { [text]: 1 } })).toThrow(TypeError);
  }
  expect(encode({ op: "createGroup", args: { name: "\u{1f600}" } })).toBeInstanceOf(Uint8Array);
});

test("a text frame and broken bytes throw", () => {
  expect(() => msgpack().decode("{}")).toThrow();
  expect(() => msgpack().decode(new Uint8Array([0x81, 0xa2]).buffer)).toThrow();
});
