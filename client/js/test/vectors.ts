/** Reads the vectors of gateway/protocol/testdata (see its README.md). */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface FrameVector {
  readonly name: string;
  readonly kind: "request" | "notice" | "reply" | "error" | "push";
  readonly json: string;
  readonly msgpack: string;
  readonly accepts?: string;
  readonly value: unknown;
}

export interface RefusalVector {
  readonly name: string;
  readonly from: "client" | "server";
  readonly codec: "json" | "msgpack";
  readonly text?: string;
  readonly hex?: string;
  readonly close?: number;
  readonly code?: string;
  readonly field?: string;
}

export interface GapVector {
  readonly name: string;
  readonly newest: number;
  readonly gone: readonly { readonly from: number; readonly to: number; readonly reason: "expired" | "evicted" | "deleted" | "recalled" }[];
  readonly held: readonly (readonly [number, number])[];
  readonly ask: { readonly before?: number; readonly after?: number; readonly range?: readonly [number, number]; readonly limit: number };
  readonly seqs: readonly number[];
  readonly gaps: readonly { readonly from: number; readonly to: number; readonly reason: string }[];
  readonly more: boolean;
  readonly must: readonly (readonly [number, number])[];
}

function read(file: string): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, "../../../gateway/protocol/testdata", file), "utf8"));
}

export const frameVectors = read("frames.json") as FrameVector[];
export const bodyVectors = read("bodies.json") as FrameVector[];
export const refusalVectors = read("refusals.json") as RefusalVector[];
export const gapVectors = read("gaps.json") as GapVector[];

/** The value that a vector's `value` stands for, as this SDK has it. */
export function fromNeutral(v: unknown): unknown {
  if (Array.isArray(v)) return v.map(fromNeutral);
  if (typeof v !== "object" || v === null) return v;
  const [[key, only] = ["", undefined], ...more] = Object.entries(v);
  if (more.length === 0 && typeof only === "string") {
    if (key === "$float") return Number(only);
    if (key === "$int") return BigInt(only);
    if (key === "$bin") return Uint8Array.from(Buffer.from(only, "base64"));
  }
  return Object.fromEntries(Object.entries(v).map(([k, e]) => [k, fromNeutral(e)]));
}

export function unhex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "hex"));
}

/** The value with all binary as arrays of one class, and -0 kept apart, so that values can be compared. */
export function comparable(v: unknown): unknown {
  if (v instanceof Uint8Array) return { binary: [...v] };
  if (Object.is(v, -0)) return "-0";
  if (Array.isArray(v)) return v.map(comparable);
  if (typeof v !== "object" || v === null) return v;
  return new Map(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, e]) => [k, comparable(e)]));
}
