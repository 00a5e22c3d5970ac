import { type FormEvent, type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { type ApiError, call, storedToken, storeToken } from "./api.ts";
import { AuditPage } from "./audit.tsx";
import { GroupPage } from "./group.tsx";
import { MessagePage, TracePage } from "./message.tsx";
import { NodesPage } from "./nodes.tsx";
import { Failure } from "./parts.tsx";
import { asApiError, type Live, LiveContext } from "./poll.ts";
import { RightsContext } from "./rights.ts";
import { fromHash, overviews, parseSearch, type Route, searchForms, toHash } from "./route.ts";
import { SettingsPage } from "./settings.tsx";
import { SickPage } from "./sick.tsx";
import type { Token } from "./types.ts";
import { UserPage } from "./user.tsx";

/** The page: first whoever looks at it proves who they are, unless the server is open to its machine. */
export function App(): ReactNode {
  const [token, setToken] = useState<Token>();
  const [error, setError] = useState<ApiError>();
  const [asking, setAsking] = useState(true);
  const enter = useCallback(async (): Promise<void> => {
    setAsking(true);
    try {
      setToken(await call<Token>("GET", "/v1/token"));
      setError(undefined);
    } catch (cause) {
      const refused = asApiError(cause);
      setError(storedToken() === "" && refused.status === 401 ? undefined : refused);
      if (refused.status === 401) storeToken("");
      setToken(undefined);
    }
    setAsking(false);
  }, []);
  useEffect(() => void enter(), [enter]);
  const leave = useCallback((): void => {
    storeToken("");
    void enter();
  }, [enter]);
  if (token !== undefined) return <Operator token={token} onLeave={leave} />;
  return (
    <div className="entry">
      <main>
        <h1>Belfry operator</h1>
        {asking ? <p role="status">Asking the server …</p> : <TokenForm onEnter={() => void enter()} />}
        <Failure error={error} />
      </main>
    </div>
  );
}

function TokenForm({ onEnter }: { onEnter(): void }): ReactNode {
  const [token, setToken] = useState("");
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    storeToken(token.trim());
    onEnter();
  };
  return (
    <form onSubmit={submit}>
      <label htmlFor="token">Admin token</label>
      <input id="token" type="password" required autoComplete="off" spellCheck={false} value={token} onChange={(event) => setToken(event.target.value)} />
      <p className="quiet">One of --admin-token-file, with the scope read at least. It is kept in this tab alone.</p>
      <button type="submit" className="primary">
        Look in
      </button>
    </form>
  );
}

const titles: Readonly<Record<(typeof overviews)[number], string>> = { nodes: "Memory and nodes", sick: "Sick sessions", settings: "Settings", audit: "Audit" };

/** What is shown at the fragment of the page's address. */
function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = (): void => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return useMemo(() => fromHash(hash), [hash]);
}

function Operator({ token, onLeave }: { token: Token; onLeave(): void }): ReactNode {
  const route = useRoute();
  const [paused, pause] = useState(false);
  const [round, setRound] = useState(0);
  const live = useMemo<Live>(() => ({ paused, round, onUnauthorized: onLeave }), [paused, round, onLeave]);
  const rights = useMemo(() => ({ write: token.scopes.includes("write"), cluster: token.cluster && token.scopes.includes("cluster") }), [token]);
  const heading = useRef<HTMLHeadingElement>(null);
  const shown = useRef(toHash(route));
  useEffect(() => {
    if (shown.current === toHash(route)) return; // the first page leaves the focus where it is
    shown.current = toHash(route);
    heading.current?.focus();
  }, [route]);
  return (
    <LiveContext value={live}>
      <RightsContext value={rights}>
        <div className="frame">
          <header>
            <h1>Belfry operator</h1>
            <Search />
            <div className="buttons">
              <button type="button" aria-pressed={paused} onClick={() => pause(!paused)}>
                {paused ? "Paused" : "Pause"}
              </button>
              <button type="button" onClick={() => setRound((n) => n + 1)}>
                Refresh
              </button>
              {token.name !== "" && (
                <button type="button" onClick={onLeave}>
                  Forget token
                </button>
              )}
            </div>
            <p className="quiet">
              Asked: {token.node}, {token.name === "" ? "open to this machine" : `token ${token.name}`}, {rights.write ? "may change" : "may only look"}
            </p>
            <nav aria-label="Overviews">
              {overviews.map((page) => (
                <a key={page} href={toHash({ page })} aria-current={route.page === page ? "page" : undefined}>
                  {titles[page]}
                </a>
              ))}
            </nav>
          </header>
          <main>
            <h2 ref={heading} tabIndex={-1}>
              {titleOf(route)}
            </h2>
            <Page key={toHash(route)} route={route} />
          </main>
        </div>
      </RightsContext>
    </LiveContext>
  );
}

function Search(): ReactNode {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const route = parseSearch(text);
    setWrong(route === null);
    if (route !== null) location.hash = toHash(route);
  };
  return (
    <search>
      <form className="line" onSubmit={submit}>
        <label htmlFor="search" className="sr-only">
          Search
        </label>
        <input
          id="search"
          type="search"
          placeholder="alice, g:team, message id, alice u:bob 12"
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          value={text}
          aria-invalid={wrong}
          aria-describedby="search-forms"
          onChange={(event) => {
            setText(event.target.value);
            setWrong(false);
          }}
        />
        <button type="submit" className="primary">
          Search
        </button>
      </form>
      <p id="search-forms" role={wrong ? "alert" : undefined} className={wrong ? "failure" : "sr-only"}>
        Want {searchForms}
      </p>
    </search>
  );
}

function titleOf(route: Route): string {
  switch (route.page) {
    case "user":
      return `User ${route.user}`;
    case "group":
      return `Group ${route.group}`;
    case "message":
      return `Message ${route.id}`;
    case "trace":
      return `Message ${route.seq} of ${route.conv}${route.user === "" ? "" : ` as ${route.user} has it`}`;
    default:
      return titles[route.page];
  }
}

function Page({ route }: { route: Route }): ReactNode {
  switch (route.page) {
    case "user":
      return <UserPage user={route.user} />;
    case "group":
      return <GroupPage group={route.group} />;
    case "message":
      return <MessagePage id={route.id} />;
    case "trace":
      return <TracePage user={route.user} conv={route.conv} seq={route.seq} />;
    case "nodes":
      return <NodesPage />;
    case "sick":
      return <SickPage />;
    case "settings":
      return <SettingsPage />;
    case "audit":
      return <AuditPage />;
  }
}
