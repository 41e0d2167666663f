/** Which decision belongs to which moment, and which comes next. */

import type { PlayDecision } from "./messages.ts";

type Fits = (decision: PlayDecision) => boolean;

export const byAi: Fits = ({ role }) => role === "ai";
export const worthALook: Fits = ({ worth_a_look: worth, can_be_marked: markable }) => worth && markable;

/** Decisions in the order in which they were made. */
export function inTime(decisions: readonly PlayDecision[]): PlayDecision[] {
  return [...decisions].sort((a, b) => a.sim_step - b.sim_step || a.index - b.index);
}

/** The AI's decision that is being carried out at a moment: its last one until then, or its first. */
export function decisionAt(ordered: readonly PlayDecision[], tick: number): PlayDecision | null {
  const own = ordered.filter(byAi);
  return own.findLast(({ sim_step: step }) => step <= tick + 0.5) ?? own[0] ?? ordered[0] ?? null;
}

/** The decision before or after another one that fits; null where there is none. */
export function neighbour(
  ordered: readonly PlayDecision[],
  from: PlayDecision | null,
  direction: -1 | 1,
  fits: Fits,
): PlayDecision | null {
  const at = from === null ? -1 : ordered.indexOf(from);
  if (direction > 0) return ordered.slice(at + 1).find(fits) ?? null;
  return ordered.slice(0, Math.max(0, at)).findLast(fits) ?? null;
}

/** The decision a tap on the timeline means: the one nearest to it, the remarkable ones first; null where none is near. */
export function tapped(
  ordered: readonly PlayDecision[],
  tick: number,
  within: number,
  remarkable: Fits,
): PlayDecision | null {
  const near = (decision: PlayDecision): number => {
    if (tick < decision.sim_step) return decision.sim_step - tick;
    return Math.max(0, tick - Math.max(decision.end_step, decision.sim_step));
  };
  const candidates = ordered.filter((decision) => byAi(decision) && near(decision) <= within);
  candidates.sort((a, b) => Number(remarkable(b)) - Number(remarkable(a)) || near(a) - near(b));
  return candidates[0] ?? null;
}
