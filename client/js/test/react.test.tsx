// @vitest-environment happy-dom
import { act, StrictMode, useState, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Client, Events, Status, View } from "../src/api.ts";
import { useConversations, useMessages, useStatus, useTyping } from "../src/react.ts";
import { conversationsView } from "../src/views.ts";
import { messageWindow } from "../src/window.ts";
import { conv, model, type Model } from "./window-model.ts";

Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });

type Handlers = { [Name in keyof Events]?: Set<(event: Events[Name]) => void> };

/** The part of a client that the hooks use, over the model. */
function clientOf(m: Model): { client: Client; emit: <N extends keyof Events>(name: N, event: Events[N]) => void; handlers: () => number } {
  const on: Handlers = {};
  const conversations = conversationsView(m);
  const status: View<Status> = {
    getSnapshot: m.status,
    subscribe: (fn) => m.listen((notice) => notice.status && fn()),
  };
  const client = {
    user: m.user,
    status,
    conversations: () => conversations,
    messages: (of: string, options?: { size?: number; at?: number }) => messageWindow(m, of, options),
    on<N extends keyof Events>(name: N, fn: (event: Events[N]) => void) {
      const fns = ((on as Record<string, unknown>)[name] ??= new Set()) as Set<typeof fn>;
      fns.add(fn);
      return () => void fns.delete(fn);
    },
  };
  return {
    client: client as unknown as Client,
    emit: (name, event) => on[name]?.forEach((fn) => (fn as (event: unknown) => void)(event)),
    handlers: () => Object.values(on).reduce((sum, fns) => sum + fns.size, 0),
  };
}

const turns = () => act(() => new Promise<void>((done) => setTimeout(done, 5)));

/** Renders, waits until `text` is shown, and fails if it never is. */
async function shows(node: HTMLElement, text: string): Promise<void> {
  await vi.waitFor(async () => {
    await turns();
    expect(node.textContent).toBe(text);
  }, 20_000);
}

const mounted: (() => Promise<void>)[] = [];
async function mount(of: ReactNode): Promise<{ node: HTMLElement; unmount: () => Promise<void> }> {
  const node = document.createElement("div");
  const root = createRoot(node);
  await act(async () => root.render(of));
  const unmount = () => act(async () => root.unmount());
  mounted.push(unmount);
  return { node, unmount };
}
afterEach(async () => {
  for (const unmount of mounted.splice(0)) await unmount();
  vi.useRealTimers();
});

let renders = 0;
function Messages({ client, of = conv }: { client: Client | undefined; of?: string }) {
  renders++;
  const { rows, before, older } = useMessages(client, of, { size: 4 });
  return (
    <p>
      {rows.map((row) => (row.kind === "message" ? row.message.body : row.kind === "gap" ? row.reason : row.cid)).join(" ")}
      <button onClick={() => void older()}>{before}</button>
    </p>
  );
}

async function filled(n: number): Promise<Model> {
  const m = model();
  for (let i = 0; i < n; i++) m.seqs.push({ what: m.message("bob", `x${i}`), held: true });
  await m.commit();
  return m;
}

describe("in React", () => {
  test("messages come, page and go, in StrictMode too, and unmounting leaves no subscription", async () => {
    const m = await filled(8);
    const { client } = clientOf(m);
    const { node, unmount } = await mount(<StrictMode><Messages client={client} /></StrictMode>);
    await shows(node, "5 6 7 8more");
    await act(async () => node.querySelector("button")!.click());
    await shows(node, "1 2 3 4 5 6 7 8start");
    m.seqs[1]!.what = "recalled";
    await act(() => m.commit());
    await shows(node, "1 recalled 3 4 5 6 7 8start");
    expect(m.listeners()).toBe(1);
    await unmount();
    expect(m.listeners()).toBe(0);
  });

  test("another conversation has another window, and the first is left", async () => {
    const m = await filled(3);
    const { client } = clientOf(m);
    let go: (conv: string) => void = () => {};
    function Page() {
      const [of, set] = useState(conv);
      go = set;
      return <Messages client={client} of={of} />;
    }
    const { node } = await mount(<Page />);
    await shows(node, "1 2 3start");
    await act(async () => go("u:nobody"));
    await shows(node, "start");
    expect(m.listeners()).toBe(1);
  });

  test("one commit of many messages renders once, and what changes nothing not at all", async () => {
    const m = await filled(8);
    const { node } = await mount(<Messages client={clientOf(m).client} />);
    await shows(node, "5 6 7 8more");
    renders = 0;
    for (let i = 0; i < 4; i++) m.seqs.push({ what: m.message("bob", `y${i}`), held: true });
    await act(() => m.commit());
    await shows(node, "5 6 7 8 9 10 11 12more");
    expect(renders).toBe(1);
    await act(() => m.commit());
    await turns();
    expect(renders).toBe(1);
  });

  test("status and conversations are those of the client", async () => {
    const m = await filled(2);
    const { client } = clientOf(m);
    function Page() {
      return <>{useStatus(client).connection} {useConversations(client).list.map((c) => `${c.conv} ${c.last?.body}`)}</>;
    }
    const { node } = await mount(<Page />);
    await shows(node, "online u:bob 2u:eve undefined");
    await act(async () => m.setOnline(false));
    await shows(node, "waiting u:bob 2u:eve undefined");
  });

  test("who is typing is until their message, or 6 s", async () => {
    const m = await filled(1);
    const { client, emit, handlers } = clientOf(m);
    function Page() {
      return <>{useTyping(client, conv).join()}</>;
    }
    const { node, unmount } = await mount(<Page />);
    vi.useFakeTimers();
    const type = (user: string, of = conv) => act(async () => emit("typing", { user, conv: of, time: 1 }));
    await type("bob");
    await type("eve");
    await type("mallory", "g:other");
    expect(node.textContent).toBe("bob,eve");
    await act(async () => emit("messages", [m.message("bob", "z")]));
    expect(node.textContent).toBe("eve");
    await act(async () => vi.advanceTimersByTime(5999));
    await type("eve");
    await act(async () => vi.advanceTimersByTime(5999));
    expect(node.textContent).toBe("eve");
    await act(async () => vi.advanceTimersByTime(1));
    expect(node.textContent).toBe("");
    await type("bob");
    await unmount();
    expect([handlers(), vi.getTimerCount()]).toEqual([0, 0]);
  });

  test("a server renders what is there before anything is read, with a client and without", async () => {
    const m = await filled(3);
    function Page({ client }: { client: Client | undefined }) {
      return <>{useStatus(client).connection} {useConversations(client).list.length} {useTyping(client, conv).length} <Messages client={client} /></>;
    }
    const without = renderToString(<Page client={undefined} />);
    expect(without.replaceAll(/<[^>]*>/g, "")).toBe("connecting 0 0 loading");
    expect(renderToString(<Page client={clientOf(m).client} />)).toBe(without);
    expect(m.listeners()).toBe(0);
  });
});
