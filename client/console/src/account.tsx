import { useStatus } from "@belfry/client/react";
import { useState, type JSX } from "react";
import type { Opened } from "./chat.tsx";
import { useModel } from "./context.ts";
import { useFormat } from "./format.ts";
import { useText } from "./i18n.ts";
import { Icon } from "./icons.tsx";
import { Preferences } from "./preferences.tsx";
import { useView } from "./state.ts";
import { connectionText } from "./status.tsx";
import { Dialog, useConfirm } from "./ui.tsx";

/** Everything that concerns this person and this browser. */
export function AccountDialog({ onClose, onOpen, onSignOut }: { onClose: () => void; onOpen: (dialog: Opened) => void; onSignOut: () => void }): JSX.Element {
  const t = useText();
  const { client, user } = useModel();
  const { outbox } = useStatus(client);
  const [dialog, confirm] = useConfirm();
  const rows = [
    { icon: "info", label: t.state, to: "state" },
    { icon: "block", label: t.blocked, to: "blocked" },
    { icon: "keys", label: t.keys, to: "keys" },
  ] as const;
  return (
    <Dialog title={user} onClose={onClose}>
      <Preferences />
      <ul className="choices">
        {rows.map(({ icon, label, to }) => (
          <li key={to}>
            <button type="button" onClick={() => onOpen(to)}>
              <Icon name={icon} />
              {label}
            </button>
          </li>
        ))}
        <li>
          <button
            type="button"
            className="danger"
            onClick={() =>
              confirm({
                title: t.signOut,
                hint: outbox > 0 ? `${t.signOutHint} ${t.signOutOutbox(outbox)}` : t.signOutHint,
                yes: t.signOut,
                danger: true,
                action: onSignOut,
              })
            }
          >
            <Icon name="out" />
            {t.signOut}
          </button>
        </li>
      </ul>
      {dialog}
    </Dialog>
  );
}

export function BlockedDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const t = useText();
  const { client, blocked, act } = useModel();
  const users = [...useView(blocked)].sort();
  return (
    <Dialog title={t.blocked} onClose={onClose}>
      {users.length === 0 && <p>{t.nobodyBlocked}</p>}
      <ul className="rows">
        {users.map((user) => (
          <li key={user}>
            <span>{user}</span>
            <button type="button" className="button small" onClick={() => void act(client.request("unblock", { user }))}>
              {t.unblock}
            </button>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

/** How connection, outbox and store do, and the trace to report a fault with. */
export function StateDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const t = useText();
  const format = useFormat();
  const { client, act } = useModel();
  const status = useStatus(client);
  const { durability, cause, lost } = status.storage;
  return (
    <Dialog title={t.state} onClose={onClose}>
      <dl className="facts">
        <dt>{t.connection}</dt>
        <dd>
          {connectionText(t, status)} <span className="quiet">{t.since(format.full(status.since))}</span>
          {status.error && status.connection !== "online" && <p className="quiet">{t.codes[status.error.code]}</p>}
          {status.connection === "waiting" && <p className="quiet">{t.retries}</p>}
        </dd>
        <dt>{t.outboxLabel}</dt>
        <dd>{t.outbox(status.outbox)}</dd>
        <dt>{t.storage}</dt>
        <dd>
          {t.storages[durability]}
          {cause !== undefined && <p className="quiet">{t.causes[cause]}</p>}
          {lost && <p className="quiet">{t.storageLost}</p>}
        </dd>
        <dt>{t.tabs}</dt>
        <dd>{status.leader ? t.leader : t.follower}</dd>
      </dl>
      <div className="dialog-actions spread">
        <p className="hint">{t.exportHint}</p>
        <button type="button" className="button" onClick={() => void act(client.exportTrace().then(saveTrace))}>
          <Icon name="trace" />
          {t.exportTrace}
        </button>
      </div>
    </Dialog>
  );
}

function saveTrace(trace: object): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(trace, null, 1)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = "belfry-trace.json";
  link.click();
  URL.revokeObjectURL(url);
}

export function KeysDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const t = useText();
  const [command] = useState(() => (/Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl"));
  const keys: [string, string][] = [
    [`${command} K`, t.keyList.search],
    ["Alt ↓  Alt ↑", t.keyList.next],
    ["Alt N", t.keyList.newChat],
    ["↑", t.keyList.messages],
    ["Enter", t.keyList.menu],
    ["Esc", t.keyList.escape],
    ["?", t.keyList.help],
  ];
  return (
    <Dialog title={t.keys} onClose={onClose}>
      <dl className="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              {key.split(/ {2}/).map((k) => (
                <kbd key={k}>{k}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p className="hint">{t.sendHint}</p>
    </Dialog>
  );
}
