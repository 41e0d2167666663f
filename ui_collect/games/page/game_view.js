// One game: a step at a time, by keys, by the slider, or played.

import { ConnectionLost, Refused, address, ask } from "./api.js";
import { outcomeChip, percent } from "./game_list.js";
import { element } from "./made.js";
import { STANDINGS, figure, spoken, standing, tellStep } from "./step.js";

const PLAY_EVERY_MS = 900;
const SPOKEN_AFTER_MS = 400;
const AHEAD = 3;

const at = (id) => document.getElementById(id);

export class GameView {
  constructor() {
    this.id = null;
    this.told = null;
    this.step = 0;
    this.pictures = new Map();
    this.playing = 0;
    this.speaking = 0;
    at("before").addEventListener("click", () => this.walk(this.step - 1));
    at("after").addEventListener("click", () => this.walk(this.step + 1));
    at("play").addEventListener("click", () => this.play(this.playing === 0));
    at("differing").addEventListener("click", () => this.nextDifference());
    at("slider").addEventListener("input", () => this.walk(Number(at("slider").value)));
    at("strip").addEventListener("click", (event) => {
      if (event.target.dataset.step) this.walk(Number(event.target.dataset.step));
    });
    at("picture").addEventListener("load", () => at("picture").classList.remove("coming"));
    at("picture").addEventListener("error", () => void this.noPicture());
    addEventListener("keydown", (event) => this.key(event));
  }

  get last() {
    return this.told.steps.length - 1;
  }

  enter(told, step) {
    this.id = told.game.id;
    this.told = told;
    this.pictures.clear();
    tellAbout(told.game);
    const none = told.steps.length === 0;
    for (const part of document.querySelectorAll("#game > :not(#about)")) part.hidden = none;
    if (none) return;
    at("slider").max = this.last;
    at("differing").disabled = told.steps.every((one) => one.agrees !== false);
    at("strip").replaceChildren(...told.steps.map((one, number) => mark(one, number)));
    this.go(step);
  }

  leave() {
    this.play(false);
    clearTimeout(this.speaking);
    this.id = this.told = null;
    at("picture").removeAttribute("src");
    this.pictures.clear();
  }

  // Go to a step by oneself, which ends the playing.
  walk(step) {
    this.play(false);
    this.go(step);
  }

  go(step) {
    if (this.told === null || this.last < 0) return;
    const shown = Math.min(Math.max(0, step), this.last);
    this.step = shown;
    // A place to come back to, without a trail of steps behind it.
    history.replaceState(null, "", `${location.pathname}${location.search}#${this.id}/${shown}`);
    at("slider").value = shown;
    at("slider").setAttribute("aria-valuetext", `step ${shown + 1} of ${this.last + 1}`);
    at("where").textContent = `Step ${shown + 1} of ${this.last + 1}`;
    at("before").disabled = shown === 0;
    at("after").disabled = shown === this.last;
    for (const one of at("strip").children) one.classList.toggle("now", Number(one.dataset.step) === shown);
    const item = this.told.steps[shown];
    tellStep(item, shown === this.last ? this.told.game.outcome : null);
    this.showPicture();
    clearTimeout(this.speaking);
    if (this.playing === 0) {
      this.speaking = setTimeout(() => (at("told").textContent = spoken(item, this.last + 1)), SPOKEN_AFTER_MS);
    }
  }

  // --- pictures -----------------------------------------------------------------------------------------

  address(step) {
    return address(`games/${this.id}/${this.told.stamp}/pictures/${step}`);
  }

  showPicture() {
    const picture = at("picture");
    at("picture-problem").hidden = true;
    picture.hidden = false;
    picture.classList.add("coming");
    picture.src = this.address(this.step);
    picture.alt = `What the agent saw at step ${this.step + 1}`;
    // What comes next is there before it is asked for.
    for (let step = this.step + 1; step <= Math.min(this.last, this.step + AHEAD); step += 1) {
      if (this.pictures.has(step)) continue;
      const ahead = new Image();
      ahead.src = this.address(step);
      this.pictures.set(step, ahead);
    }
  }

  async noPicture() {
    if (this.told === null) return;
    const { step, id } = this;
    let line = "This picture cannot be shown.";
    try {
      await ask("GET", `games/${id}/${this.told.stamp}/pictures/${step}`);
    } catch (error) {
      if (error instanceof ConnectionLost) line = "No connection.";
      else if (error instanceof Refused) line = error.message;
      else throw error;
    }
    if (this.id !== id || this.step !== step) return;
    at("picture").hidden = true;
    at("picture-problem").textContent = line;
    at("picture-problem").hidden = false;
  }

  // --- going on -----------------------------------------------------------------------------------------

  play(on) {
    clearInterval(this.playing);
    this.playing = 0;
    at("play").firstElementChild.textContent = on ? "Pause" : "Play";
    if (!on || this.told === null) return;
    if (this.step === this.last) this.go(0);
    this.playing = setInterval(() => {
      if (this.step < this.last) this.go(this.step + 1);
      if (this.step === this.last) this.play(false);
    }, PLAY_EVERY_MS);
  }

  nextDifference() {
    const differing = this.told.steps.map((one, number) => [one, number]).filter(([one]) => one.agrees === false);
    if (differing.length === 0) return;
    const [, next] = differing.find(([, number]) => number > this.step) ?? differing[0];
    this.walk(next);
  }

  key(event) {
    if (this.told === null || this.last < 0 || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const to = { ArrowLeft: this.step - 1, ArrowRight: this.step + 1, Home: 0, End: this.last }[event.key];
    if (to !== undefined) this.walk(to);
    else if (event.key === "d" && !event.repeat) this.nextDifference();
    // Over a button or a fold, the space bar presses it.
    else if (event.key === " " && !event.target.closest("button, summary, a")) this.play(this.playing === 0);
    else return;
    event.preventDefault();
  }
}

function mark(item, number) {
  const made = element("span", "", standing(item));
  made.dataset.step = number;
  made.title = `Step ${number + 1}: ${STANDINGS[standing(item)]}`;
  return made;
}

function tellAbout(game) {
  const { result } = game;
  const chips = [
    `${String(game.iteration).padStart(3, "0")} ${game.part} round ${game.round}, game ${game.game}`,
    result.family.replaceAll("_", " "),
    result.steps === 1 ? "1 step" : `${result.steps} steps`,
    `agreement ${percent(game.agreement)}`,
  ];
  at("chips").replaceChildren(outcomeChip(game.outcome), ...chips.map((text) => element("span", text, "chip")));
  const facts = {
    Game: `${result.game_id} (${result.world}, ${result.split})`,
    Agent: `${result.agent}, after ${result.agent_step} gradient steps`,
    Expert: result.expert,
    "Mixing coefficient β": result.beta.toFixed(2),
    "Executed by the expert": `${result.by_expert} of ${result.steps} steps`,
    "Same answer": `${result.agreed} of ${result.labelled} labelled steps; ${result.missing} without a label`,
    "Nothing happened": `${result.nothing_happened} times`,
    Seed: result.seed,
  };
  at("facts").replaceChildren(...Object.entries(facts).map(([name, value]) => figure(name, value)));
}
