import type { Failed, GroupDetails, Member } from "@belfry/client";
import { useCallback, useEffect, useState, type FormEvent, type JSX } from "react";
import { Avatar } from "./avatar.tsx";
import { openConversation, useModel } from "./context.ts";
import { useFormat } from "./format.ts";
import { useText } from "./i18n.ts";
import { names } from "./start.tsx";
import { useView } from "./state.ts";
import { Field, Menu, useConfirm, type Question } from "./ui.tsx";

const hour = 3_600_000;
const day = 24 * hour;
/** The longest ban that the protocol has, in seconds: ten years. */
const longestBan = 315_360_000;

interface Rights {
  readonly member: boolean;
  readonly admin: boolean;
  readonly owner: boolean;
}

/** Of a live group the page is a member, not the user: there is no role of plain members. */
const rightsOf = (group: GroupDetails, live: readonly string[]): Rights => ({
  member: group.role !== undefined || live.includes(group.group),
  admin: group.role === "owner" || group.role === "admin",
  owner: group.role === "owner",
});

/** A group's members, requests, bans and settings, as far as one may see and change them. */
export function GroupPanel({ group }: { group: GroupDetails }): JSX.Element {
  const { live } = useModel();
  const rights = rightsOf(group, useView(live));
  const [dialog, confirm] = useConfirm();
  return (
    <>
      {rights.admin && group.requests && group.requests.length > 0 && <Requests group={group} />}
      <Members group={group} rights={rights} confirm={confirm} />
      {group.kind !== "live" && (group.settings.join === "invite" ? rights.member : rights.admin) && <Invite group={group} />}
      {rights.admin && <GroupSettings group={group} rights={rights} />}
      {rights.admin && <Bans group={group} />}
      {rights.owner && group.kind !== "live" && <Transfer group={group} />}
      <Leave group={group} rights={rights} confirm={confirm} />
      {dialog}
    </>
  );
}

function Requests({ group }: { group: GroupDetails }): JSX.Element {
  const t = useText();
  const { client, act } = useModel();
  const answer = (user: string, accept: boolean): void => void act(client.request("answerJoin", { group: group.group, user, accept }));
  return (
    <section>
      <h3>{t.requests}</h3>
      <ul className="people">
        {group.requests?.map(({ user, message }) => (
          <li key={user}>
            <Avatar conv={`u:${user}`} />
            <span className="person">
              <span>{user}</span>
              {message !== undefined && (
                <small dir="auto" className="quiet">
                  {message}
                </small>
              )}
            </span>
            <button type="button" className="button small primary" onClick={() => answer(user, true)}>
              {t.accept}
            </button>
            <button type="button" className="button small" onClick={() => answer(user, false)}>
              {t.reject}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Members by pages, read again after each change of the group. */
function useMemberPages(group: GroupDetails, rights: Rights): { members: readonly Member[]; more: (() => void) | null; reload: () => void } {
  const { client, act, watch } = useModel();
  const [members, setMembers] = useState<readonly Member[]>([]);
  const [hasMore, setHasMore] = useState(false);
  const load = useCallback(
    async (after?: string): Promise<void> => {
      const page = await client.request("getMembers", { group: group.group, limit: 50, ...(after !== undefined && { after }) });
      setMembers((held) => (after === undefined ? page.members : [...held, ...page.members]));
      setHasMore(page.more);
      watch(page.members.map((m) => m.user));
    },
    [client, group.group, watch],
  );
  const reload = useCallback(() => {
    if (rights.member) void act(load());
  }, [act, load, rights.member]);
  useEffect(reload, [reload, group]);
  return { members, more: hasMore ? () => void act(load(members.at(-1)?.user)) : null, reload };
}

function Members({ group, rights, confirm }: { group: GroupDetails; rights: Rights; confirm: (q: Question) => void }): JSX.Element {
  const t = useText();
  const format = useFormat();
  const { user } = useModel();
  const { members, more, reload } = useMemberPages(group, rights);
  return (
    <section>
      <h3>{t.members(group.memberCount)}</h3>
      <ul className="people">
        {members.map((member) => (
          <li key={member.user}>
            <Avatar conv={`u:${member.user}`} />
            <span className="person">
              <span>{member.user === user ? `${member.user} (${t.you.toLocaleLowerCase()})` : member.user}</span>
              <small className="quiet">
                {t.roles[member.role]}
                {member.mutedUntil !== undefined && ` · ${t.mutedUntil(format.full(member.mutedUntil))}`}
              </small>
            </span>
            {member.user !== user && <MemberMenu group={group} member={member} rights={rights} confirm={confirm} onChange={reload} />}
          </li>
        ))}
      </ul>
      {more && (
        <button type="button" className="link" onClick={more}>
          {t.more}
        </button>
      )}
    </section>
  );
}

function MemberMenu({ group, member, rights, confirm, onChange }: { group: GroupDetails; member: Member; rights: Rights; confirm: (q: Question) => void; onChange: () => void }): JSX.Element {
  const t = useText();
  const { client, act, toast } = useModel();
  const { user } = member;
  const id = group.group;
  // An admin has no power over another one.
  const above = rights.owner || (rights.admin && member.role === "member");
  const change = (call: Promise<{ failed?: readonly Failed[] } | object>): void => {
    void act(
      call.then((reply) => {
        const failed = "failed" in reply ? (reply.failed ?? []) : [];
        if (failed.length > 0) toast(t.codes[failed[0]!.code as keyof typeof t.codes] ?? failed[0]!.code, "error");
      }),
    ).then(onChange);
  };
  const muteFor = (ms: number): void => change(client.request("setMember", { group: id, user, mutedUntil: ms === 0 ? 0 : Date.now() + ms }));
  const remove = (label: string, ban?: number): void =>
    confirm({
      title: label, hint: user, yes: label, danger: true,
      action: () => change(client.request("removeMembers", { group: id, users: [user], ...(ban !== undefined && { ban }) })),
    });
  const muted = member.mutedUntil !== undefined && member.mutedUntil > Date.now();
  return (
    <Menu
      label={t.memberMenu(user)}
      entries={[
        { label: t.newChat, action: () => openConversation(`u:${user}`) },
        rights.owner && member.role === "member" && { label: t.makeAdmin, action: () => change(client.request("setMember", { group: id, user, role: "admin" })) },
        rights.owner && member.role === "admin" && { label: t.makeMember, action: () => change(client.request("setMember", { group: id, user, role: "member" })) },
        above && !muted && { label: t.muteHour, action: () => muteFor(hour) },
        above && !muted && { label: t.muteDay, action: () => muteFor(day) },
        above && muted && { label: t.endMute, action: () => muteFor(0) },
        above && { label: t.removeMember, danger: true, action: () => remove(t.removeMember) },
        above && { label: t.banDay, danger: true, action: () => remove(t.banDay, day / 1000) },
        above && { label: t.banLong, danger: true, action: () => remove(t.banLong, longestBan) },
      ]}
    />
  );
}

function Invite({ group }: { group: GroupDetails }): JSX.Element {
  const t = useText();
  const { client, act, toast } = useModel();
  const [text, setText] = useState("");
  const add = async (): Promise<void> => {
    const { failed } = await client.request("addMembers", { group: group.group, users: names(text).slice(0, 100) });
    if (failed?.length > 0) toast(t.couldNotAdd(failed.map((f) => f.user).join(", ")), "error");
    setText("");
  };
  return (
    <form
      className="inline-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (names(text).length > 0) void act(add());
      }}
    >
      <Field label={t.invite} hint={t.inviteHint}>
        {(id, described) => <input id={id} aria-describedby={described} value={text} onChange={(e) => setText(e.target.value)} autoComplete="off" autoCapitalize="none" spellCheck={false} />}
      </Field>
      <button type="submit" className="button small" disabled={names(text).length === 0}>
        {t.invite}
      </button>
    </form>
  );
}

function GroupSettings({ group, rights }: { group: GroupDetails; rights: Rights }): JSX.Element {
  const t = useText();
  const { client, act } = useModel();
  const [name, setName] = useState(group.name);
  const set = (changes: Parameters<typeof client.request<"setGroup">>[1] extends infer A ? Partial<A> : never): void =>
    void act(client.request("setGroup", { group: group.group, ...changes }));
  const rename = (event: FormEvent): void => {
    event.preventDefault();
    if (name !== group.name) set({ name });
  };
  const { join, history, mutedAll } = group.settings;
  return (
    <section>
      <h3>{t.settings}</h3>
      {group.kind !== "live" && (
        <>
          <form className="inline-form" onSubmit={rename}>
            <Field label={t.groupName}>{(id) => <input id={id} value={name} dir="auto" onChange={(e) => setName(e.target.value)} autoComplete="off" />}</Field>
            <button type="submit" className="button small" disabled={name === group.name}>
              {t.save}
            </button>
          </form>
          <Field label={t.joinBy}>
            {(id) => (
              <select id={id} value={join} onChange={(e) => set({ join: e.target.value as typeof join })}>
                {(["invite", "approve", "open"] as const).map((value) => (
                  <option key={value} value={value}>
                    {t.joins[value]}
                  </option>
                ))}
              </select>
            )}
          </Field>
          {rights.owner && (
            <Field label={t.history}>
              {(id) => (
                <select id={id} value={history} onChange={(e) => set({ history: e.target.value as typeof history })}>
                  {(["sinceJoin", "all", "none"] as const).map((value) => (
                    <option key={value} value={value}>
                      {t.histories[value]}
                    </option>
                  ))}
                </select>
              )}
            </Field>
          )}
        </>
      )}
      <label className="check">
        <input type="checkbox" checked={mutedAll === true} onChange={(e) => set({ mutedAll: e.target.checked })} />
        {t.mutedAll}
      </label>
    </section>
  );
}

function Bans({ group }: { group: GroupDetails }): JSX.Element | null {
  const t = useText();
  const format = useFormat();
  const { client, act } = useModel();
  const [bans, setBans] = useState<readonly { user: string; until: number }[]>([]);
  const load = useCallback(() => {
    client.request("getBans", { group: group.group, limit: 100 }).then((reply) => setBans(reply.bans), () => undefined);
  }, [client, group.group]);
  useEffect(load, [load, group]);
  if (bans.length === 0) return null;
  return (
    <section>
      <h3>{t.bans}</h3>
      <ul className="people">
        {bans.map(({ user, until }) => (
          <li key={user}>
            <Avatar conv={`u:${user}`} />
            <span className="person">
              <span>{user}</span>
              <small className="quiet">{t.bannedUntil(format.full(until))}</small>
            </span>
            <button type="button" className="button small" onClick={() => void act(client.request("unban", { group: group.group, user })).then(load)}>
              {t.unban}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Transfer({ group }: { group: GroupDetails }): JSX.Element {
  const t = useText();
  const { client, act } = useModel();
  const [to, setTo] = useState("");
  return (
    <form
      className="inline-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (to.trim() !== "") void act(client.request("setGroup", { group: group.group, owner: to.trim() })).then((ok) => ok && setTo(""));
      }}
    >
      <Field label={t.transfer} hint={group.ownerOffered === undefined ? t.transferHint : t.offered(group.ownerOffered)}>
        {(id, described) => <input id={id} aria-describedby={described} value={to} onChange={(e) => setTo(e.target.value)} autoComplete="off" autoCapitalize="none" spellCheck={false} />}
      </Field>
      <button type="submit" className="button small" disabled={to.trim() === ""}>
        {t.transfer}
      </button>
    </form>
  );
}

function Leave({ group, rights, confirm }: { group: GroupDetails; rights: Rights; confirm: (q: Question) => void }): JSX.Element {
  const t = useText();
  const { client, act, leaveLive, joinLive } = useModel();
  const id = group.group;
  const join = (): Promise<unknown> => (group.kind === "live" ? joinLive(id) : act(client.request("joinGroup", { group: id })));
  const end = async (op: "leaveGroup" | "dismissGroup"): Promise<void> => {
    if (!(await act(client.request(op, { group: id })))) return;
    leaveLive(id);
    openConversation(null);
  };
  return (
    <div className="buttons">
      {!rights.member && group.settings.join !== "invite" && (
        <button type="button" className="button primary" onClick={() => void join()}>
          {t.join}
        </button>
      )}
      {rights.member && !rights.owner && (
        <button type="button" className="button danger" onClick={() => confirm({ title: t.leave, hint: t.leaveHint, yes: t.leave, danger: true, action: () => void end("leaveGroup") })}>
          {t.leave}
        </button>
      )}
      {rights.owner && (
        <button type="button" className="button danger" onClick={() => confirm({ title: t.dismiss, hint: t.dismissHint, yes: t.dismiss, danger: true, action: () => void end("dismissGroup") })}>
          {t.dismiss}
        </button>
      )}
    </div>
  );
}
