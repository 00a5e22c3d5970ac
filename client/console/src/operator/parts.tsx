import { type ReactNode, useContext, useEffect, useId, useRef, useState } from "react";
import { type ApiError, call } from "./api.ts";
import { asApiError } from "./poll.ts";
import { RightsContext } from "./rights.ts";
import { type Route, routeOfConv, toHash } from "./route.ts";

export function Link({ to, children }: { to: Route; children: ReactNode }): ReactNode {
  return <a href={toHash(to)}>{children}</a>;
}

/** A conversation's name, which leads to its user or group. */
export function ConvLink({ conv }: { conv: string }): ReactNode {
  return <Link to={routeOfConv(conv)}>{conv}</Link>;
}

export function UserLink({ user }: { user: string }): ReactNode {
  return user === "" ? "–" : <Link to={{ page: "user", user }}>{user}</Link>;
}

export function Failure({ error }: { error: ApiError | undefined }): ReactNode {
  if (error === undefined) return null;
  return (
    <p className="failure" role="alert">
      <strong>
        {error.code}
        {error.status > 0 && ` (${error.status})`}
      </strong>{" "}
      {error.message}
    </p>
  );
}

/** Says which nodes did not answer. */
export function MissingNodes({ missing }: { missing: readonly string[] }): ReactNode {
  if (missing.length === 0) return null;
  return (
    <p className="warning" role="status">
      Without what these nodes know, which did not answer: {missing.join(", ")}
    </p>
  );
}

export interface Column<T> {
  name: string;
  cell(row: T): ReactNode;
  numeric?: boolean;
}

/** A table that scrolls sideways by itself where it is too wide. */
export function Table<T>({ caption, columns, rows, keyOf, empty }: { caption: string; columns: readonly Column<T>[]; rows: readonly T[]; keyOf(row: T): string | number; empty: string }): ReactNode {
  const id = useId();
  if (rows.length === 0) {
    return (
      <div className="table">
        <h3>{caption}</h3>
        <p className="quiet">{empty}</p>
      </div>
    );
  }
  return (
    <div className="table" role="region" aria-labelledby={id} tabIndex={0}>
      <table>
        <caption id={id}>{caption}</caption>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.name} scope="col" className={c.numeric ? "numeric" : undefined}>
                {c.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              {columns.map((c) => (
                <td key={c.name} className={c.numeric ? "numeric" : undefined}>
                  {c.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Names and their values. */
export function Facts({ of }: { of: Readonly<Record<string, ReactNode>> }): ReactNode {
  return (
    <dl className="facts">
      {Object.entries(of).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What an operator may change with the token of this page. */
export function useMayWrite(): boolean {
  return useContext(RightsContext).write;
}

/**
 * A button for a change, which asks once more. It is not there without the scope write.
 * It may go with what it changed: what came of it is for whoever gets `onDone` to tell.
 */
export function ChangeButton<T>({ label, question, path, onDone }: { label: string; question: string; path: string; onDone(answer: T): void }): ReactNode {
  const may = useMayWrite();
  const dialog = useRef<HTMLDialogElement>(null);
  const [error, fail] = useState<ApiError>();
  const [busy, setBusy] = useState(false);
  const id = useId();
  useEffect(() => fail(undefined), [path]);
  if (!may) return null;
  const change = async (): Promise<void> => {
    dialog.current?.close();
    setBusy(true);
    fail(undefined);
    try {
      onDone(await call<T>("DELETE", path));
    } catch (cause) {
      fail(asApiError(cause));
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" className="danger" disabled={busy} onClick={() => dialog.current?.showModal()}>
        {label}
      </button>
      <dialog ref={dialog} aria-labelledby={id}>
        <p id={id}>{question}</p>
        <div className="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="button" className="danger" onClick={() => void change()}>
            {label}
          </button>
        </div>
      </dialog>
      <Failure error={error} />
    </>
  );
}
