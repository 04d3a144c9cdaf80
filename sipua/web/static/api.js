// Requests to the server that the page came from. The session is a cookie that scripts cannot read; what changes
// something carries a header that no other site can send.

const PAGE = new URL(".", document.baseURI); // wherever a proxy has put it
const HEADERS = { "X-Sipua-Dashboard": "1" };

/** An answer that is no 2xx: `status`, and `message` for people. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Called when a session has ended. */
export const onLoggedOut = { tell: () => {} };

async function asked(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new Refused(0, "The agent does not answer.");
  }
  const type = answer.headers.get("Content-Type") ?? "";
  const document = type.includes("json") ? await answer.json().catch(() => ({})) : {};
  if (answer.ok) return document;
  if (answer.status === 401) onLoggedOut.tell();
  throw new Refused(answer.status, document.detail || document.title || `The agent answered ${answer.status}.`);
}

/** The address of a route of the page's own, such as `calls`. */
export function url(path, query = {}) {
  const found = new URL(path, PAGE);
  for (const [name, value] of Object.entries(query)) if (value !== "" && value != null) found.searchParams.set(name, value);
  return found;
}

/** Links to recordings lie beside the page, whatever name the server has for itself. */
export const recordingUrl = (link) => new URL(`../${link.slice(link.indexOf("recordings/"))}`, PAGE);

export const get = (path, query) => asked(url(path, query));
export const post = (path, body) =>
  asked(url(path), {
    method: "POST",
    headers: { ...HEADERS, "Content-Type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });
export const remove = (path) => asked(url(path), { method: "DELETE", headers: HEADERS });
