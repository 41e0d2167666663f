/** The names a person can choose from: rooms, furniture, and the objects they have seen. */

import type { Option } from "../acting/completion.ts";
import { capitalized, type Names } from "../acting/names.ts";
import type { LiveHome } from "../household/live_home.ts";
import type { ObjectRow } from "../wire/keyframes.ts";

export function roomOptions(home: LiveHome, names: Names): Option[] {
  return home.episode.scene.rooms.map(({ name }) => option(name, names, "", "Rooms"));
}

export function floorOptions(home: LiveHome, names: Names): Option[] {
  return home.episode.scene.rooms.map(({ name }) => option(`floor_${name}`, names, "", "Floors"));
}

export function furnitureOptions(
  home: LiveHome,
  names: Names,
  fits: (index: number) => boolean = () => true,
): Option[] {
  return home.episode.furniture.flatMap((name, index) =>
    fits(index) ? [option(name, names, names.of(home.piece(index).room), "Furniture")] : [],
  );
}

export function objectOptions(home: LiveHome, names: Names): Option[] {
  const rows = [...home.objects.values()];
  return rows.map((row) => option(home.objectName(row.index), names, whereIs(home, names, row), "Objects"));
}

/** Where an object is, in words. */
export function whereIs(home: LiveHome, names: Names, row: ObjectRow): string {
  switch (row.relation) {
    case "held":
      return row.parent === home.human ? "in your hand" : "in your partner's hand";
    case "floor":
      return `on the ${names.of(home.episode.scene.rooms[row.parent]?.name ?? "")} floor`;
    default:
      return `${row.relation === "within" ? "in" : "on"} the ${names.of(home.piece(row.parent).name)}`;
  }
}

function option(value: string, names: Names, hint: string, group: string): Option {
  return { value, label: capitalized(names.of(value)), hint, group };
}
