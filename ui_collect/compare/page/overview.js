// How everybody answers: what they say, whether they say the same again, and the same as others.

import { element } from "./made.js";

const WORDS = { left: "Left", right: "Right", tie: "Tie", cant_tell: "Can't tell" };
const percent = (share) => `${Math.round(100 * share)} %`;
const of = (alike, all) => (all === 0 ? "–" : `${alike} of ${all}`);

function shares(person) {
  const bar = element("span", "", "shares");
  for (const [choice, share] of Object.entries(person.shares)) {
    const part = element("i", "", choice);
    part.style.flexGrow = String(share);
    bar.append(part);
  }
  bar.title = Object.entries(person.shares).map(([choice, share]) => `${WORDS[choice]} ${percent(share)}`).join(", ");
  return bar;
}

// Who says one side whatever stands there; empty where nobody does.
export function warning(people) {
  const named = people.filter((person) => person.one_sided).map((person) => (person.mine ? "You say" : `${person.name} says`));
  return named.length === 0 ? "" : `${named.join(", ")} nearly always the same side, whichever clip stands there.`;
}

export function tellOverview(place, people) {
  if (people.length === 0) {
    place.replaceChildren(element("p", "Nobody has compared anything yet.", "note"));
    return;
  }
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const text of ["", "Answers", "Left · Tie · Can't tell · Right", "Seconds each", "The same again", "As others"]) {
    const cell = element("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const person of people) {
    const row = body.insertRow();
    const name = element("th", person.mine ? `${person.name} (you)` : person.name);
    name.scope = "row";
    if (person.one_sided) name.append(element("span", "nearly always one side", "chip bad"));
    const said = element("td", "");
    const { left, tie, cant_tell: unsure, right } = person.shares;
    said.append(shares(person), [left, tie, unsure, right].map(percent).join(" · "));
    row.append(
      name,
      element("td", String(person.answers)),
      said,
      element("td", person.seconds_per_answer.toFixed(1)),
      element("td", of(person.repeats_alike, person.repeats)),
      element("td", of(person.with_others_alike, person.with_others)),
    );
  }
  place.replaceChildren(table);
}
