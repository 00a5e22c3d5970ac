import { BelfryError, type ClientOptions } from "@belfry/client";
import { validUser } from "./conv.ts";
import { forgetNames } from "./names.ts";
import { cell, type Cell } from "./state.ts";

/** Who is signed in. `token` null: the server is for development and makes them. */
export interface Identity {
  readonly user: string;
  readonly token: string | null;
}

const stored = "belfry.session";

/** The user a token names, null if it is no token. The server checks it; this only reads. */
export function userOf(token: string): string | null {
  const parts = token.trim().split(".");
  if (parts.length !== 3) return null;
  try {
    const bytes = Uint8Array.from(atob(parts[1]!.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" && validUser(sub) ? sub : null;
  } catch {
    return null;
  }
}

/** Takes the token of `#token=` out of the address, so that nobody copies it along. */
function tokenOfAddress(): string | null {
  const given = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (given === undefined) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return decodeURIComponent(given);
}

/** Who is signed in since before the page was loaded, or by its address. */
export function restore(): Identity | null {
  const token = tokenOfAddress();
  const user = token === null ? null : userOf(token);
  if (token !== null && user !== null) return remember({ user, token });
  try {
    const { user, token } = JSON.parse(localStorage.getItem(stored) ?? "null") as Partial<Identity>;
    return typeof user === "string" && validUser(user) && (token === null || typeof token === "string") ? { user, token } : null;
  } catch {
    return null;
  }
}

export function remember(identity: Identity): Identity {
  localStorage.setItem(stored, JSON.stringify(identity));
  return identity;
}

export function forget(): void {
  localStorage.removeItem(stored);
  forgetNames();
}

/** Reports whether the server makes tokens for whoever asks. Rejects if it does not answer. */
export async function devTokens(): Promise<boolean> {
  const response = await fetch("./console.json", { headers: { accept: "application/json" } });
  const { devTokens } = (await response.json()) as { devTokens?: unknown };
  return devTokens === true;
}

async function devToken(user: string, signal: AbortSignal): Promise<string> {
  const response = await fetch("./dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
    signal,
  });
  const answer = (await response.json()) as { token?: unknown; message?: unknown };
  if (typeof answer.token === "string") return answer.token;
  // The server has become one that gives none. While it is down, fetch rejects instead.
  throw new BelfryError("unauthorized", String(answer.message ?? response.status));
}

/** Asks the person for another token: not null while the question stands. */
export interface TokenQuestion {
  answer(token: string): void;
}

/** Returns the source of tokens for a client, and the question that it may have for the person. */
export function tokenSource(identity: Identity): { token: ClientOptions["token"]; question: Cell<TokenQuestion | null> } {
  const question = cell<TokenQuestion | null>(null);
  let held = identity.token;
  const ask = (signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      const end = (): void => question.set(null);
      signal.addEventListener("abort", () => {
        end();
        reject(new BelfryError("aborted"));
      });
      question.set({
        answer(token) {
          held = token;
          remember({ ...identity, token });
          end();
          resolve(token);
        },
      });
    });
  return {
    question,
    token: async ({ reason, signal }) => {
      if (held === null) return devToken(identity.user, signal);
      return reason === "login" ? held : ask(signal);
    },
  };
}

/** The server's WebSocket, beside the page. */
export function socketURL(): string {
  const url = new URL("v1/ws", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}
