/** Who is typing in a conversation. */
import type { Client, View } from "./api.ts";
import { liveView } from "./views.ts";

/** How long somebody counts as typing after a notice of it, in milliseconds. */
const TYPING_MS = 6000;

const nobody: readonly string[] = [];

/**
 * The users who are typing in a conversation, in the order in which they began: each until
 * their message comes, or 6 s after the last notice. It listens while it has subscribers.
 */
export function typingView(client: Pick<Client, "on">, conv: string): View<readonly string[]> {
  const timers = new Map<string, ReturnType<typeof setTimeout>>();
  const publish = () => view.publish(timers.size ? [...timers.keys()] : nobody);
  const gone = (user: string) => {
    clearTimeout(timers.get(user));
    if (timers.delete(user)) publish();
  };
  const view = liveView(nobody, () => {
    const offs = [
      client.on("typing", (event) => {
        if (event.conv !== conv) return;
        const { user } = event;
        const known = timers.has(user);
        clearTimeout(timers.get(user));
        timers.set(user, setTimeout(gone, TYPING_MS, user));
        if (!known) publish();
      }),
      client.on("messages", (messages) => {
        for (const message of messages) if (message.conv === conv) gone(message.from);
      }),
    ];
    return () => {
      for (const off of offs) off();
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
      publish();
    };
  });
  return view;
}
