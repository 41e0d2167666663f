/** What the keys act on: the thing in reach that the person looks at most directly. */

import type { LiveHome } from "../household/live_home.ts";
import type { Pose } from "../household/pose.ts";
import type { Thing } from "../drawing/home_model.ts";
import type { Vec3 } from "../wire/scene_types.ts";

const EYE_HEIGHT = 1.5;
/** Nothing farther than this from where one looks is meant. */
const WIDEST = (75 * Math.PI) / 180;

export interface Targets {
  /** What Space picks up, or puts something onto. */
  primary: Thing | null;
  /** What Shift+Space opens or closes. */
  articulated: number | null;
}

/**
 * Choose.
 *
 * @param pointed what the mouse points at, which comes before what one looks at if it can be acted on.
 * @param middleOf where a thing is.
 */
export function targetsOf(
  home: LiveHome,
  pose: Pose,
  pitch: number,
  pointed: Thing | null,
  middleOf: (thing: Thing) => Vec3 | null,
): Targets {
  const holding = home.held(home.human) !== null;
  const objects = home.reach.objects.map((index): Thing => ({ kind: "object", index }));
  const furniture = home.reach.furniture.map((index): Thing => ({ kind: "furniture", index }));
  const usable = furniture.filter((thing) => thing.kind === "furniture" && takesThings(home, thing.index));
  const movable = furniture.filter((thing) => thing.kind === "furniture" && home.piece(thing.index).articulated);
  const look = (things: Thing[]): Thing | null => straightest(things, pose, pitch, middleOf);
  const candidates = holding ? usable : objects;
  const meant = pointed !== null && among(pointed, holding ? [...usable, ...objects] : objects) ? pointed : null;
  const door = pointed !== null && among(pointed, movable) ? pointed : look(movable);
  return { primary: meant ?? look(candidates), articulated: door?.kind === "furniture" ? door.index : null };
}

export function sameThing(a: Thing | null, b: Thing | null): boolean {
  if (a === null || b === null) return a === b;
  if (a.kind === "wall" || b.kind === "wall") return a.kind === b.kind;
  if (a.kind === "floor" || b.kind === "floor") return a.kind === b.kind && "room" in a && "room" in b && a.room === b.room;
  return a.kind === b.kind && a.index === b.index;
}

function among(thing: Thing, things: readonly Thing[]): boolean {
  return things.some((other) => sameThing(thing, other));
}

/** Whether the held object can be put onto or into it now. */
function takesThings(home: LiveHome, furniture: number): boolean {
  const piece = home.piece(furniture);
  const open = !piece.articulated || home.furniture[furniture]!.open;
  return piece.on_slots.length > 0 || (piece.within_slots.length > 0 && open);
}

function straightest(
  things: readonly Thing[],
  pose: Pose,
  pitch: number,
  middleOf: (thing: Thing) => Vec3 | null,
): Thing | null {
  const level = Math.cos(pitch);
  const ahead: Vec3 = [level * Math.cos(pose.yaw), Math.sin(pitch), -level * Math.sin(pose.yaw)];
  let best: { thing: Thing; score: number } | null = null;
  for (const thing of things) {
    const middle = middleOf(thing);
    if (middle === null) continue;
    const to: Vec3 = [middle[0] - pose.x, middle[1] - EYE_HEIGHT, middle[2] - pose.z];
    const far = Math.hypot(...to);
    if (far < 1e-6) continue;
    const angle = Math.acos(Math.min(1, (to[0] * ahead[0] + to[1] * ahead[1] + to[2] * ahead[2]) / far));
    if (angle > WIDEST) continue;
    // Of two things in the same direction the nearer one is meant.
    const score = angle + 0.08 * far;
    if (best === null || score < best.score) best = { thing, score };
  }
  return best?.thing ?? null;
}
