/** Any action an agent is able to do, put together from lists: to correct the partner, or to do something unusual. */

import type { Option } from "../acting/completion.ts";
import type { Names } from "../acting/names.ts";
import { freshId, h } from "../dom.ts";
import type { LiveHome } from "../household/live_home.ts";
import { combobox, type Combobox } from "./combobox.ts";
import { ask, button } from "./dialog.ts";
import { floorOptions, furnitureOptions, objectOptions, roomOptions } from "./name_options.ts";

export interface ChosenAction {
  tool: string;
  args: string[];
}

/** What a tool asks for, in the order the dialog asks. */
type Field = "place" | "room" | "object" | "held" | "openable" | "thing" | "target";

const TOOLS: Record<string, { say: string; fields: Field[] }> = {
  Navigate: { say: "Walk to", fields: ["place"] },
  Pick: { say: "Pick up", fields: ["object"] },
  Place: { say: "Put down what is held", fields: ["held", "target"] },
  Rearrange: { say: "Fetch and put somewhere", fields: ["object", "target"] },
  Open: { say: "Open", fields: ["openable"] },
  Close: { say: "Close", fields: ["openable"] },
  Explore: { say: "Look around a room", fields: ["room"] },
  Clean: { say: "Clean", fields: ["object"] },
  Fill: { say: "Fill with water", fields: ["object"] },
  Pour: { say: "Pour into", fields: ["object"] },
  PowerOn: { say: "Switch on", fields: ["thing"] },
  PowerOff: { say: "Switch off", fields: ["thing"] },
  Wait: { say: "Wait", fields: [] },
  Done: { say: "Stop: nothing is left to do", fields: [] },
};

const LABELS: Record<Exclude<Field, "held" | "target">, string> = {
  place: "Where to",
  room: "Which room",
  object: "Which object",
  openable: "Which furniture",
  thing: "What",
};

export interface ActionQuestion {
  title: string;
  text: string;
  agent: number;
  submit: string;
  /** Left out of the list, because there are better ways. */
  without: readonly string[];
}

export function askForAction(home: LiveHome, names: Names, question: ActionQuestion): Promise<ChosenAction | null> {
  const held = home.held(question.agent);
  const tools = (home.episode.abilities[question.agent] ?? []).filter(
    (tool) => tool in TOOLS && !question.without.includes(tool) && (tool !== "Place" || held !== null),
  );
  return ask<ChosenAction>({
    title: question.title,
    wide: true,
    body: (done) => {
      const id = freshId("tool");
      const select = h("select", { class: "field", attrs: { id, "data-first": true } });
      for (const tool of tools) select.append(h("option", { text: TOOLS[tool]!.say, attrs: { value: tool } }));
      const fields = h("div", { class: "fields" });
      const problem = h("p", { class: "problem", attrs: { role: "alert" } });
      let args: () => string[] | null = () => [];
      const rebuild = (): void => {
        args = fillFields(fields, home, names, TOOLS[select.value]?.fields ?? [], held?.index ?? null);
        problem.textContent = "";
      };
      select.addEventListener("change", rebuild);
      rebuild();
      const submit = button(question.submit, "primary", () => {
        const chosen = args();
        if (chosen === null) problem.textContent = "Something is still to be chosen.";
        else done({ tool: select.value, args: chosen });
      });
      return [
        h("p", { text: question.text }),
        h("div", { class: "fields" }, h("div", {}, h("label", { text: "What to do", attrs: { for: id } }), select)),
        fields,
        problem,
        h("div", { class: "dialog-actions" }, submit),
      ];
    },
    actions: () => [],
  });
}

/** Put the fields of a tool into the dialog; returns what reads them: null while one is empty. */
function fillFields(
  into: HTMLElement,
  home: LiveHome,
  names: Names,
  fields: readonly Field[],
  held: number | null,
): () => string[] | null {
  const readers: (() => string[] | null)[] = [];
  const elements: HTMLElement[] = [];
  const add = (field: Combobox): void => {
    elements.push(field.element);
    readers.push(() => {
      const value = field.value();
      return value === null ? null : [value];
    });
  };
  for (const field of fields) {
    if (field === "held") readers.push(() => (held === null ? null : [home.objectName(held)]));
    else if (field === "target") readers.push(addTarget(elements, home, names));
    else add(combobox({ label: LABELS[field], options: optionsOf(field, home, names) }));
  }
  into.replaceChildren(...elements);
  return () => {
    const args: string[] = [];
    for (const read of readers) {
      const value = read();
      if (value === null) return null;
      args.push(...value);
    }
    return args;
  };
}

function optionsOf(field: Exclude<Field, "held" | "target">, home: LiveHome, names: Names): Option[] {
  const objects = (): Option[] => objectOptions(home, names);
  switch (field) {
    case "place":
      return [...objects(), ...roomOptions(home, names), ...furnitureOptions(home, names)];
    case "room":
      return roomOptions(home, names);
    case "object":
      return objects();
    case "openable":
      return furnitureOptions(home, names, (index) => home.piece(index).articulated);
    case "thing":
      return [...objects(), ...furnitureOptions(home, names, (index) => home.piece(index).powerable)];
  }
}

/** Where to put something: on or in, which furniture or floor, and beside what. */
function addTarget(elements: HTMLElement[], home: LiveHome, names: Names): () => string[] | null {
  const id = freshId("relation");
  const relation = h("select", { class: "field", attrs: { id } });
  relation.append(h("option", { text: "on", attrs: { value: "on" } }), h("option", { text: "in", attrs: { value: "within" } }));
  const takes = (): Option[] =>
    relation.value === "within"
      ? furnitureOptions(home, names, (index) => home.piece(index).within_slots.length > 0)
      : [...furnitureOptions(home, names, (index) => home.piece(index).on_slots.length > 0), ...floorOptions(home, names)];
  const target = combobox({ label: "Where", options: takes() });
  relation.addEventListener("change", () => target.setOptions(takes()));
  const beside = combobox({
    label: "Next to (may stay empty)",
    options: objectOptions(home, names),
  });
  elements.push(
    h("div", { class: "short" }, h("label", { text: "On or in", attrs: { for: id } }), relation),
    target.element,
    beside.element,
  );
  return () => {
    const place = target.value();
    if (place === null) return null;
    const neighbour = beside.value();
    return [relation.value, place, ...(neighbour === null ? ["None", "None"] : ["next_to", neighbour])];
  };
}
