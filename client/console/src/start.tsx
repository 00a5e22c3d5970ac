import type { Group } from "@belfry/client";
import { useState, type FormEvent, type JSX } from "react";
import { openConversation, useModel } from "./context.ts";
import { validGroup, validUser } from "./conv.ts";
import { useText } from "./i18n.ts";
import { Dialog, Field } from "./ui.tsx";

export function NewChatDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const t = useText();
  const [name, setName] = useState("");
  const [wrong, setWrong] = useState(false);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (!validUser(name.trim())) return setWrong(true);
    onClose();
    openConversation(`u:${name.trim()}`);
  };
  return (
    <Dialog title={t.newChat} onClose={onClose}>
      <form onSubmit={submit} noValidate>
        <Field label={t.userName} error={wrong ? t.nameRule : undefined}>
          {(id, described) => <input id={id} aria-describedby={described} aria-invalid={wrong} value={name} onChange={(e) => setName(e.target.value)} autoFocus autoComplete="off" autoCapitalize="none" spellCheck={false} />}
        </Field>
        <div className="dialog-actions">
          <button type="submit" className="button primary">
            {t.start}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

const kinds = ["private", "public", "chatroom", "live"] as const;

/** The names in a text, with spaces or commas between them. */
export const names = (text: string): string[] => text.split(/[\s,]+/).filter((name) => name !== "");

export function NewGroupDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const t = useText();
  const { client, act, learn, toast, joinLive } = useModel();
  const [kind, setKind] = useState<Group["kind"]>("private");
  const [name, setName] = useState("");
  const [id, setId] = useState("");
  const [invited, setInvited] = useState("");
  const wrongId = id.trim() !== "" && !validGroup(id.trim());

  const create = async (): Promise<void> => {
    const made = await client.request("createGroup", {
      kind,
      ...(id.trim() !== "" && { group: id.trim() }),
      ...(kind !== "live" && name.trim() !== "" && { name: name.trim() }),
      ...(kind !== "live" && { members: names(invited) }),
    });
    if (made.failed) toast(t.couldNotAdd(made.failed.map((f) => f.user).join(", ")), "error");
    learn(await client.request("getGroup", { group: made.group }));
    if (kind === "live") await joinLive(made.group);
    onClose();
    openConversation(`g:${made.group}`);
  };
  return (
    <Dialog title={t.newGroup} onClose={onClose}>
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          if (!wrongId) void act(create());
        }}
      >
        <fieldset className="kinds">
          <legend>{t.kind}</legend>
          {kinds.map((one) => (
            <label key={one} className={one === kind ? "kind chosen" : "kind"}>
              <input type="radio" name="kind" value={one} checked={one === kind} onChange={() => setKind(one)} />
              <span>
                <strong>{t.kinds[one]}</strong>
                <small>{t.kindHints[one]}</small>
              </span>
            </label>
          ))}
        </fieldset>
        {kind !== "live" && (
          <Field label={t.groupName}>{(field) => <input id={field} value={name} dir="auto" onChange={(e) => setName(e.target.value)} maxLength={128} autoComplete="off" />}</Field>
        )}
        <Field label={t.groupId} hint={t.groupIdHint} error={wrongId ? t.nameRule : undefined}>
          {(field, described) => <input id={field} aria-describedby={described} aria-invalid={wrongId} value={id} onChange={(e) => setId(e.target.value)} autoComplete="off" autoCapitalize="none" spellCheck={false} />}
        </Field>
        {kind !== "live" && (
          <Field label={t.invite} hint={t.inviteHint}>
            {(field, described) => <input id={field} aria-describedby={described} value={invited} onChange={(e) => setInvited(e.target.value)} autoComplete="off" autoCapitalize="none" spellCheck={false} />}
          </Field>
        )}
        <div className="dialog-actions">
          <button type="submit" className="button primary">
            {t.create}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function JoinGroupDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const t = useText();
  const { client, act, learn, toast, joinLive } = useModel();
  const [id, setId] = useState("");
  const [message, setMessage] = useState("");
  const group = id.trim();

  const join = async (): Promise<void> => {
    const reply = await client.request("joinGroup", { group, ...(message.trim() !== "" && { message: message.trim() }) });
    onClose();
    if (reply.pending) return toast(t.joinPending);
    const details = await client.request("getGroup", { group });
    learn(details);
    if (details.kind === "live") await joinLive(group);
    openConversation(`g:${group}`);
  };
  return (
    <Dialog title={t.joinGroup} onClose={onClose}>
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          if (validGroup(group)) void act(join());
        }}
      >
        <Field label={t.groupId}>{(field) => <input id={field} value={id} onChange={(e) => setId(e.target.value)} autoFocus autoComplete="off" autoCapitalize="none" spellCheck={false} />}</Field>
        <Field label={t.joinMessage}>{(field) => <input id={field} value={message} dir="auto" onChange={(e) => setMessage(e.target.value)} autoComplete="off" />}</Field>
        <div className="dialog-actions">
          <button type="submit" className="button primary">
            {t.join}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
