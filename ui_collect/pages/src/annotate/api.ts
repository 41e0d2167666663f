/** Requests to the server, and what may become of them. */

import type { Figures, Filter, Joined, MarkSaved, Opened, Queue, RecordedPlay } from "./messages.ts";

const PREFIX = "/api/annotate";
const ANSWER_WITHIN_MS = 30_000;
/** A film is made by playing the record again. */
const FILM_WITHIN_MS = 180_000;

/** The server was not reached, or could not answer just now: the same request may well succeed later. */
export class ConnectionLost extends Error {}

/** The server does not know the token, or not any more. */
export class TokenRefused extends Error {}

/** The server understood and said no; the message is for people. */
export class RequestRefused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Exchange an invitation for an annotator's token. */
export async function joinAnnotation(invitation: string, name: string): Promise<Joined> {
  return (await answered(await request("POST", "/join", { body: { token: invitation, name } }))) as Joined;
}

export class AnnotateApi {
  private readonly token: string;

  constructor(token: string) {
    this.token = token;
  }

  queue(filter: Filter, chosen: readonly string[]): Promise<Queue> {
    const query = new URLSearchParams({ filter });
    if (filter === "chosen") for (const play of chosen) query.append("play", play);
    return this.get<Queue>(`/queue?${query}`);
  }

  figures(): Promise<Figures> {
    return this.get<Figures>("/figures");
  }

  open(play: string): Promise<Opened> {
    return this.post<Opened>(`${pathOf(play)}/open`, {});
  }

  /** Keep a play; `leaving` where the page may be gone before the answer is there. */
  alive(play: string, seconds: number, leaving = false): Promise<Opened> {
    return this.post<Opened>(`${pathOf(play)}/alive`, { seconds }, leaving);
  }

  play(play: string): Promise<RecordedPlay> {
    return this.get<RecordedPlay>(pathOf(play));
  }

  async prompt(play: string, decision: number): Promise<string> {
    return (await this.get<{ prompt: string }>(`${pathOf(play)}/decisions/${decision}/prompt`)).prompt;
  }

  async film(play: string): Promise<ArrayBuffer> {
    const answer = await request("GET", `${pathOf(play)}/film`, { token: this.token, within: FILM_WITHIN_MS });
    if (!answer.ok) await answered(answer);
    try {
      return await answer.arrayBuffer();
    } catch {
      throw new ConnectionLost();
    }
  }

  /** Store a mark, a review or the end of an iteration's annotation. */
  store(path: string, body: object): Promise<Partial<MarkSaved>> {
    return this.post(`/${path}`, body);
  }

  private async get<T>(path: string): Promise<T> {
    return (await answered(await request("GET", path, { token: this.token }))) as T;
  }

  private async post<T>(path: string, body: object, keepalive = false): Promise<T> {
    return (await answered(await request("POST", path, { token: this.token, body, keepalive }))) as T;
  }
}

interface Options {
  token?: string;
  body?: object;
  keepalive?: boolean;
  within?: number;
}

function pathOf(play: string): string {
  return `/plays/${encodeURIComponent(play)}`;
}

async function request(method: string, path: string, options: Options): Promise<Response> {
  const headers: Record<string, string> = {};
  if (options.token !== undefined) headers["authorization"] = `Bearer ${options.token}`;
  if (options.body !== undefined) headers["content-type"] = "application/json";
  try {
    return await fetch(PREFIX + path, {
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      keepalive: options.keepalive ?? false,
      signal: AbortSignal.timeout(options.within ?? ANSWER_WITHIN_MS),
    });
  } catch {
    throw new ConnectionLost("The server cannot be reached.");
  }
}

async function answered(answer: Response): Promise<unknown> {
  let body: unknown;
  try {
    body = await answer.json();
  } catch {
    if (answer.ok) throw new ConnectionLost("The answer did not arrive.");
  }
  if (answer.ok) return body;
  const message = (body as { message?: string } | undefined)?.message ?? "The server did not accept this.";
  if (answer.status === 401) throw new TokenRefused(message);
  if (answer.status === 408 || answer.status === 429 || answer.status >= 500) throw new ConnectionLost(message);
  throw new RequestRefused(answer.status, message);
}
