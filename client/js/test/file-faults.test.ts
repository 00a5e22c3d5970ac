import { expect, test, vi } from "vitest";

import { type Fault, newDisk } from "./store/disk.ts";

let disk = newDisk();
vi.mock("node:fs/promises", () => {
  const call = (name: keyof typeof disk.fs) => (...args: unknown[]) => (disk.fs[name] as (...args: unknown[]) => Promise<unknown>)(...args);
  return Object.fromEntries(Object.keys(disk.fs).map((name) => [name, call(name as keyof typeof disk.fs)]));
});

const { fileStore } = await import("../src/file.ts");
const open = () => fileStore("/folder")({ server: "ws://127.0.0.1/v1/ws", user: "alice" });

const faults: Readonly<Record<string, Omit<Fault, "at">>> = {
  "a disk that is full once": { code: "ENOSPC" },
  "a disk that is full for a while": { code: "ENOSPC", lasting: true },
  "a disk that fails once": { code: "EIO" },
  "a disk that fails once, and has done it": { code: "EIO", done: true },
  "a disk that fails": { code: "EIO", lasting: true },
};
const endings = { "the process is killed": () => {}, "the power is cut": () => disk.cutPower() };

const body = "x".repeat(400_000);

/** Writes over the same value until the file is about to be written anew. */
async function nearCompaction() {
  disk = newDisk();
  const { store } = await open();
  let tried = 0;
  let kept = 0;
  const write = async () => {
    const n = ++tried;
    try {
      await store.write([{ table: "messages", key: ["c", 1], value: `${n} ${body}` }, { table: "meta", key: ["n"], value: n }]);
      kept = n;
    } catch {
      expect(await store.get("meta", ["n"])).toBe(kept);
    }
  };
  for (let i = 0; i < 4; i++) await write();
  return { store, write, tried: () => tried, kept: () => kept };
}

/** How many operations the fifth and the sixth write make: with the fifth, the file is written anew. */
async function stepsOfCompaction(): Promise<number> {
  const { store, write } = await nearCompaction();
  const before = disk.files()[0]!.data.length;
  disk.fail(undefined);
  await write();
  expect(disk.files()[0]!.data.length).toBeLessThan(before / 2);
  await write();
  const steps = disk.steps();
  await store.close();
  return steps;
}

for (const [what, fault] of Object.entries(faults)) {
  for (const [ending, end] of Object.entries(endings)) {
    test(`${what}, at any step of writing the file anew, loses nothing that was promised when ${ending}`, async () => {
      const steps = await stepsOfCompaction();
      expect(steps).toBeGreaterThan(10);
      for (let at = 1; at <= steps; at++) {
        const { store, write, tried, kept } = await nearCompaction();
        disk.fail({ ...fault, at });
        for (let i = 0; i < 3; i++) await write();
        disk.heal();
        for (let i = 0; i < 3; i++) await write();
        if (fault.code === "ENOSPC") expect([at, kept()]).toEqual([at, tried()]);
        await store.close();
        end();

        const again = await open();
        expect([at, again.cause, again.lost]).toEqual([at, undefined, undefined]);
        const n = Number(await again.store.get("meta", ["n"]));
        expect(await again.store.get("messages", ["c", 1])).toBe(`${n} ${body}`);
        // A batch whose sync has worked and said that it failed may be there.
        if (fault.done) expect(n).toBeGreaterThanOrEqual(kept());
        else expect([at, n]).toEqual([at, kept()]);
        await again.store.close();
        const { path, data } = disk.files()[0]!;
        expect(disk.files().length, disk.files().map((file) => file.path).join()).toBe(1);
        expect([path.endsWith(".belfry"), data.length < 6_000_000]).toEqual([true, true]);
      }
    });
  }
}

for (const [what, fault] of Object.entries(faults)) {
  for (const [ending, end] of Object.entries(endings)) {
    test(`${what}, at any step of opening a damaged file, keeps the outbox when ${ending}`, async () => {
      for (let at = 1, reached = true; reached; at++) {
        disk = newDisk();
        const { store } = await open();
        await store.append("outbox", "waits");
        await store.write([{ table: "meta", key: ["n"], value: 1 }]);
        await store.write([{ table: "meta", key: ["n"], value: 2 }]);
        await store.close();
        const { path, data } = disk.files()[0]!;
        const damaged = Buffer.from(data);
        damaged[damaged.length - 40]! ^= 1; // in the record before the last
        disk.put(path, damaged);

        disk.fail({ ...fault, at });
        // It opens, or says that it cannot: it does not go on in memory.
        const first = await open().catch((err: unknown) => void expect(err).toMatchObject({ code: "storage", cause: { code: fault.code } }));
        reached = disk.steps() >= at;
        if (!reached) expect(first?.lost).toBe(true);
        disk.heal();
        await first?.store.close();
        end();
        const { store: second, cause } = await open();
        expect([at, cause, await second.list("outbox", {})]).toEqual([at, undefined, [{ key: [1], value: "waits" }]]);
        await second.close();
      }
    });
  }
}
