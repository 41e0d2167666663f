/** The token that makes this browser the same person again after a reload, and the invitation it came from. */

const KEY = "flywheel.collect.session";
/** Enough of an invitation to know it again, too little to be one. */
const REMEMBERED = 10;

interface Kept {
  token: string;
  invitation: string;
  /** The session has ended: its token still shows how, but an invitation opens a new one. */
  over: boolean;
}

// Where storage is refused (private windows, strict settings) the session still works until the page is left.
let unstored: Kept | null = null;

function read(): Kept | null {
  try {
    const kept = window.localStorage.getItem(KEY);
    return kept === null ? unstored : (JSON.parse(kept) as Kept);
  } catch {
    return unstored;
  }
}

function write(kept: Kept | null): void {
  unstored = kept;
  try {
    if (kept === null) window.localStorage.removeItem(KEY);
    else window.localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // kept above
  }
}

/** The token to go on with, given the invitation the page was opened with, if any. */
export function storedToken(invitation: string | null): string | null {
  const kept = read();
  if (kept === null) return null;
  const same = invitation === null || invitation.slice(0, REMEMBERED) === kept.invitation;
  return same && !(kept.over && invitation !== null) ? kept.token : null;
}

export function storeToken(token: string, invitation: string): void {
  write({ token, invitation: invitation.slice(0, REMEMBERED), over: false });
}

export function markOver(): void {
  const kept = read();
  if (kept !== null) write({ ...kept, over: true });
}

export function forgetToken(): void {
  write(null);
}

/** The invitation in the link's fragment, which browsers never send to a server; taken out of the address at once. */
export function takeInvitation(): string | null {
  const fragment = window.location.hash.replace(/^#/, "");
  if (!fragment) return null;
  window.history.replaceState(null, "", window.location.pathname + window.location.search);
  return fragment;
}

/** Why an invitation was refused, in a line a person can read. */
export class JoinRefused extends Error {}

/** Exchange an invitation for a session token. */
export async function join(invitation: string): Promise<string> {
  let answer: Response;
  try {
    answer = await fetch("/api/join", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ invitation }),
    });
  } catch {
    throw new JoinRefused("The server cannot be reached. Check your connection and open the link again.");
  }
  const body = (await answer.json().catch(() => ({}))) as { token?: string; message?: string };
  if (!answer.ok || !body.token) throw new JoinRefused(body.message ?? "This invitation was not accepted.");
  storeToken(body.token, invitation);
  return body.token;
}
