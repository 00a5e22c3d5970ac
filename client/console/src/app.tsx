import { createClient, type Client } from "@belfry/client";
import { indexedDB } from "@belfry/client/indexeddb";
import { useEffect, useState, type JSX } from "react";
import { Chat } from "./chat.tsx";
import { ModelContext } from "./context.ts";
import { useText } from "./i18n.ts";
import { createModel, type Model } from "./model.ts";
import { forget, remember, restore, socketURL, tokenSource, type Identity, type TokenQuestion } from "./session.ts";
import { SignIn, TokenDialog } from "./signin.tsx";
import type { Cell } from "./state.ts";
import { useView } from "./state.ts";

export function App(): JSX.Element {
  const [identity, setIdentity] = useState(restore);
  if (!identity) return <SignIn onSignIn={(next) => setIdentity(remember(next))} />;
  return (
    <Session
      key={identity.user}
      identity={identity}
      onSignOut={() => {
        forget();
        setIdentity(null);
      }}
    />
  );
}

interface Opened {
  readonly model: Model;
  readonly question: Cell<TokenQuestion | null>;
}

function open(identity: Identity, say: (code: keyof ReturnType<typeof useText>["codes"]) => string): Opened & { client: Client } {
  const { token, question } = tokenSource(identity);
  const client = createClient({ url: socketURL(), user: identity.user, token, store: indexedDB(), platform: "web", manualRead: true });
  return { client, question, model: createModel(client, say) };
}

/** One user's session, from the sign-in to the sign-out. */
function Session({ identity, onSignOut }: { identity: Identity; onSignOut: () => void }): JSX.Element | null {
  const t = useText();
  const [opened, setOpened] = useState<Opened | null>(null);
  useEffect(() => {
    const session = open(identity, (code) => t.codes[code]);
    setOpened(session);
    return () => {
      setOpened(null);
      session.model.close();
      void session.client.close();
    };
    // A session outlives the language it was begun in.
  }, [identity]);
  if (!opened) return null;
  const signOut = async (): Promise<void> => {
    await opened.model.act(opened.model.client.signOut());
    location.hash = "";
    onSignOut();
  };
  return (
    <ModelContext value={opened.model}>
      <Chat onSignOut={() => void signOut()} />
      <Question question={opened.question} user={identity.user} />
    </ModelContext>
  );
}

function Question({ question, user }: { question: Cell<TokenQuestion | null>; user: string }): JSX.Element | null {
  const asked = useView(question);
  return asked && <TokenDialog user={user} onToken={(token) => asked.answer(token)} />;
}
