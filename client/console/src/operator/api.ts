/** Calls of the administration API (docs/admin.md), at the origin of this page. */

/** What the server refused, or why it did not answer: then status is 0 and code "offline". */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

/** After how many milliseconds a call without an answer has failed. */
const patienceMs = 15_000;

const stored = "belfry.admin-token";

/** The operator's token, which lives as long as this tab; "" for none. */
export function storedToken(): string {
  return sessionStorage.getItem(stored) ?? "";
}

/** Keeps a token for this tab alone; "" forgets it. */
export function storeToken(token: string): void {
  if (token === "") sessionStorage.removeItem(stored);
  else sessionStorage.setItem(stored, token);
}

/** A name as it stands in a path. Its first letter is always encoded: it may be a word of the paths. */
export function inPath(name: string): string {
  const first = name.slice(0, 1);
  const code = first.charCodeAt(0);
  const encoded = code < 0x80 ? `%${code.toString(16).padStart(2, "0")}` : encodeURIComponent(first);
  return encoded + encodeURIComponent(name.slice(1));
}

/** A path with parameters; those that are undefined, "" or 0 are left out. */
export function withQuery(path: string, query: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) given.set(name, String(value));
  const text = given.toString();
  return text === "" ? path : `${path}?${text}`;
}

/**
 * Makes a call and resolves to its answer, undefined if it has no body. Rejects with an
 * ApiError, or with an AbortError once `signal` has aborted.
 */
export async function call<T>(method: "GET" | "DELETE", path: string, signal?: AbortSignal): Promise<T> {
  const limit = AbortSignal.timeout(patienceMs);
  const token = storedToken();
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, {
      method,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      headers: token === "" ? {} : { Authorization: `Bearer ${token}` },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    text = await response.text();
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(0, "offline", limit.aborted ? "the server does not answer" : "the server cannot be reached");
  }
  const answer = parse(text);
  if (response.ok) return answer as T;
  throw errorOf(response.status, answer);
}

function parse(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function errorOf(status: number, answer: unknown): ApiError {
  const { code, message } = (typeof answer === "object" && answer !== null ? answer : {}) as { code?: unknown; message?: unknown };
  return new ApiError(status, typeof code === "string" ? code : "internal", typeof message === "string" ? message : `status ${status}`);
}
