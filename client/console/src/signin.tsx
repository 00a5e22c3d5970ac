import { useEffect, useState, type FormEvent, type JSX } from "react";
import { validUser } from "./conv.ts";
import { useText } from "./i18n.ts";
import { Mark } from "./icons.tsx";
import { Preferences } from "./preferences.tsx";
import { devTokens, userOf, type Identity } from "./session.ts";
import { Dialog, Field } from "./ui.tsx";

type How = "asking" | "name" | "token" | "gone";

/** The first page: a name where the server makes tokens, else a token. */
export function SignIn({ onSignIn }: { onSignIn: (identity: Identity) => void }): JSX.Element {
  const t = useText();
  const [how, setHow] = useState<How>("asking");
  const [tries, setTries] = useState(0);
  useEffect(() => {
    let over = false;
    devTokens().then(
      (dev) => !over && setHow(dev ? "name" : "token"),
      () => !over && setHow("gone"),
    );
    return () => {
      over = true;
    };
  }, [tries]);
  return (
    <main className="sign-in">
      <div className="sign-in-card">
        <Mark />
        <h1>Belfry</h1>
        <p className="lead">{t.signInIntro}</p>
        {how === "name" && <NameForm onName={(user) => onSignIn({ user, token: null })} />}
        {how === "token" && <TokenForm onToken={(token, user) => onSignIn({ user, token })} />}
        {how === "gone" && (
          <div role="alert">
            <p>{t.serverGone}</p>
            <button type="button" className="button" onClick={() => setTries(tries + 1)}>
              {t.tryAgain}
            </button>
          </div>
        )}
      </div>
      <Preferences />
    </main>
  );
}

function NameForm({ onName }: { onName: (user: string) => void }): JSX.Element {
  const t = useText();
  const [name, setName] = useState("");
  const [wrong, setWrong] = useState(false);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (validUser(name.trim())) onName(name.trim());
    else setWrong(true);
  };
  return (
    <form onSubmit={submit} noValidate>
      <Field label={t.yourName} hint={t.devNote} error={wrong ? t.nameRule : undefined}>
        {(id, described) => (
          <input id={id} aria-describedby={described} aria-invalid={wrong} value={name} onChange={(e) => setName(e.target.value)} autoFocus autoComplete="username" autoCapitalize="none" spellCheck={false} />
        )}
      </Field>
      <button type="submit" className="button primary">
        {t.enter}
      </button>
    </form>
  );
}

function TokenForm({ user, onToken }: { user?: string; onToken: (token: string, user: string) => void }): JSX.Element {
  const t = useText();
  const [token, setToken] = useState("");
  const [wrong, setWrong] = useState(false);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const of = userOf(token);
    if (of !== null && (user === undefined || of === user)) onToken(token.trim(), of);
    else setWrong(true);
  };
  return (
    <form onSubmit={submit} noValidate>
      <Field label={t.token} hint={t.tokenHint} error={wrong ? t.tokenWrong : undefined}>
        {(id, described) => (
          <textarea id={id} className="token" rows={4} aria-describedby={described} aria-invalid={wrong} value={token} onChange={(e) => setToken(e.target.value)} autoFocus autoComplete="off" autoCapitalize="none" spellCheck={false} />
        )}
      </Field>
      <button type="submit" className="button primary">
        {t.enter}
      </button>
    </form>
  );
}

/** Asks for another token while the session waits for it. */
export function TokenDialog({ user, onToken }: { user: string; onToken: (token: string) => void }): JSX.Element {
  const t = useText();
  return (
    <Dialog title={t.tokenAgain} onClose={() => undefined} mustAnswer>
      <p>{t.tokenAgainHint}</p>
      <TokenForm user={user} onToken={onToken} />
    </Dialog>
  );
}
