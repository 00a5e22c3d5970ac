/** When to ask for tokens, how long to pause between attempts of anything, and names that are nobody else's. */

/**
 * How many milliseconds from `now` on a token is to be replaced: a fifth of its time
 * before it expires, at most a minute, and up to as much again at random, so that
 * clients that logged in together do not all ask together. At least a second;
 * undefined if the token does not say.
 */
export function refreshIn(token: string, now: number): number | undefined {
  const exp = expiry(token);
  if (exp === undefined) return undefined;
  const left = exp - now;
  const reserve = Math.min(left / 5, 60_000);
  return Math.max(left - reserve - Math.random() * reserve, 1000);
}

/** The `exp` of a JWT in Unix milliseconds; undefined if it has none. Nothing else is checked: the server does that. */
export function expiry(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")));
    const exp = (claims as { exp?: unknown }).exp;
    return typeof exp === "number" && exp > 0 ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

/** The n-th pause, from 0: random between 0 and 250 ms × 2ⁿ, at most 30 s, so that clients that lost a server together spread out. */
export function backoff(n: number): number {
  return Math.random() * Math.min(30_000, 250 * 2 ** n);
}

/** A pause that the server named, and up to a quarter of it more. */
export function spread(ms: number): number {
  return ms * (1 + Math.random() / 4);
}

/** 32 random characters. Not crypto.randomUUID: pages without TLS and React Native lack it. */
export function randomID(): string {
  let id = "";
  while (id.length < 32) id += Math.random().toString(36).slice(2, 10);
  return id.slice(0, 32);
}
