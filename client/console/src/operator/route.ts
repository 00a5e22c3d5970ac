/** What the page shows, in the fragment of its address, so that it can be shared and gone back to. */
export type Route =
  | { page: "nodes" | "sick" | "settings" | "audit" }
  | { page: "user"; user: string }
  | { page: "group"; group: string }
  | { page: "message"; id: string }
  | { page: "trace"; user: string; conv: string; seq: number };

/** The pages that stand in the navigation. */
export const overviews = ["nodes", "sick", "settings", "audit"] as const;

const ulid = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
const user = /^[!-~]{1,64}$/;
const group = /^[!-~]{1,48}$/;
const userConv = /^u:[!-~]{1,64}$/;

/** How people are told what they may search for. */
export const searchForms = "a user, u:user, g:group, a message id, g:group 12, or user u:peer 12";

/** What a search means, null if nothing: see searchForms. "#" may stand before a seq. */
export function parseSearch(text: string): Route | null {
  const words = text.trim().replace(/\s*#(?=\d+$)/, " ").split(/\s+/);
  const [first = "", second = "", third = ""] = words;
  switch (words.length) {
    case 1:
      if (first.startsWith("g:")) return toGroup(first.slice(2));
      if (first.startsWith("u:")) return toUser(first.slice(2));
      return toMessage(first) ?? toUser(first);
    case 2:
      return first.startsWith("g:") ? toTrace("", first, second) : null;
    case 3:
      return toTrace(first.replace(/^u:/, ""), second, third);
  }
  return null;
}

function toUser(name: string): Route | null {
  return user.test(name) ? { page: "user", user: name } : null;
}

function toGroup(name: string): Route | null {
  return group.test(name) ? { page: "group", group: name } : null;
}

function toMessage(id: string): Route | null {
  return ulid.test(id) ? { page: "message", id: id.toUpperCase() } : null;
}

function toTrace(name: string, conv: string, seq: string): Route | null {
  const ofGroup = conv.startsWith("g:") && group.test(conv.slice(2));
  const known = name === "" ? ofGroup : user.test(name) && (ofGroup || userConv.test(conv));
  return known && /^[1-9]\d{0,15}$/.test(seq) ? { page: "trace", user: name, conv, seq: Number(seq) } : null;
}

/** The fragment of a route, with "#". */
export function toHash(route: Route): string {
  const part = encodeURIComponent;
  switch (route.page) {
    case "user":
      return `#/user/${part(route.user)}`;
    case "group":
      return `#/group/${part(route.group)}`;
    case "message":
      return `#/message/${part(route.id)}`;
    case "trace":
      return `#/trace/${part(route.user)}/${part(route.conv)}/${route.seq}`;
    default:
      return `#/${route.page}`;
  }
}

/** The route of a fragment; the first overview for one that has no meaning. */
export function fromHash(hash: string): Route {
  const [page = "", a = "", b = "", c = ""] = hash.replace(/^#\//, "").split("/").map(decode);
  const overview = overviews.find((name) => name === page);
  if (overview !== undefined) return { page: overview };
  const parsed =
    page === "user" ? toUser(a)
    : page === "group" ? toGroup(a)
    : page === "message" ? toMessage(a)
    : page === "trace" ? toTrace(a, b, c)
    : null;
  return parsed ?? { page: "nodes" };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

/** The conversation's page: that of the user or of the group. */
export function routeOfConv(conv: string): Route {
  return conv.startsWith("g:") ? { page: "group", group: conv.slice(2) } : { page: "user", user: conv.slice(2) };
}
