/**
 * Values as JSON, for stores that keep text: integers beyond a number's range, bytes
 * and the numbers that JSON lacks are objects with one name, `$int`, `$bin` (base64)
 * and `$num`. An object of the application with one name that begins with `$` gets
 * another `$` in front of it.
 */

import type { Value } from "./store.ts";

/** Fields that are undefined count as absent. Throws a TypeError for what is no Value, as a function. */
export function encodeValue(value: Value): string {
  const text = JSON.stringify(value, replace) as string | undefined;
  if (text === undefined) throw new TypeError("belfry: store: undefined is no value");
  return text;
}

/** Throws an Error for what `encodeValue` does not make. */
export function decodeValue(text: string): Value {
  return JSON.parse(text, revive) as Value;
}

function replace(this: Record<string, unknown>, key: string): unknown {
  const value = this[key]; // as it is, before a toJSON: a Buffer has one
  switch (typeof value) {
    case "bigint":
      return { $int: String(value) };
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0) ? value : { $num: Object.is(value, -0) ? "-0" : String(value) };
    case "object": {
      if (value === null || Array.isArray(value)) return value;
      if (value instanceof Uint8Array) return { $bin: toBase64(value) };
      const name = onlyName(value);
      return name?.startsWith("$") ? { [`$${name}`]: (value as Record<string, unknown>)[name] } : value;
    }
    case "string":
    case "boolean":
      return value;
    default:
      if (value === undefined && !Array.isArray(this)) return undefined;
      throw new TypeError(`belfry: store: a ${typeof value} is no value`);
  }
}

function revive(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const name = onlyName(value);
  if (!name?.startsWith("$")) return value;
  const content = (value as Record<string, unknown>)[name];
  if (name.startsWith("$$")) return { [name.slice(1)]: content };
  if (typeof content !== "string") throw new Error(`belfry: store: ${name} holds no text`);
  switch (name) {
    case "$int":
      return BigInt(content);
    case "$num":
      return Number(content);
    case "$bin":
      return fromBase64(content);
    default:
      throw new Error(`belfry: store: ${name} is unknown`);
  }
}

/** The name of an object that has one alone. */
function onlyName(value: object): string | undefined {
  const names = Object.entries(value).flatMap(([name, content]) => (content === undefined ? [] : [name]));
  return names.length === 1 ? names[0] : undefined;
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}
