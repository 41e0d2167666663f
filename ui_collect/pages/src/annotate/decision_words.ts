/** How decisions are spoken of: what was done, how it came out, what is remarkable about it. */

import { answerText, capitalized, succeeded, type Names } from "../acting/names.ts";
import type { PlayDecision } from "./messages.ts";

/** From here on a policy is said to have been unsure. */
export const UNSURE = 0.5;

export interface Signs {
  /** Marked by me. */
  mine: boolean;
  /** Marked by others. */
  others: boolean;
  failed: boolean;
  worth: boolean;
  unsure: boolean;
  overridden: boolean;
}

export function signsOf(decision: PlayDecision): Signs {
  return {
    mine: decision.mine !== null,
    others: decision.others.length > 0,
    failed: failed(decision),
    worth: decision.worth_a_look,
    unsure: (decision.uncertainty ?? 0) >= UNSURE,
    overridden: decision.overridden,
  };
}

/** Each sign as a character and as a word; most important first. */
export const SIGNS: readonly { sign: keyof Signs; glyph: string; word: string }[] = [
  { sign: "mine", glyph: "✕", word: "marked as an error by you" },
  { sign: "others", glyph: "✕", word: "marked as an error by others" },
  { sign: "failed", glyph: "!", word: "failed" },
  { sign: "worth", glyph: "◆", word: "worth a look" },
  { sign: "overridden", glyph: "↺", word: "overruled by the person" },
];

export function failed({ response, overridden }: Pick<PlayDecision, "response" | "overridden">): boolean {
  return response !== "" && !succeeded(response) && !overridden;
}

/** "It picks up the mug", "The person picks up the mug". */
export function whatHappened(decision: PlayDecision, names: Names): string {
  return capitalized(names.doing(decision.action));
}

/** How it came out. */
export function outcome(decision: PlayDecision, names: Names): string {
  if (decision.overridden) return "The person overruled it before it was done.";
  if (decision.response === "") return "It had no outcome any more: the play ended, or something else came between.";
  if (!failed(decision)) return "It worked.";
  return `It failed: ${names.inText(answerText(decision.response))}`;
}

/** Whose choice it was. */
export function who({ role }: Pick<PlayDecision, "role">): string {
  return role === "ai" ? "AI" : "Person";
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** Seconds as minutes and seconds: 1:05. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A stretch of time in words: "40 s", "12 min", "3 h 05 min". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
