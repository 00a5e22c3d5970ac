/** The msgpack codec: smaller frames, binary without base64. Exported as `@belfry/client/msgpack`. */
import { wellFormed } from "./check.ts";
import type { Codec, ServerFrame } from "./wire.ts";

/** Returns the codec for the option `codec` of createClient. */
export function msgpack(): Codec {
  return {
    protocol: "belfry.v1.msgpack",
    encode(frame) {
      const to: Written = { view: new DataView(new ArrayBuffer(256)), next: 0 };
      write(to, frame);
      return new Uint8Array(to.view.buffer, 0, to.next);
    },
    decode(data) {
      if (!(data instanceof ArrayBuffer)) throw new Error("a text frame");
      const at = { view: new DataView(data), next: 0 };
      const frame = read(at);
      if (at.next !== data.byteLength) throw new Error("something follows the frame");
      return frame as ServerFrame;
    },
  };
}

interface Written {
  /** Of a buffer that grows. */
  view: DataView<ArrayBuffer>;
  next: number;
}

/** Makes room for so many bytes and returns their place. */
function room(to: Written, size: number): number {
  if (to.next + size > to.view.byteLength) {
    const grown = new Uint8Array(2 * (to.next + size));
    grown.set(new Uint8Array(to.view.buffer, 0, to.next));
    to.view = new DataView(grown.buffer);
  }
  to.next += size;
  return to.next - size;
}

/** A head byte, and behind it a number of 1, 2, 4 or 8 bytes. */
function head(to: Written, byte: number, size: number, value: number): void {
  const place = room(to, 1 + size);
  to.view.setUint8(place, byte);
  if (size === 1) to.view.setUint8(place + 1, value);
  if (size === 2) to.view.setUint16(place + 1, value);
  if (size === 4) to.view.setUint32(place + 1, value);
}

/** The head of something with a length: short ones have it in the byte. From `byte` on there are heads for 1 (if `least` says so), 2 and 4 bytes. */
function sized(to: Written, length: number, short: number, shorter: number, byte: number, least: 1 | 2): void {
  if (length < shorter) head(to, short | length, 0, 0);
  else if (least === 1 && length < 256) head(to, byte, 1, length);
  else if (length < 65_536) head(to, byte + (2 - least), 2, length);
  else head(to, byte + (3 - least), 4, length);
}

const encoder = new TextEncoder();

/** Integers are written as such up to 64 bits; a float would be another value to the server. */
function write(to: Written, value: unknown): void {
  if (value === null) head(to, 0xc0, 0, 0);
  else if (typeof value === "boolean") head(to, value ? 0xc3 : 0xc2, 0, 0);
  else if (typeof value === "number") number(to, value);
  else if (typeof value === "bigint") bigint(to, value);
  else if (typeof value === "string") {
    // The encoder would write something else for it, and the server take that; JSON is refused.
    if (!wellFormed(value)) throw new TypeError("text must be well-formed Unicode");
    const bytes = encoder.encode(value);
    sized(to, bytes.length, 0xa0, 32, 0xd9, 1);
    put(to, bytes);
  } else if (value instanceof Uint8Array) {
    sized(to, value.length, 0, 0, 0xc4, 1);
    put(to, value);
  } else if (Array.isArray(value)) {
    sized(to, value.length, 0x90, 16, 0xdc, 2);
    for (const element of value) write(to, element ?? null);
  } else if (typeof value === "object") {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    sized(to, fields.length, 0x80, 16, 0xde, 2);
    for (const [key, field] of fields) {
      write(to, key);
      write(to, field);
    }
  } else throw new TypeError(`no value of a frame: ${typeof value}`);
}

function put(to: Written, bytes: Uint8Array): void {
  const place = room(to, bytes.length);
  new Uint8Array(to.view.buffer).set(bytes, place);
}

function number(to: Written, value: number): void {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
    head(to, 0xcb, 0, 0);
    const place = room(to, 8); // before the view is looked at: it may be another one then
    to.view.setFloat64(place, value);
  } else if (value >= 2 ** 32 || value < -(2 ** 31)) bigint(to, BigInt(value));
  else if (value >= 0) sized(to, value, 0, 128, 0xcc, 1);
  else if (value >= -32) head(to, value & 0xff, 0, 0);
  else head(to, 0xd2, 4, value);
}

function bigint(to: Written, value: bigint): void {
  head(to, value < 0n ? 0xd3 : 0xcf, 0, 0);
  const place = room(to, 8);
  to.view.setBigUint64(place, BigInt.asUintN(64, value));
}

interface Place {
  readonly view: DataView;
  next: number;
}

const texts = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads the value at a place. It is our own, as the packages refuse maps with the key
 * `__proto__`, which any user may send: a device would get no further than that message. What is cut off throws a RangeError, by the DataView.
 */
function read(at: Place): unknown {
  const byte = unsigned(at, 1);
  if (byte < 0x80) return byte;
  if (byte < 0x90) return map(at, byte & 15);
  if (byte < 0xa0) return list(at, byte & 15);
  if (byte < 0xc0) return text(at, byte & 31);
  if (byte >= 0xe0) return byte - 256;
  switch (byte) {
    case 0xc0: return null;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xc4: case 0xc5: case 0xc6: return bytes(at, unsigned(at, 1 << (byte - 0xc4))).slice(); // not the whole frame's buffer
    case 0xca: return at.view.getFloat32(skip(at, 4));
    case 0xcb: return at.view.getFloat64(skip(at, 8));
    case 0xcc: case 0xcd: case 0xce: return unsigned(at, 1 << (byte - 0xcc));
    case 0xcf: return narrow(at.view.getBigUint64(skip(at, 8)));
    case 0xd0: return at.view.getInt8(skip(at, 1));
    case 0xd1: return at.view.getInt16(skip(at, 2));
    case 0xd2: return at.view.getInt32(skip(at, 4));
    case 0xd3: return narrow(at.view.getBigInt64(skip(at, 8)));
    case 0xd9: case 0xda: case 0xdb: return text(at, unsigned(at, 1 << (byte - 0xd9)));
    case 0xdc: case 0xdd: return list(at, unsigned(at, 2 << (byte - 0xdc)));
    case 0xde: case 0xdf: return map(at, unsigned(at, 2 << (byte - 0xde)));
  }
  throw new Error(`no value of a frame: ${byte}`);
}

/** Returns the place, and moves on behind so many bytes. */
function skip(at: Place, size: number): number {
  at.next += size;
  return at.next - size;
}

function unsigned(at: Place, size: number): number {
  const place = skip(at, size);
  return size === 1 ? at.view.getUint8(place) : size === 2 ? at.view.getUint16(place) : at.view.getUint32(place);
}

/** A number of an integer below 2^53 that came in 64 bits, as times do. */
function narrow(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function bytes(at: Place, size: number): Uint8Array {
  return new Uint8Array(at.view.buffer, skip(at, size), size);
}

function text(at: Place, size: number): string {
  return texts.decode(bytes(at, size));
}

function list(at: Place, size: number): unknown[] {
  const values: unknown[] = [];
  while (values.length < size) values.push(read(at));
  return values;
}

function map(at: Place, size: number): object {
  const fields: [string, unknown][] = [];
  while (fields.length < size) fields.push([String(read(at)), read(at)]);
  return Object.fromEntries(fields); // an own property, also of __proto__
}
