/** The actions admissible at a decision as options to choose from, in the order people look for them. */

import type { Option } from "../acting/completion.ts";
import { capitalized, parseAction, type Names } from "../acting/names.ts";
import type { Home } from "../household/home.ts";
import type { Thing } from "../drawing/home_model.ts";

const GROUPS: readonly [string, readonly string[]][] = [
  ["Pick up", ["Pick"]],
  ["Put down", ["Place"]],
  ["Open and close", ["Open", "Close"]],
  ["Change", ["Clean", "Fill", "Pour", "PowerOn", "PowerOff"]],
  ["Walk to", ["Navigate"]],
  ["Look around", ["Explore"]],
  ["Wait or stop", ["Wait", "Done"]],
];

/** Every admissible action but the one that was taken. */
export function actionOptions(admissible: readonly string[], taken: string, names: Names, home: Home): Option[] {
  const options = admissible.flatMap((action) => (action === taken ? [] : optionOf(action, names, home)));
  const groups = GROUPS.map(([group]) => group);
  const rank = ({ group }: Option): number => (groups.includes(group) ? groups.indexOf(group) : groups.length);
  return options
    .map((option, order) => ({ option, order }))
    .sort((a, b) => rank(a.option) - rank(b.option) || a.order - b.order)
    .map(({ option }) => option);
}

/** What an action is about, to be marked in the home; null for waiting and the like. */
export function targetOf(action: string, home: Home): Thing | null {
  const { tool, args } = parseAction(action);
  const name = (tool === "Place" || tool === "Rearrange" ? args[2] : args[0]) ?? "";
  const { episode } = home;
  const object = episode.objects.indexOf(name);
  if (object >= 0) return { kind: "object", index: object };
  const furniture = episode.furniture.indexOf(name);
  if (furniture >= 0) return { kind: "furniture", index: furniture };
  const room = episode.scene.rooms.findIndex((one) => one.name === name || `floor_${one.name}` === name);
  return room >= 0 ? { kind: "floor", room } : null;
}

function optionOf(action: string, names: Names, home: Home): Option {
  const { tool } = parseAction(action);
  const group = GROUPS.find(([, tools]) => tools.includes(tool))?.[0] ?? "Other";
  return { value: action, label: capitalized(names.todo(action)), hint: placeOf(action, names, home), group };
}

/** Where the thing is that an action is about, as far as it does not say so itself. */
function placeOf(action: string, names: Names, home: Home): string {
  const target = parseAction(action).tool === "Place" ? null : targetOf(action, home);
  if (target?.kind === "furniture") {
    const piece = home.piece(target.index);
    const said = names.of(piece.name);
    const room = names.of(piece.room);
    return said.startsWith(room) ? "" : room;
  }
  if (target?.kind !== "object") return "";
  const row = home.objects.get(target.index);
  if (row === undefined) return "";
  if (row.relation === "held") return "in a hand";
  if (row.relation === "floor") return `on the ${names.of(home.episode.scene.rooms[row.parent]?.name ?? "")} floor`;
  return `${row.relation === "within" ? "in" : "on"} the ${names.of(home.piece(row.parent).name)}`;
}
