/** What the person can do from where they stand, as actions the server understands. */

import type { LiveHome } from "../household/live_home.ts";
import { roomAt } from "../wire/scene_types.ts";
import type { Names } from "./names.ts";

export interface Choice {
  tool: string;
  args: string[];
  label: string;
}

const NOTHING = "None";

/** Everything within reach that makes sense now, likeliest first. */
export function choicesInReach(home: LiveHome, names: Names): Choice[] {
  const held = home.held(home.human);
  const choices: Choice[] = [];
  if (held === null) choices.push(...picks(home, names));
  else choices.push(...places(home, names));
  choices.push(...openings(home, names));
  choices.push(...stateChanges(home, names));
  return choices;
}

/** Picking up an object; null where a hand is full or it is behind a door. */
export function pick(home: LiveHome, names: Names, index: number): Choice {
  const name = home.objectName(index);
  return { tool: "Pick", args: [name], label: `Pick up the ${names.of(name)}` };
}

/** Ways to put the held object onto, or into, a piece of furniture; more than one where both are possible. */
export function placesAt(home: LiveHome, names: Names, furniture: number): Choice[] {
  const held = home.held(home.human);
  if (held === null) return [];
  const piece = home.piece(furniture);
  const thing = home.objectName(held.index);
  const choices: Choice[] = [];
  const open = !piece.articulated || home.furniture[furniture]!.open;
  const say = (word: string): string => `Put the ${names.of(thing)} ${word} the ${names.of(piece.name)}`;
  if (piece.within_slots.length && open) choices.push(place(thing, "within", piece.name, say("in")));
  if (piece.on_slots.length) choices.push(place(thing, "on", piece.name, say("on")));
  return choices;
}

/** Putting the held object on the floor of the room the person is in. */
export function placeOnFloor(home: LiveHome, names: Names): Choice | null {
  const held = home.held(home.human);
  const pose = home.own.pose;
  if (held === null || pose === null) return null;
  const room = roomAt(home.episode.scene, pose.x, pose.z);
  if (room === null) return null;
  const thing = home.objectName(held.index);
  return place(thing, "on", `floor_${room.name}`, `Put the ${names.of(thing)} on the floor`);
}

/** Putting the held object beside another one; null where that one is in a hand or put away. */
export function placeBeside(home: LiveHome, names: Names, index: number): Choice | null {
  const held = home.held(home.human);
  const other = home.objects.get(index);
  if (held === null || other === undefined || other.relation === "held" || home.concealed(other)) return null;
  const thing = home.objectName(held.index);
  const beside = home.objectName(index);
  const parent =
    other.relation === "floor"
      ? `floor_${home.episode.scene.rooms[other.parent]?.name ?? ""}`
      : home.piece(other.parent).name;
  const relation = other.relation === "within" ? "within" : "on";
  const label = `Put the ${names.of(thing)} next to the ${names.of(beside)}`;
  return { tool: "Place", args: [thing, relation, parent, "next_to", beside], label };
}

/** Opening what is closed and closing what is open; null for what is neither. */
export function openOrClose(home: LiveHome, names: Names, furniture: number): Choice | null {
  const piece = home.piece(furniture);
  if (!piece.articulated) return null;
  const tool = home.furniture[furniture]!.open ? "Close" : "Open";
  return { tool, args: [piece.name], label: `${tool} the ${names.of(piece.name)}` };
}

export function walkTo(name: string, names: Names): Choice {
  return { tool: "Navigate", args: [name], label: `Walk to the ${names.of(name)}` };
}

function place(thing: string, relation: "on" | "within", target: string, label: string): Choice {
  return { tool: "Place", args: [thing, relation, target, NOTHING, NOTHING], label };
}

function picks(home: LiveHome, names: Names): Choice[] {
  return home.reach.objects.map((index) => pick(home, names, index));
}

function places(home: LiveHome, names: Names): Choice[] {
  const choices = home.reach.furniture.flatMap((index) => placesAt(home, names, index));
  for (const index of home.reach.objects) {
    const beside = placeBeside(home, names, index);
    if (beside !== null) choices.push(beside);
  }
  const floor = placeOnFloor(home, names);
  if (floor !== null) choices.push(floor);
  return choices;
}

function openings(home: LiveHome, names: Names): Choice[] {
  return home.reach.furniture.flatMap((index) => openOrClose(home, names, index) ?? []);
}

/** Cleaning, filling, switching: only for agents that have these skills. */
function stateChanges(home: LiveHome, names: Names): Choice[] {
  const abilities = new Set(home.episode.abilities[home.human] ?? []);
  const choices: Choice[] = [];
  const offer = (tool: string, name: string, label: string): void => {
    if (abilities.has(tool)) choices.push({ tool, args: [name], label: `${label} the ${names.of(name)}` });
  };
  const held = home.held(home.human);
  const near = home.reach.objects.flatMap((index) => home.objects.get(index) ?? []);
  for (const row of held === null ? near : [held, ...near]) {
    const name = home.objectName(row.index);
    if (row.clean === false) offer("Clean", name, "Clean");
    if (row.on) offer("PowerOff", name, "Switch off");
    if (held?.filled && row.index !== held.index && !row.filled) offer("Pour", name, "Pour into");
  }
  const water = home.reach.furniture.some((index) => home.piece(index).has_faucet);
  if (held !== null && water && !held.filled) offer("Fill", home.objectName(held.index), "Fill");
  for (const index of home.reach.furniture) {
    const piece = home.piece(index);
    if (!piece.powerable) continue;
    if (home.furniture[index]!.on) offer("PowerOff", piece.name, "Switch off");
    else offer("PowerOn", piece.name, "Switch on");
  }
  return choices;
}
