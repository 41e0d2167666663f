/** Walking somewhere by its name (N). */

import type { Names } from "../acting/names.ts";
import type { LiveHome } from "../household/live_home.ts";
import { combobox } from "./combobox.ts";
import { ask } from "./dialog.ts";
import { furnitureOptions, objectOptions, roomOptions } from "./name_options.ts";

/** Ask where to; the exact name, or null. */
export function askWhereTo(home: LiveHome, names: Names): Promise<string | null> {
  return ask<string>({
    title: "Where do you want to go?",
    body: (done) => {
      const held = home.held(home.human)?.index;
      const field = combobox({
        label: "Room, furniture or something you have seen",
        placeholder: "Type a few letters",
        options: [
          ...objectOptions(home, names).filter(({ value }) => value !== home.objectName(held ?? -1)),
          ...roomOptions(home, names),
          ...furnitureOptions(home, names),
        ],
        chosen: done,
        alwaysOpen: true,
      });
      field.input.dataset["first"] = "";
      return [field.element];
    },
    actions: () => [],
  });
}
