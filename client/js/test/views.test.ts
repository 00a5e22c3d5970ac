import { describe, expect, test, vi } from "vitest";
import { asValue } from "../src/history.ts";
import type { StoredConversation } from "../src/link.ts";
import { conversationsView, liveView } from "../src/views.ts";
import { model } from "./window-model.ts";

describe("the list of conversations", () => {
  const entry = (conv: string, time: number, more: Partial<StoredConversation> = {}): StoredConversation => ({
    conv, lastSeq: 0, time, readSeq: 0, listed: true, covered: [], lost: [], newest: 0, ...more,
  });

  async function open() {
    const m = model();
    const put = (of: StoredConversation) => m.db.write([{ table: "conversations", key: [of.conv], value: asValue(of) }]);
    await put(entry("u:bob", 5, { unread: 2, lastSeq: 1 }));
    await put(entry("u:eve", 9, { unread: 3, muted: true }));
    await put(entry("g:team", 1, { pinned: true }));
    await put(entry("u:gone", 7, { listed: false }));
    await m.db.write([{ table: "messages", key: ["u:bob", 1], value: asValue({ ...m.message("bob", "x"), conv: "u:bob" }) }]);
    const view = conversationsView(m);
    let told = 0;
    const stop = view.subscribe(() => told++);
    const settled = async (after: number) => {
      await vi.waitFor(() => expect(told).toBe(after), 20_000);
      return view.getSnapshot();
    };
    return { m, put, view, settled, stop, told: () => told };
  }

  test("has pinned ones first, then the newest, with their last message and sums", async () => {
    const { settled } = await open();
    const { list, unreadTotal, unreadUnmuted, complete } = await settled(1);
    expect(list.map((c) => c.conv)).toEqual(["g:team", "u:eve", "u:bob"]);
    expect(list[2]?.last?.body).toBe(1);
    expect([unreadTotal, unreadUnmuted, complete]).toEqual([5, 2, false]);
  });

  test("reads again what changed alone, and keeps the rest and itself", async () => {
    const { m, put, view, settled, told } = await open();
    const before = await settled(1);
    const read: string[] = [];
    const get = m.db.get;
    m.db.get = (table, key) => (read.push(`${table} ${key[0]}`), get(table, key));
    await put(entry("u:bob", 10));
    m.tell({ changed: { conversations: ["u:bob"] } });
    const after = await settled(2);
    expect(read).toEqual(["conversations u:bob", "meta listed"]);
    expect(after.list.map((c) => c.conv)).toEqual(["g:team", "u:bob", "u:eve"]);
    expect([after.list[0], after.list[2]]).toEqual([before.list[0], before.list[1]]);
    expect(after.list[0]).toBe(before.list[0]);

    m.tell({ changed: { conversations: ["u:bob"] } });
    await new Promise((done) => setImmediate(done));
    expect(view.getSnapshot()).toBe(after);
    expect(told()).toBe(2);
  });

  test("has conversations in which messages wait, or were refused, and nothing else is", async () => {
    const { m, put, settled, view, told } = await open();
    const send = (conv: string, queued: number, more = {}) => m.db.append("outbox", { conv, cid: `${conv} ${queued}`, body: 1, tried: 0, queued, ...more });
    await settled(1);
    await send("u:zoe", 20);
    await send("u:gone", 30, { refused: { code: "forbidden", message: "" } });
    const last = await send("u:zoe", 40);
    await send("u:bob", 50); // in the list as it is
    m.tell({ changed: { outbox: ["u:zoe", "u:gone", "u:bob"] } });
    const { list, unreadTotal } = await settled(2);
    expect(list.map((c) => [c.conv, c.time, c.lastSeq])).toEqual([["g:team", 1, 0], ["u:zoe", 40, 0], ["u:gone", 30, 0], ["u:eve", 9, 0], ["u:bob", 5, 1]]);
    expect(unreadTotal).toBe(5);
    // Another client of the store finds them there.
    const other = conversationsView(m);
    other.subscribe(() => {});
    await vi.waitFor(() => expect(other.getSnapshot()).toEqual(view.getSnapshot()), 20_000);
    await m.db.write([{ table: "outbox", remove: { from: [last], to: [last + 1] } }]);
    m.tell({ changed: { outbox: ["u:zoe"] } });
    expect((await settled(3)).list.find((c) => c.conv === "u:zoe")?.time).toBe(20);
    await put(entry("u:zoe", 60, { lastSeq: 1 }));
    await m.db.write([{ table: "outbox", remove: {} }]);
    m.tell({ changed: { conversations: ["u:zoe"], outbox: ["u:zoe", "u:gone"] } });
    expect((await settled(4)).list.map((c) => c.conv)).toEqual(["g:team", "u:zoe", "u:eve", "u:bob"]);
    expect(told()).toBe(4);
  });

  test("gathers what comes while it reads", async () => {
    const { m, put, view, settled, told } = await open();
    await settled(1);
    for (let i = 0; i < 100; i++) {
      void put(entry(`u:n${i}`, 100 + i));
      m.tell({ changed: { conversations: [`u:n${i}`] } });
    }
    await vi.waitFor(() => expect(view.getSnapshot().list.length).toBe(103), 20_000);
    expect(told()).toBe(2);
  });

  test("loses what is deleted, and everything at a sign-out", async () => {
    const { m, settled } = await open();
    await settled(1);
    await m.db.write([{ table: "conversations", remove: { from: ["u:bob"], to: ["u:bob", 0] } }]);
    m.tell({ changed: { conversations: ["u:bob"] } });
    expect((await settled(2)).list.map((c) => c.conv)).toEqual(["g:team", "u:eve"]);
    const status = { ...m.status(), connection: "closed" as const, ahead: 0 };
    m.status = () => status;
    await m.db.erase();
    m.tell({ changed: { all: true }, status });
    expect((await settled(3)).list).toEqual([]);
  });
});

describe("a view", () => {
  test("tells all subscribers, also when one throws, and starts and stops with the first and the last", async () => {
    const calls: string[] = [];
    const later = vi.spyOn(globalThis, "queueMicrotask").mockImplementation(() => {});
    const view = liveView(0, () => (calls.push("start"), () => calls.push("stop")));
    const fail = view.subscribe(() => {
      throw new Error("mine");
    });
    const fn = () => calls.push(`is ${view.getSnapshot()}`);
    const stops = [view.subscribe(fn), view.subscribe(fn)];
    view.publish(0);
    view.publish(1);
    expect(calls).toEqual(["start", "is 1", "is 1"]);
    fail();
    fail();
    stops[0]?.();
    view.publish(2);
    stops[1]?.();
    view.publish(3);
    expect(calls).toEqual(["start", "is 1", "is 1", "is 2", "stop"]);
    expect(view.getSnapshot()).toBe(3);
    expect(later).toHaveBeenCalledOnce();
    expect(later.mock.calls[0]![0]).toThrow("mine");
    later.mockRestore();
  });
});
