/** The codecs against the vectors that the server's own codec is held to. */
import { describe, expect, test } from "vitest";

import { json } from "../src/json.ts";
import { msgpack } from "../src/msgpack.ts";
import type { Codec } from "../src/wire.ts";
import { bodyVectors, comparable, frameVectors, fromNeutral, refusalVectors, unhex } from "./vectors.ts";

/** A frame that carries a body, as text of the codec. */
const around = (body: string): string => `{"op":"onNewMessage","args":{"d":1,"body":${body}}}`;

function bodyOf(frame: unknown): unknown {
  return (frame as { args: { body: unknown } }).args.body;
}

describe("json", () => {
  const codec: Codec = json;
  const read = (data: unknown): unknown => codec.decode(data) as unknown;

  test.each(frameVectors.filter((v) => v.kind !== "request" && v.kind !== "notice"))("reads $name ($kind)", (v) => {
    expect(comparable(read(v.json))).toEqual(comparable(fromNeutral(v.value)));
  });

  test.each(frameVectors.filter((v) => v.kind === "request" || v.kind === "notice"))("writes $name ($kind)", (v) => {
    const frame = fromNeutral(v.value) as object;
    expect(JSON.parse(codec.encode(frame) as string)).toEqual(JSON.parse(v.json));
  });

  test.each(bodyVectors)("reads the body $name", (v) => {
    expect(comparable(bodyOf(read(around(v.json))))).toEqual(comparable(fromNeutral(v.value)));
  });

  test.each(bodyVectors)("writes the body $name so that it is read back", (v) => {
    const frame = { op: "x", args: { body: fromNeutral(v.value) } };
    expect(comparable(read(codec.encode(frame)))).toEqual(comparable(frame));
  });

  const broken = ({ text = "" }: { text?: string }): boolean => {
    try {
      return JSON.parse(text) === undefined;
    } catch {
      return true;
    }
  };
  test.each(refusalVectors.filter((v) => v.from === "server" && v.codec === "json" && broken(v)))("refuses what is no frame of a server: $name", (v) => {
    expect(() => read(v.text ?? "")).toThrow();
  });
});

describe("msgpack", () => {
  const codec: Codec = msgpack();
  const read = (data: Uint8Array): unknown => codec.decode(data.slice().buffer) as unknown;
  /** `{op: "x", body: …}`, with the bytes of a body. */
  const around = (hex: string): Uint8Array => unhex(`82a26f70a178a4626f6479${hex}`);

  test.each(frameVectors.filter((v) => v.kind !== "request" && v.kind !== "notice"))("reads $name ($kind)", (v) => {
    expect(comparable(read(unhex(v.msgpack)))).toEqual(comparable(fromNeutral(v.value)));
  });

  test.each(frameVectors.filter((v) => v.kind === "request" || v.kind === "notice"))("writes $name ($kind) so that it is read back", (v) => {
    const frame = fromNeutral(v.value) as object;
    expect(comparable(read(codec.encode(frame) as Uint8Array))).toEqual(comparable(frame));
  });

  test.each(bodyVectors)("reads the body $name", (v) => {
    expect(comparable((read(around(v.msgpack)) as { body: unknown }).body)).toEqual(comparable(fromNeutral(v.value)));
  });

  test.each(bodyVectors)("writes the body $name so that it is read back", (v) => {
    const frame = { op: "x", args: { body: fromNeutral(v.value) } };
    expect(comparable(read(codec.encode(frame) as Uint8Array))).toEqual(comparable(frame));
  });

  const withFloat = (v: unknown): boolean => JSON.stringify(v).includes("$float");
  const oneWay = bodyVectors.filter((v) => !withFloat(v.value));
  test.each(oneWay)("writes $name as a body that the server takes for the same", (v) => {
    const again = unhex(v.msgpack);
    // The server's form is canonical: shortest heads, sorted keys. Here only the type of a number could differ.
    const written = codec.encode({ body: fromNeutral(v.value) }) as Uint8Array;
    const kinds = (bytes: Uint8Array): string => [...bytes].some((b) => b === 0xcb || b === 0xca) ? "may have a float" : "no float";
    expect(kinds(written)).toBe(kinds(again));
  });

  test("refuses what is cut off, or goes on behind its end", () => {
    for (const { msgpack: hex } of frameVectors) {
      expect(() => read(unhex(hex.slice(0, -2)))).toThrow();
      expect(() => read(unhex(`${hex}c0`))).toThrow();
    }
  });
});
