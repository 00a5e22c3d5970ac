/** Reads what a request has in its `args`, with the server's refusals. */
import type { WireCode } from "../wire.ts";

/** A request that is answered with an error. */
export class Refusal extends Error {
  constructor(
    readonly code: WireCode,
    message: string,
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

export type Args = Readonly<Record<string, unknown>>;

const refuse = (field: string, rule: string): never => {
  throw new Refusal("bad_request", `${field}: ${rule}`);
};

export function isObject(v: unknown): v is Record<string, unknown> {
  return typeof v === "object" && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array);
}

export function text(args: Args, field: string, max = 64): string {
  const v = optionalText(args, field, max) ?? refuse(field, "is missing");
  return v === "" && field !== "token" ? refuse(field, `must be text of 1-${max} bytes`) : v;
}

export function optionalText(args: Args, field: string, max = 64): string | undefined {
  const v = args[field] ?? undefined;
  if (v === undefined) return undefined;
  if (typeof v !== "string") return refuse(field, "must be text");
  return v.length > max ? refuse(field, `must be text of at most ${max} bytes`) : v;
}

export function integer(args: Args, field: string, min: number, max: number): number {
  return optionalInteger(args, field, min, max) ?? refuse(field, "is missing");
}

export function optionalInteger(args: Args, field: string, min: number, max = Number.MAX_SAFE_INTEGER): number | undefined {
  const v = args[field] ?? undefined;
  if (v === undefined) return undefined;
  if (typeof v !== "number" || !Number.isInteger(v) || v < min || v > max) return refuse(field, `must be an integer from ${min} to ${max}`);
  return v;
}

export function flag(args: Args, field: string): boolean | undefined {
  const v = args[field] ?? undefined;
  if (v === undefined) return undefined;
  return typeof v === "boolean" ? v : refuse(field, "must be true or false");
}

export function word<W extends string>(args: Args, field: string, words: readonly W[]): W | undefined {
  const v = args[field] ?? undefined;
  if (v === undefined) return undefined;
  return words.find((w) => w === v) ?? refuse(field, `must be ${words.join(" or ")}`);
}

const userRule = /^(?!\.{1,2}$)[!-~]{1,64}$/;
const groupRule = /^(?!\.{1,2}$)[!-~]{1,48}$/;

export function user(args: Args, field = "user"): string {
  const name = text(args, field);
  return userRule.test(name) ? name : refuse(field, "must be a user");
}

export function group(args: Args, field = "group"): string {
  const id = text(args, field);
  return groupRule.test(id) ? id : refuse(field, "must be a group");
}

export function users(args: Args, field: string, min: number, max: number): string[] {
  const list = args[field] ?? (min === 0 ? [] : undefined);
  if (list === undefined) return refuse(field, "is missing");
  if (!Array.isArray(list) || list.length < min || list.length > max) return refuse(field, `must be ${min}-${max} users`);
  return list.map((name) => (typeof name === "string" && userRule.test(name) ? name : refuse(field, "must be users")));
}

/** A conversation: of which kind, and with whom. */
export function conv(args: Args): { conv: string; kind: "u" | "g"; id: string } {
  const name = text(args, "conv", 66);
  const kind = name.startsWith("u:") ? "u" : name.startsWith("g:") ? "g" : undefined;
  const id = name.slice(2);
  if (kind === undefined || !(kind === "u" ? userRule : groupRule).test(id)) return refuse("conv", "must be u: and a user, or g: and a group");
  return { conv: name, kind, id };
}

export function seqs(args: Args): number[] {
  const list = args["seqs"] ?? undefined;
  if (list === undefined) return refuse("seqs", "is missing");
  if (!Array.isArray(list) || list.length < 1 || list.length > 100) return refuse("seqs", "must be 1-100 seqs");
  return list.map((seq) => (Number.isSafeInteger(seq) && seq >= 1 ? (seq as number) : refuse("seqs", "must be integers from 1")));
}

export function range(args: Args): readonly [number, number] | undefined {
  const v = args["range"] ?? undefined;
  if (v === undefined) return undefined;
  if (!Array.isArray(v) || v.length !== 2 || !v.every((n) => Number.isSafeInteger(n) && n >= 1) || v[0] > v[1]) return refuse("range", "must be [from, to]");
  return [v[0], v[1]];
}

/** The deepest nesting of arrays and maps in a body. */
const maxDepth = 32;

/** Checks a body, and returns its canonical form: two bodies are equal if their forms are. */
export function body(args: Args, maxBody: number): string {
  if (!("body" in args) || args["body"] === undefined) return refuse("body", "is missing");
  const form = canonical(args["body"], 0);
  if (form.size > maxBody) throw new Refusal("too_large", `body: must take at most ${maxBody} bytes as msgpack`);
  return form.text;
}

/** The size is that of msgpack, but for the length of numbers. */
function canonical(v: unknown, depth: number): { text: string; size: number } {
  if (v === null || typeof v === "boolean") return { text: String(v), size: 1 };
  if (typeof v === "number") return Number.isFinite(v) ? { text: `n${v}`, size: intSize(v) } : refuse("body", "must have finite numbers only");
  if (typeof v === "bigint") {
    if (v > 1n << 63n || v < -(1n << 63n)) return refuse("body", "must have integers from -2^63 to 2^63 only");
    return { text: `n${v}`, size: 9 };
  }
  if (typeof v === "string") {
    const length = new TextEncoder().encode(v).length;
    return { text: JSON.stringify(v), size: length + headSize(length, 32) };
  }
  if (v instanceof Uint8Array) return { text: `b${v.join()}`, size: v.length + headSize(v.length, 0) };
  if (depth === maxDepth) return refuse("body", `must nest at most ${maxDepth} arrays and maps in one another`);
  const isList = Array.isArray(v);
  const parts = isList
    ? v.map((element) => canonical(element, depth + 1))
    : Object.entries(v as object)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .flatMap(([key, value]) => [canonical(key, depth + 1), canonical(value, depth + 1)]);
  const size = parts.reduce((n, part) => n + part.size, parts.length / (isList ? 1 : 2) < 16 ? 1 : 3);
  return { text: `${isList ? "[" : "{"}${parts.map((part) => part.text).join()}${isList ? "]" : "}"}`, size };
}

function headSize(length: number, short: number): number {
  return length < short ? 1 : length < 256 ? 2 : 3;
}

function intSize(n: number): number {
  if (!Number.isInteger(n)) return 9;
  if (n >= -32 && n < 128) return 1;
  const at = n < 0 ? -n * 2 : n;
  return at < 256 ? 2 : at < 65536 ? 3 : at < 2 ** 32 ? 5 : 9;
}
