// Requests to the server. People are known by a cookie that scripts cannot read.

// Each page says where it asks.
const PREFIX = document.documentElement.dataset.api;

// The line is down, or the server cannot answer now: asking again later may help.
export class ConnectionLost extends Error {}

// The server said no, and will again.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const address = (path) => PREFIX + path;

export async function ask(method, path, body, headers = {}) {
  const answer = await fetched(method, path, body, headers);
  return answer.headers.get("content-type")?.startsWith("application/json") ? answer.json() : null;
}

// Whether a video is there; the server makes it meanwhile.
export async function isThere(path) {
  await fetched("GET", path, undefined, { range: "bytes=0-0" });
}

export const videoIsThere = (key) => isThere(`episodes/${key}/video`);

async function fetched(method, path, body, headers) {
  let answer;
  try {
    answer = await fetch(address(path), {
      method,
      headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      // What was said goes out even when the page is left meanwhile.
      keepalive: method === "POST",
    });
  } catch {
    throw new ConnectionLost("no connection");
  }
  if (answer.ok) return answer;
  const message = await answer.json().then(
    (told) => told.message,
    () => answer.statusText,
  );
  if (answer.status >= 500 || answer.status === 429 || answer.status === 408) throw new ConnectionLost(message);
  throw new Refused(answer.status, message);
}
