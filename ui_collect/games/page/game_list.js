// The list of games: the newest first, narrowed by what the address says, and looked at again by itself.

import { ask } from "./api.js";
import { element } from "./made.js";

const FILTERS = ["iteration", "part", "round", "outcome"];
const LOOK_EVERY_MS = 4000;
const MORE = 100;
const AT_MOST = 1000;
const OUTCOMES = { won: "won", lost: "not won", damaged: "damaged" };
const PARTS = { bc: "BC (imitation)", dpo: "DPO (preference)", bc_control: "BC again (control)" };

const at = (id) => document.getElementById(id);
export const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);
export const outcomeChip = (outcome) => element("span", OUTCOMES[outcome], `chip ${outcome}`);

export class GameList {
  constructor(complain) {
    this.complain = complain;
    this.shown = MORE;
    this.seen = "";
    this.here = false;
    for (const name of FILTERS) at(name).addEventListener("change", () => this.narrow(name));
    at("more").addEventListener("click", () => {
      this.shown = Math.min(AT_MOST, this.shown + MORE);
      void this.look();
    });
    setInterval(() => document.visibilityState === "visible" && this.here && void this.look(), LOOK_EVERY_MS);
  }

  // Come to the list, from a game or at first.
  async enter(from = null) {
    this.here = true;
    await this.look();
    document.querySelector(from === null ? "#none" : `a[href^="#${from}"]`)?.focus();
  }

  leave() {
    this.here = false;
  }

  narrow(name) {
    const query = new URLSearchParams(location.search);
    if (at(name).value === "") query.delete(name);
    else query.set(name, at(name).value);
    const text = query.toString();
    history.replaceState(null, "", location.pathname + (text && `?${text}`) + location.hash);
    this.shown = MORE;
    void this.look();
  }

  wanted() {
    const query = new URLSearchParams(location.search);
    return Object.fromEntries(FILTERS.filter((name) => query.get(name)).map((name) => [name, query.get(name)]));
  }

  async look() {
    const wanted = this.wanted();
    const asked = JSON.stringify(wanted);
    try {
      const told = await ask("GET", `list?${new URLSearchParams({ ...wanted, limit: this.shown })}`);
      // Another choice may have been made meanwhile.
      if (!this.here || asked !== JSON.stringify(this.wanted())) return;
      this.complain(null);
      const seen = asked + JSON.stringify(told);
      if (seen !== this.seen) this.tell(told, wanted);
      this.seen = seen;
    } catch (error) {
      if (this.here) this.complain(error);
    }
  }

  tell(told, wanted) {
    const { iterations, parts, rounds } = told.choices;
    offer("iteration", iterations.map((one) => [one, String(one).padStart(3, "0")]), wanted.iteration);
    offer("part", parts.map((one) => [one, PARTS[one] ?? one]), wanted.part);
    offer("round", rounds.map((one) => [one, one]), wanted.round);
    offer("outcome", Object.entries(OUTCOMES), wanted.outcome);
    at("summary").textContent = summary(told);
    const focused = document.activeElement?.closest("#rows a")?.getAttribute("href");
    at("rows").replaceChildren(...told.games.map((game) => asRow(row(game))));
    if (focused) at("rows").querySelector(`a[href="${focused}"]`)?.focus();
    at("table").hidden = told.games.length === 0;
    at("more").hidden = told.found <= told.games.length || this.shown >= AT_MOST;
  }
}

function offer(name, choices, chosen = "") {
  // What the address names is offered though there is no such game any more.
  const known = choices.some(([value]) => String(value) === chosen) || chosen === "";
  const all = [["", "all"], ...choices, ...(known ? [] : [[chosen, chosen]])];
  const text = JSON.stringify(all);
  if (at(name).dataset.offered !== text) {
    at(name).replaceChildren(...all.map(([value, label]) => new Option(label, value)));
    at(name).dataset.offered = text;
  }
  at(name).value = chosen;
}

function summary(told) {
  if (told.there === 0) return "There are no games yet; they appear here as they are finished.";
  if (told.found === 0) return "No game is like that.";
  const parts = [told.found === 1 ? "1 game" : `${told.found} games`, `${told.won} won`];
  if (told.agreement !== null) parts.push(`the agent agrees with the expert at ${percent(told.agreement)} of the steps`);
  if (told.damaged > 0) parts.push(`${told.damaged} damaged`);
  if (told.games.length < told.found) parts.push(`the first ${told.games.length} are listed`);
  return `${parts.join(", ")}.`;
}

function row(game) {
  const made = document.createElement("tr");
  const number = String(game.game).padStart(4, "0");
  const name = element("th", `${String(game.iteration).padStart(3, "0")} ${game.part} ${game.round}`, "name");
  name.scope = "row";
  name.append(element("b", number));
  if (game.result === null) {
    const line = element("td", game.problem, "task problem");
    const none = (kind) => element("td", "–", kind);
    made.append(name, line, none("wide family"), cell(outcomeChip("damaged")), none("number wide"), none("agreement"));
    return made;
  }
  const link = element("a", game.result.task);
  link.href = `#${game.id}/0`;
  made.append(
    name,
    cell(link, "task"),
    element("td", game.result.family.replaceAll("_", " "), "wide family"),
    cell(outcomeChip(game.outcome)),
    element("td", game.result.steps, "number wide"),
    agreement(game),
  );
  return made;
}

// Said, because a narrow window lays a row out in two lines, which would make it no row for those who listen.
function asRow(made) {
  made.role = "row";
  for (const one of made.children) one.role = one.localName === "th" ? "rowheader" : "cell";
  return made;
}

function agreement(game) {
  const { agreed, labelled } = game.result;
  if (labelled === 0) return element("td", "no labels", "agreement");
  const made = element("td", percent(game.agreement), "agreement");
  made.append(element("small", `${agreed} of ${labelled}`));
  return made;
}

function cell(content, kind = "") {
  const made = element("td", "", kind);
  made.append(content);
  return made;
}
