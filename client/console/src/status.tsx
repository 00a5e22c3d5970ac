import type { Status } from "@belfry/client";
import { useStatus } from "@belfry/client/react";
import type { JSX } from "react";
import { Avatar } from "./avatar.tsx";
import { useModel } from "./context.ts";
import { useText, type Text } from "./i18n.ts";

/** How the connection does, in a word or two. */
export function connectionText(t: Text, status: Status): string {
  if (status.connection === "online" && !status.synced) return t.syncing;
  return t.connections[status.connection];
}

/** What keeps messages from being kept, null if nothing does. */
export function storageTrouble(t: Text, status: Status): string | null {
  const { durability, cause } = status.storage;
  if (durability === "persistent" || (durability === "temporary" && (cause === undefined || cause === "notGranted"))) return null;
  return t.storages[durability] + (cause === undefined ? "" : `: ${t.causes[cause]}`);
}

/** The foot of the list: who is signed in, and how connection and storage do. */
export function StateLamp({ onOpen, onAccount }: { onOpen: () => void; onAccount: () => void }): JSX.Element {
  const t = useText();
  const { client, user } = useModel();
  const status = useStatus(client);
  const trouble = storageTrouble(t, status);
  return (
    <footer className="sidebar-foot">
      <button type="button" className="who" onClick={onAccount} >
        <span className="sr-only">{t.account}: </span>
        <Avatar conv={`u:${user}`} />
        <span className="who-name">{user}</span>
      </button>
      <button type="button" className={`state-lamp is-${status.connection} ${status.synced ? "" : "is-behind"}`} onClick={onOpen} title={t.state}>
        <span className="lamp" aria-hidden="true" />
        <span>
          {connectionText(t, status)}
          {status.outbox > 0 && <span className="sr-only">. {t.outbox(status.outbox)}</span>}
        </span>
        {status.outbox > 0 && (
          <span className="count" aria-hidden="true">
            {status.outbox}
          </span>
        )}
        {trouble !== null && (
          <span className="warn" title={trouble}>
            !<span className="sr-only">{trouble}</span>
          </span>
        )}
      </button>
      <span className="sr-only" role="status">
        {connectionText(t, status)}
      </span>
    </footer>
  );
}

/** A line above the messages while something is wrong that the person should know of. */
export function Banner(): JSX.Element | null {
  const t = useText();
  const status = useStatus(useModel().client);
  if (status.connection === "closed") {
    return (
      <p className="banner danger" role="alert">
        {t.connections.closed}
        {status.error && `: ${t.codes[status.error.code]}`}
      </p>
    );
  }
  if (status.connection === "waiting") {
    return <p className="banner">{`${t.connections.waiting}${status.error ? `: ${t.codes[status.error.code]}` : ""}. ${t.retries}`}</p>;
  }
  const trouble = storageTrouble(t, status);
  return trouble === null ? null : <p className="banner">{`${t.storage}: ${trouble}`}</p>;
}
