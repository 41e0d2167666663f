// The compare page: two clips, and which is better. What comes next is there before it is asked.

import { ConnectionLost, Refused, ask } from "./api.js";
import { arrive, askWho, at, toast } from "./arrival.js";
import { Duel } from "./duel.js";
import { element } from "./made.js";
import { clientKey } from "./outbox.js";
import { tellOverview, warning } from "./overview.js";
import { SayingDesk } from "./saying_desk.js";

const AHEAD = 2;
const UNSENT_AT_MOST = 16;
const LOOK_EVERY_MS = 3000;
const HERE_EVERY_MS = 20000;
const OVERVIEW_EVERY_MS = 5000;
const UNSEEN_OVERVIEW_EVERY = 6;
const RATED = 20;
const LONG_TASK = 90;
const CHOICES = { ArrowLeft: "left", ArrowRight: "right", t: "tie", x: "cant_tell" };
const EMPTY = {
  no_clips: "There are no clips to compare yet.",
  unreadable: "The newest clips cannot be read; the server's log says why.",
  no_pairs: "There are clips, but no pairs of them to compare.",
  left_out: "None of the pairs can be shown.",
  others: "Others are at the last pairs.",
  done: "Nothing is left to compare for you. Thank you!",
};
const still = matchMedia("(prefers-reduced-motion: reduce)");

const shown = ({ iteration, pair, left_hash, right_hash, repeat }) => ({ iteration, pair, left_hash, right_hash, repeat });
const keyOf = ({ pair, repeat }) => `${pair} ${repeat}`;

class Desk extends SayingDesk {
  constructor(me) {
    super(me, "compare");
    this.duels = [];
    this.asked = null;
    this.askedAt = -Infinity;
    this.standing = null;
    this.progress = null;
    this.paces = [];
    this.paused = false;
    this.taskHeight = 0;
    at("undo").disabled = this.undone.length === 0;
    addEventListener("resize", () => {
      this.taskHeight = 0;
      at("task").style.minHeight = "";
      this.tellTask(at("task").textContent);
    });
    for (const button of document.querySelectorAll("[data-choice]")) {
      button.addEventListener("click", () => this.choose(button.dataset.choice));
    }
    for (const [id, does] of Object.entries({
      pause: () => this.pause(!this.paused),
      replay: () => this.replay(),
      sheets: () => this.sheets(),
      "overview-button": () => this.overview(),
    })) {
      at(id).addEventListener("click", does);
    }
    // Whoever wants nothing to move sees stills first.
    if (still.matches) {
      this.sheets();
      this.pause(true);
    }
    setInterval(() => this.look(), LOOK_EVERY_MS);
    let ticks = 0;
    setInterval(() => {
      // Whoever answers by side alone is named even where nobody looks at the answers.
      if (!at("overview").hidden || ticks % UNSEEN_OVERVIEW_EVERY === 0) void this.tellPeople();
      ticks += 1;
    }, OVERVIEW_EVERY_MS);
  }

  async begin() {
    this.outbox.flush();
    await this.fill();
  }

  // --- what is asked ------------------------------------------------------------------------------------

  look() {
    if (document.visibilityState !== "visible") return;
    const hungry = this.duels.length <= AHEAD;
    if (hungry || performance.now() - this.askedAt > HERE_EVERY_MS) void this.fill();
  }

  // Ask for what comes next, and say what is in front of one; one request at a time.
  fill() {
    this.hungry = true;
    this.asked ??= this.fillAll().finally(() => (this.asked = null));
    return this.asked;
  }

  async fillAll() {
    while (this.hungry) {
      this.hungry = false;
      const unsent = this.outbox.items;
      // What is not sent yet is not asked again; with much of it, that goes first.
      if (unsent.length > UNSENT_AT_MOST) return;
      const questions = [...this.duels.map((duel) => duel.question), ...unsent];
      const held = [...new Map(questions.map((one) => [keyOf(one), shown(one)])).values()];
      const count = Math.max(0, AHEAD + 1 - this.duels.length);
      const seconds = this.toTell();
      try {
        this.take(await ask("POST", "questions", { held, count, seconds }));
        this.askedAt = performance.now();
      } catch (error) {
        this.untold(seconds);
        if (error instanceof Refused && error.status === 401) return askWho(error.message);
        if (error instanceof Refused) toast(error.message, "bad");
        else if (!(error instanceof ConnectionLost)) throw error;
        return;
      }
    }
  }

  take(told) {
    const gone = new Set(told.gone.map(keyOf));
    for (const duel of this.duels.filter((one) => gone.has(one.key))) {
      this.drop(duel);
      toast("The clips have been replaced by others.");
    }
    const unsent = this.outbox.items.map(keyOf);
    for (const question of told.questions) {
      // It may have been answered, or taken back, while the answer was on its way.
      if (unsent.includes(keyOf(question)) || this.duels.some((duel) => duel.key === keyOf(question))) continue;
      this.duels.push(this.duel(question));
    }
    this.standing = told.standing;
    at("left-out").hidden = told.left_out.length === 0;
    at("left-out").replaceChildren(...told.left_out.map((line) => element("li", line)));
    this.tellProgress(told.progress);
    this.showFirst();
  }

  duel(question) {
    return new Duel(at("stage"), question, {
      seen: (duel) => duel === this.duels[0] && this.tellSeen(duel),
      broken: (duel, message) => this.broken(duel, message),
    });
  }

  drop(duel) {
    duel.leave();
    this.duels = this.duels.filter((other) => other !== duel);
  }

  broken(duel, message) {
    toast(message, "bad");
    this.drop(duel);
    this.showFirst();
    void this.fill();
  }

  // --- what is seen -------------------------------------------------------------------------------------

  showFirst() {
    const [first] = this.duels;
    if (first === undefined) {
      this.tellTask(this.standing in EMPTY ? "Nothing to compare just now" : "Which is better?");
      at("note").textContent = `${EMPTY[this.standing] ?? "Looking for the next pair."} This page looks again by itself.`;
    } else if (!first.shown) {
      this.tellTask(first.question.task || "Which is better?");
      this.markedAt = this.time.total();
      first.show(this.paused);
    }
    at("note").hidden = first !== undefined || this.standing === null;
    at("stage").classList.toggle("empty", first === undefined);
    this.tellSeen(first);
  }

  // The films get what room the task leaves them. It is given none back: they are not to jump from pair to pair.
  tellTask(text) {
    const task = at("task");
    task.textContent = text;
    task.classList.toggle("long", text.length > LONG_TASK);
    this.taskHeight = Math.max(this.taskHeight, task.offsetHeight);
    task.style.minHeight = `${this.taskHeight}px`;
    at("stage").style.setProperty("--task", `${this.taskHeight}px`);
  }

  tellSeen(duel) {
    const seen = duel !== undefined && duel.seen;
    for (const button of document.querySelectorAll("[data-choice]")) button.disabled = !seen;
    for (const id of ["pause", "replay"]) at(id).disabled = duel === undefined;
    // The place for films is as they are, and changes only where others come.
    if (seen && duel.ratio > 0) at("stage").style.setProperty("--ratio", duel.ratio.toFixed(3));
  }

  tellProgress(progress) {
    if (progress !== undefined) this.progress = progress;
    const { answers = 0, wanted = 0, mine = 0 } = this.progress ?? {};
    const unsent = this.outbox.items.filter((body) => !body.repeat);
    const ahead = unsent.reduce((sum, body) => sum + (body.choice === null ? -1 : 1), 0);
    const so_far = Math.max(0, Math.min(wanted, answers + ahead));
    at("bar").max = Math.max(1, wanted);
    at("bar").value = so_far;
    at("progress").textContent = this.progress === null ? "" : `${so_far} of ${wanted} answered`;
    at("mine").textContent = this.progress === null ? "" : `${Math.max(0, mine + ahead)} by you`;
    const seconds = this.paces.reduce((sum, one) => sum + one, 0);
    at("rate").textContent = this.paces.length < 2 || seconds === 0 ? "" : `${((60 * this.paces.length) / seconds).toFixed(0)} a minute`;
  }

  pause(paused) {
    this.paused = paused;
    at("pause").firstChild.textContent = paused ? "Play " : "Pause ";
    this.duels[0]?.pause(paused);
  }

  replay() {
    if (this.duels.length === 0) return;
    this.pause(false);
    this.duels[0].replay();
  }

  sheets() {
    const stills = at("stage").classList.toggle("stills");
    at("sheets").setAttribute("aria-pressed", String(stills));
  }

  overview() {
    const open = at("overview").hidden;
    at("overview").hidden = !open;
    at("overview-button").setAttribute("aria-expanded", String(open));
    void this.tellPeople();
    if (open) at("overview").scrollIntoView({ block: "nearest" });
  }

  async tellPeople() {
    if (document.visibilityState !== "visible") return;
    try {
      const { people } = await ask("GET", "overview");
      tellOverview(at("overview"), people);
      at("warning").textContent = warning(people);
      at("warning").hidden = at("warning").textContent === "";
    } catch (error) {
      if (!(error instanceof ConnectionLost) && !(error instanceof Refused)) throw error;
    }
  }

  // --- what is said -------------------------------------------------------------------------------------

  choose(choice) {
    const [duel] = this.duels;
    // Nobody judges what they have not seen.
    if (duel === undefined || !duel.seen) return;
    const seconds = this.lookedFor();
    this.paces = [...this.paces, seconds].slice(-RATED);
    this.keepUndone([...this.undone, duel.question]);
    this.drop(duel);
    this.send(duel.question, choice, seconds);
    const pressed = document.querySelector(`[data-choice=${choice}]`);
    pressed.classList.remove("pressed");
    void pressed.offsetWidth; // or the movement would not begin anew
    pressed.classList.add("pressed");
  }

  // Back to the pair before. What was said of it is taken back at once, so that whatever happens to the page, nothing
  // stands that somebody has taken back.
  undo() {
    const question = this.undone.at(-1);
    if (question === undefined) return;
    this.keepUndone(this.undone.slice(0, -1));
    this.paces = this.paces.slice(0, -1);
    for (const duel of this.duels.filter((one) => one.key === keyOf(question))) this.drop(duel);
    const [before] = this.duels;
    if (before !== undefined) this.behind(before);
    this.duels.unshift(this.duel(question));
    this.send(question, null, this.lookedFor());
  }

  // Shown no more, but next.
  behind(duel) {
    const place = this.duels.indexOf(duel);
    duel.leave();
    this.duels[place] = this.duel(duel.question);
  }

  send(question, choice, seconds) {
    this.outbox.add({ key: clientKey(), ...shown(question), choice, seconds });
    this.tellProgress();
    this.showFirst();
    void this.fill();
  }

  stored(_body, answer) {
    this.tellProgress(answer.progress ?? undefined);
  }

  refused(body, message) {
    toast(message, "bad");
    this.keepUndone(this.undone.filter((one) => keyOf(one) !== keyOf(body)));
    void this.fill();
  }

  waiting(count, down) {
    super.waiting(count, down);
    if (count === 0 && this.duels.length <= AHEAD) void this.fill();
  }

  // --- keys ---------------------------------------------------------------------------------------------

  pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input[type=text], textarea")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const does = {
      z: () => this.undo(),
      Backspace: () => this.undo(),
      " ": () => this.pause(!this.paused),
      r: () => this.replay(),
      s: () => this.sheets(),
      a: () => this.overview(),
    }[key];
    if (CHOICES[key] === undefined && does === undefined) return;
    event.preventDefault();
    // A key that is held down says one thing.
    if (event.repeat) return;
    if (does !== undefined) does();
    else this.choose(CHOICES[key]);
  }
}

void arrive((me) => new Desk(me).begin());
