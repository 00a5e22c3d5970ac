/** The codecs against the vectors that the server's own codec is held to. */
import { describe, expect, test } from "vitest";

import { json } from "../src/json.ts";
import type { Codec } from "../src/wire.ts";
import { bodyVectors, comparable, frameVectors, fromNeutral, refusalVectors } from "./vectors.ts";

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
