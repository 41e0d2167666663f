/** Who annotates in this browser, so that a reload needs no link. */

import type { Joined } from "./messages.ts";

const KEY = "flywheel.annotate.annotator";
/** Enough of an invitation to know it again, too little to be one. */
const REMEMBERED = 10;

export interface Annotator extends Joined {
  invitation: string;
}

// Where storage is refused (private windows, strict settings) one stays known until the page is left.
let unstored: Annotator | null = null;

/** The annotator known here, unless another invitation was opened. */
export function knownAnnotator(invitation: string | null): Annotator | null {
  const kept = read();
  if (kept === null || invitation === null || invitation.slice(0, REMEMBERED) === kept.invitation) return kept;
  return null;
}

/** The name last used here, to be offered again. */
export function lastName(): string {
  return read()?.name ?? "";
}

export function keepAnnotator(joined: Joined, invitation: string): Annotator {
  unstored = { ...joined, invitation: invitation.slice(0, REMEMBERED) };
  try {
    window.localStorage.setItem(KEY, JSON.stringify(unstored));
  } catch {
    // kept above
  }
  return unstored;
}

/** The token is not good any more; the name stays, to be offered again. */
export function forgetAnnotator(): void {
  const kept = read();
  if (kept !== null) keepAnnotator({ ...kept, token: "" }, "");
}

function read(): Annotator | null {
  try {
    const kept = window.localStorage.getItem(KEY);
    return kept === null ? unstored : (JSON.parse(kept) as Annotator);
  } catch {
    return unstored;
  }
}
