import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build } from "esbuild";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { fileStore } from "../src/file.ts";
import { header, parseFile, recordOf, textOf } from "../src/filelog.ts";
import type { Opened, Store } from "../src/store.ts";
import { decodeValue, encodeValue } from "../src/storedvalue.ts";
import { same, show, value } from "./store/model.ts";
import { keepsContract } from "./store/run.ts";

const seed = Number(process.env.BELFRY_STORE_SEED ?? 1);
const server = "ws://127.0.0.1/v1/ws";

const root = mkdtempSync(join(tmpdir(), "belfry-file-"));
afterAll(() => rmSync(root, { recursive: true }));
const newFolder = () => mkdtempSync(join(root, "store-"));

keepsContract("file", () => {
  const open = fileStore(newFolder());
  return { lasting: true, strict: true, open: (user) => open({ server, user }) };
});

const openIn = (folder: string): Promise<Opened> => fileStore(folder)({ server, user: "alice" });

/** The one file of a folder. */
function fileOf(folder: string): string {
  const [name] = readdirSync(folder).filter((n) => n.endsWith(".belfry"));
  return join(folder, name ?? "none");
}

async function contentOf(store: Store): Promise<string> {
  return show(await Promise.all((["messages", "conversations", "outbox", "meta"] as const).map((table) => store.list(table, {}))));
}

/** A folder whose file has three records, with what it holds after each. */
async function threeBatches(): Promise<{ bytes: Buffer; ends: number[]; contents: string[]; name: string }> {
  const folder = newFolder();
  const { store } = await openIn(folder);
  const file = fileOf(folder);
  const ends = [readFileSync(file).length];
  const contents = [await contentOf(store)];
  const note = async () => {
    ends.push(readFileSync(file).length);
    contents.push(await contentOf(store));
  };
  await store.write([{ table: "messages", key: ["c", 1], value: "one" }, { table: "meta", key: ["cursor"], value: "x" }]);
  await note();
  await store.append("outbox", { body: new Uint8Array([1, 2]) });
  await note();
  await store.write([{ table: "messages", key: ["c", 2], value: "två" }, { table: "meta", remove: {} }]);
  await note();
  await store.close();
  return { bytes: readFileSync(file), ends, contents, name: file.slice(folder.length + 1) };
}

async function openedWith(bytes: Uint8Array, name: string): Promise<Opened & { folder: string }> {
  const folder = newFolder();
  writeFileSync(join(folder, name), bytes);
  return { folder, ...(await openIn(folder)) };
}

describe("a file that ends in the middle of a batch", () => {
  test("is cut to the batches before it, whichever byte is the last, and goes on", async () => {
    const { bytes, ends, contents, name } = await threeBatches();
    for (let length = ends[2]!; length < ends[3]!; length++) {
      const { store, lost, cause, folder } = await openedWith(bytes.subarray(0, length), name);
      expect([lost, cause, await contentOf(store)]).toEqual([undefined, undefined, contents[2]]);
      await store.write([{ table: "meta", key: ["more"], value: length }]);
      await store.close();
      const again = await openIn(folder);
      expect([again.lost, await again.store.get("meta", ["more"])]).toEqual([undefined, length]);
      await again.store.close();
    }
  });

  test("is cut as well if that batch's bytes were not all written", async () => {
    const { bytes, ends, contents, name } = await threeBatches();
    for (let at = ends[2]!; at < ends[3]!; at++) {
      const torn = Buffer.from(bytes);
      torn.fill(0, at);
      if (torn.equals(bytes)) continue;
      const { store, lost } = await openedWith(torn, name);
      expect([lost, await contentOf(store)]).toEqual([undefined, contents[2]]);
      await store.close();
    }
  });

  test("may also end in its header", async () => {
    for (let length = 0; length <= header.length; length++) {
      const { store, lost } = await openedWith(header.subarray(0, length), (await threeBatches()).name);
      expect(lost).toBe(undefined);
      await store.write([{ table: "meta", key: ["a"], value: 1 }]);
      await store.close();
    }
  });
});

test("a file that is damaged before its end is kept aside, and the outbox of it is used", async () => {
  const { bytes, ends, name } = await threeBatches();
  for (let at = ends[0]!; at < ends[1]!; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 0x40;
    const { store, lost, folder } = await openedWith(damaged, name);
    expect(lost).toBe(true);
    expect(await contentOf(store)).toBe(show([[], [], [{ key: [1], value: { body: new Uint8Array([1, 2]) } }], []]));
    expect(await store.append("outbox", "next")).toBe(2);
    expect(readFileSync(`${fileOf(folder)}.damaged`).equals(damaged)).toBe(true);
    await store.close();
    const again = await openIn(folder);
    expect(again.lost).toBe(undefined);
    await again.store.erase();
    expect(readdirSync(folder)).toEqual([]);
  }
});

test("keys that could not be read again are refused", async () => {
  const { store } = await openIn(newFolder());
  for (const key of [[-1], [1.5], [Number.NaN], [2 ** 53]]) {
    await expect(store.write([{ table: "meta", key, value: 1 }])).rejects.toMatchObject({ failure: "broken" });
    await expect(store.write([{ table: "meta", remove: { from: key } }])).rejects.toMatchObject({ failure: "broken" });
  }
  await store.close();
});

test("a file of a newer version is left alone", async () => {
  const { bytes, name } = await threeBatches();
  bytes[7] = 2;
  const folder = newFolder();
  writeFileSync(join(folder, name), bytes);
  for (let i = 0; i < 2; i++) await expect(openIn(folder)).rejects.toMatchObject({ code: "storage", message: expect.stringMatching(/newer version/) as string });
  expect(readFileSync(join(folder, name)).equals(bytes)).toBe(true);
});

test("a folder that cannot be made is named, and why", async () => {
  const folder = join(newFolder(), "file");
  writeFileSync(folder, "");
  await expect(openIn(folder)).rejects.toMatchObject({ code: "storage", message: expect.stringContaining(`${folder} cannot be opened: EEXIST`) as string });
});

test("a store that changes much and keeps little has a small file, with all of it", async () => {
  const folder = newFolder();
  const { store } = await openIn(folder);
  const body = "é".repeat(10_000);
  for (let i = 0; i < 400; i++) {
    await store.write([{ table: "messages", key: ["c", i % 10], value: `${i} ${body}` }, { table: "messages", remove: { from: ["d"] } }]);
    await store.append("outbox", i);
  }
  await store.write([{ table: "outbox", remove: {} }]);
  expect(readFileSync(fileOf(folder)).length).toBeLessThan(4 << 20);
  const before = await contentOf(store);
  await store.close();
  const again = await openIn(folder);
  expect(await contentOf(again.store)).toBe(before);
  expect(await again.store.append("outbox", "next")).toBe(401);
  await again.store.close();
});

test("values are the same when they are read again", () => {
  fc.assert(
    fc.property(value, (v) => {
      expect(same(decodeValue(encodeValue(v)), v)).toBe(true);
    }),
    { seed, numRuns: 2_000 },
  );
});

test("bytes that are no file are read without an exception, and text that is no value is refused", () => {
  const record = recordOf(textOf({ table: "messages", key: ["c", 1], text: "1" }) + textOf({ last: 3 }) + textOf({ table: "meta", remove: { to: ["x"] } }));
  const file = Buffer.concat([header, record, record, record]);
  const noise = fc.uint8Array({ maxLength: 200 });
  const changed = fc.tuple(fc.nat(file.length), fc.nat(20), noise).map(([at, gone, put]) => Buffer.concat([file.subarray(0, at), put, file.subarray(at + gone)]));
  const behindHeader = noise.map((b) => Buffer.concat([header, b]));
  const inRecord = fc.oneof(fc.string(), fc.json(), fc.constantFrom("+m", "-m", "#", "+q[]\n1\n")).map((text) => Buffer.concat([header, recordOf(`${text}\n`)]));
  fc.assert(
    fc.property(fc.oneof(noise.map(Buffer.from), behindHeader, changed, inRecord), (bytes) => {
      const parsed = parseFile(Buffer.from(bytes), () => {});
      if (parsed) expect(parsed.end).toBeLessThanOrEqual(bytes.length);
    }),
    { seed, numRuns: 5_000 },
  );
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.json().map((j) => `{"$bin":${j}}`), fc.json().map((j) => `{"$int":${j}}`)), (text) => {
      let v;
      try {
        v = decodeValue(text);
      } catch (err) {
        expect(err).toBeInstanceOf(Error);
        return;
      }
      expect(same(decodeValue(encodeValue(v)), v)).toBe(true);
    }),
    { seed, numRuns: 5_000 },
  );
});

describe("processes", () => {
  const script = join(root, "writer.mjs");
  beforeAll(async () => {
    await build({ entryPoints: [new URL("store/writer.ts", import.meta.url).pathname], outfile: script, bundle: true, platform: "node", format: "esm" });
  });

  /** Starts a process that writes batches, and tells which are promised. */
  function startWriter(folder: string): { promised: () => number; until: (n: number) => Promise<void>; kill: () => Promise<void> } {
    const child = spawn(process.execPath, [script, folder], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit");
    let printed = "";
    let wake = () => {};
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
      wake();
    });
    const promised = () => Number(printed.slice(0, printed.lastIndexOf("\n")).split("\n").at(-1) ?? -1);
    return {
      promised,
      async until(n) {
        while (!printed.includes("\n") || promised() < n) await Promise.race([new Promise<void>((resolve) => (wake = resolve)), ended.then(() => Promise.reject(new Error("the writer has ended")))]);
      },
      async kill() {
        child.kill("SIGKILL");
        await ended;
      },
    };
  }

  /** Opens a store that another has; resolves when that is told. */
  async function waiting(folder: string) {
    const causes: string[] = [];
    const end = new AbortController();
    let opened!: Promise<Opened>;
    await new Promise<void>((resolve) => {
      const waits = (cause: string) => {
        causes.push(cause);
        resolve();
      };
      opened = fileStore(folder)({ server, user: "alice" }, { signal: end.signal, waits });
    });
    const isOpen = () => Promise.race([opened.then(() => true), new Promise<false>((resolve) => setImmediate(resolve, false))]);
    return { causes, end, opened, isOpen };
  }

  test("that are killed at any point leave whole batches, with all that was promised", async () => {
    const folder = newFolder();
    let rounds = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(300), fc.nat(10), async (batches, moreMs) => {
        rounds++;
        const { store: before } = await openIn(folder);
        const first = Number((await before.get("meta", ["count"])) ?? 0);
        await before.close();
        const writer = startWriter(folder);
        await writer.until(first + batches);
        await new Promise((resolve) => setTimeout(resolve, moreMs)); // so that it is killed at another point of a batch
        await writer.kill();
        const { store, lost, cause } = await openIn(folder);
        expect([lost, cause]).toEqual([undefined, undefined]);
        const count = Number(await store.get("meta", ["count"]));
        expect(count).toBeGreaterThanOrEqual(writer.promised());
        const messages = await store.list("messages", {});
        expect(messages.map(({ key }) => key[0])).toEqual(Array.from({ length: messages.length }, (_, i) => count - messages.length + i));
        expect(messages.length).toBe(Math.min(count, 100));
        expect((await store.list("outbox", {})).every(({ value: v }, i, all) => i === 0 || Number(v) > Number(all[i - 1]!.value))).toBe(true);
        await store.close();
      }),
      { seed, numRuns: 20, endOnFailure: true },
    );
    expect(rounds).toBe(20);
  });

  test("do not open a store that another has, until that has ended", async () => {
    const folder = newFolder();
    const writer = startWriter(folder);
    await writer.until(1);
    const second = await waiting(folder);
    expect(second.causes).toEqual(["blocked"]);
    expect(await second.isOpen()).toBe(false);
    await writer.kill();
    const { store } = await second.opened;
    expect(store.durability).toBe("persistent");
    const third = await waiting(folder);
    third.end.abort();
    await expect(third.opened).rejects.toMatchObject({ code: "storage" });
    const fourth = await waiting(folder);
    expect(await fourth.isOpen()).toBe(false);
    await store.close();
    await (await fourth.opened).store.close();
    expect(fourth.causes).toEqual(["blocked"]);
  });
});

test("leaves nothing behind but its files", () => {
  expect(existsSync(join(root, "writer.mjs"))).toBe(true);
  for (const folder of readdirSync(root).filter((n) => n.startsWith("store-"))) {
    expect(readdirSync(join(root, folder)).filter((n) => n.endsWith(".new"))).toEqual([]);
  }
});
