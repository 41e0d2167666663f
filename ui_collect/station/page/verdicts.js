// The verdict page: episodes, one of them on the screen, and what is said of it.

import { ActiveTime } from "./active_time.js";
import { arrive, askWho, at, toast } from "./arrival.js";
import { ConnectionLost, Refused, ask, videoIsThere } from "./api.js";
import { Curves } from "./curves.js";
import { EpisodeList, filters, proposed } from "./episode_list.js";
import { Outbox, clientKey } from "./outbox.js";
import { Screen } from "./screen.js";
import { keep, read } from "./stored.js";

const LOOK_EVERY_MS = 5000;
const HERE_EVERY_MS = 20000;
const UNDONE_AT_MOST = 200;
const WORDS = { good: "Good", bad: "Bad", exclude: "Not used", withdrawn: "Taken back" };
const KEYS = { g: "good", b: "bad", x: "exclude" };
const DOUBTFUL = "flywheel.verdicts.doubtful";

function chip(text, kind = "") {
  const element = document.createElement("span");
  element.className = `chip ${kind}`;
  element.textContent = text;
  return element;
}

class Desk {
  constructor(me) {
    this.me = me;
    this.time = new ActiveTime();
    this.time.touched();
    this.markedAt = 0;
    this.toldAt = 0;
    this.item = null;
    this.undoName = `flywheel.verdicts.undo.${me.id}`;
    this.undone = read(sessionStorage, this.undoName) ?? [];
    this.curves = new Curves(at("curves"), at("legend"));
    // It is its own legend: hidden where there is nothing to draw.
    this.value = new Curves(at("value"), at("value"));
    this.screen = new Screen(at("screen"), (seconds) => {
      this.value.draw(seconds);
      this.curves.draw(seconds);
    });
    this.list = new EpisodeList(at("list"), (key) => this.show(key));
    this.outbox = new Outbox("verdicts", me.id, {
      stored: (body, answer) => this.stored(body, answer),
      refused: (body, message) => this.refused(body, message),
      unknown: (message) => askWho(message),
      changed: (waiting, down) => this.waiting(waiting, down),
    });
    at("me").textContent = me.name;
    at("undo").addEventListener("click", () => this.undo());
    for (const button of document.querySelectorAll("[data-said]")) {
      button.addEventListener("click", (event) => {
        // Pressed by hand, it must not stay focused: Enter would say the same of the next one.
        if (event.detail > 0) button.blur();
        this.say(button.dataset.said);
      });
    }
    at("confirm").addEventListener("click", (event) => {
      if (event.detail > 0) at("confirm").blur();
      this.confirm();
    });
    at("doubtful").addEventListener("change", () => {
      keep(localStorage, DOUBTFUL, at("doubtful").checked);
      this.list.doubtfulFirst = at("doubtful").checked;
      this.choose(this.list.filter);
    });
    for (const radio of document.querySelectorAll("[name=which]")) {
      radio.addEventListener("change", () => this.choose(radio.value));
    }
    addEventListener("keydown", (event) => this.pressed(event));
    // Some browsers press a focused button when the space bar comes up again.
    addEventListener("keyup", (event) => event.key === " " && event.target.matches("button") && event.preventDefault());
    addEventListener("online", () => this.outbox.flush());
    setInterval(() => document.visibilityState === "visible" && void this.look(), LOOK_EVERY_MS);
    setInterval(() => void this.here(), HERE_EVERY_MS);
  }

  async begin() {
    const place = new URLSearchParams(location.hash.slice(1));
    const which = place.get("show") in filters ? place.get("show") : "unlabelled";
    at(`which-${which}`).checked = true;
    this.list.filter = which;
    this.list.doubtfulFirst = at("doubtful").checked = read(localStorage, DOUBTFUL) ?? true;
    await this.look();
    this.begun = true;
    this.outbox.flush();
    const key = place.get("at");
    if (key !== null) this.list.include(key);
    if (this.list.items.has(key)) this.show(key);
    else this.show(this.list.first(), { chosen: false });
  }

  // --- looking ------------------------------------------------------------------------------------------

  async look() {
    let told;
    try {
      told = await ask("GET", "episodes");
    } catch (error) {
      if (error instanceof Refused && error.status === 401) askWho(error.message);
      return;
    }
    for (const item of told.episodes) this.pending(item);
    this.list.take(told.episodes);
    this.told();
    this.tellAgreement(told.agreed);
    if (this.item !== null) this.tellItem(this.list.items.get(this.item.key) ?? this.item);
    else if (this.begun) this.show(this.list.first());
  }

  // What was said here and is on its way counts before what the server knows.
  pending(item) {
    const body = this.outbox.waiting(item.key);
    if (body !== undefined) said(item, body.said, this.me);
  }

  choose(which) {
    this.list.choose(which);
    this.told();
    this.show(this.list.order.includes(this.item?.key) ? this.item.key : this.list.first());
    document.activeElement?.blur();
  }

  // chosen: by the person; otherwise what somebody else looks at is passed over.
  show(key, { chosen = true } = {}) {
    if (key !== null && key === this.item?.key) return;
    this.chosen = chosen;
    this.markedAt = this.time.total();
    this.item = key === null ? null : this.list.items.get(key);
    at("shown").hidden = this.item === null;
    at("empty").hidden = this.item !== null;
    this.list.mark(key);
    this.place();
    if (this.item === null) {
      this.screen.clear();
      at("task").textContent = this.list.items.size === 0 ? "No episodes yet" : "Nothing left here";
      at("facts").replaceChildren();
      at("empty").textContent =
        this.list.items.size === 0
          ? "No station has sent an episode. They appear here as they come in."
          : this.list.filter === "unlabelled"
            ? "Every episode has a verdict. Look at all of them to change one."
            : "There is no such episode.";
      return;
    }
    at("task").textContent = this.item.task;
    this.tellItem(this.item);
    this.curves.clear();
    this.value.clear();
    this.screen.show(this.item);
    void this.here();
    void this.drawCurves(this.item.key);
    const next = this.list.items.get(this.list.beside(key, 1));
    // Made while this one is looked at.
    if (next !== undefined && next.cameras.length > 0) videoIsThere(next.key).catch(() => {});
  }

  place() {
    const place = new URLSearchParams({ show: this.list.filter, ...(this.item && { at: this.item.key }) });
    history.replaceState(null, "", `#${place}`);
  }

  tellItem(item) {
    this.item = item;
    const facts = [chip(`epoch ${item.epoch}`), chip(`episode ${item.number}`)];
    facts.push(item.station ? chip(`station: ${item.station}`, item.station === "good" ? "good" : "wrong") : chip("station: no verdict"));
    if (item.aborted !== null) facts.push(chip(`aborted: ${item.aborted}`, "bad"));
    if (item.success !== null) facts.push(chip(item.success ? "simulator: success" : "simulator: failure"));
    if (item.policy) facts.push(chip(item.policy));
    if (item.cameras.length > 1) facts.push(chip(item.cameras.join(" · ")));
    if (item.looked_at_by !== null) facts.push(chip(`${item.looked_at_by} is looking at it`, "taken"));
    at("facts").replaceChildren(...facts);
    const shown = item.said === null || item.said === "withdrawn" ? null : item.said;
    for (const button of document.querySelectorAll("[data-said]")) {
      button.setAttribute("aria-pressed", String(button.dataset.said === shown));
    }
    at("stamp").hidden = shown === null;
    at("stamp").className = `stamp ${shown ?? ""}`;
    at("stamp").textContent = shown === null ? "" : WORDS[shown];
    const who = item.mine ? "you" : item.by;
    at("said").textContent =
      item.said === null
        ? "Nobody has said anything here yet."
        : item.said === "withdrawn"
          ? `Taken back by ${who}; what the station said counts.`
          : `${WORDS[item.said]}, said by ${who}.`;
    at("undo").disabled = this.undone.length === 0;
    this.tellProposal(item);
  }

  tellProposal(item) {
    const proposal = proposed(item);
    at("proposal").hidden = item.proposal === null;
    at("confirm").hidden = !this.confirmable(item);
    if (item.proposal === null) return;
    at("proposed").textContent =
      proposal === null
        ? `The estimator's proposal is out of date: ${item.proposal.stale}.`
        : `The estimator: ${proposal.said}, ${proposal.score.toFixed(2)}`;
    at("proposed").className = proposal?.said ?? "stale";
  }

  // Whether there is a word that a person could make their own; what somebody has said here is not overwritten so.
  confirmable(item) {
    const word = proposed(item)?.said;
    return (word === "good" || word === "bad") && (item.said === null || item.said === "withdrawn");
  }

  tellAgreement(agreed) {
    const some = [...this.list.items.values()].some((item) => item.proposal !== null);
    at("order").hidden = at("enter").hidden = !some;
    at("agreed").textContent =
      agreed === null ? "" : `People agree with what was proposed in ${agreed.same} of ${agreed.decided}.`;
  }

  async drawCurves(key) {
    try {
      const told = await ask("GET", `episodes/${key}/curves`);
      if (this.item?.key !== key) return;
      this.curves.show(told);
      if (told.value !== null) {
        this.value.show({ seconds: told.seconds, joints: [{ ...told.value, within: [0, 1] }], environment: [] });
      }
    } catch (error) {
      if (!(error instanceof ConnectionLost) && this.item?.key === key) toast(error.message, "bad");
    }
  }

  told() {
    const counts = this.list.counts();
    for (const which of Object.keys(filters)) at(`which-${which}`).nextElementSibling.lastElementChild.textContent = counts[which];
    const judged = counts.all - counts.unlabelled;
    at("progress").textContent = this.me.target > 0 ? `${judged} of ${this.me.target} judged` : `${judged} judged`;
  }

  async here() {
    if (this.item === null || document.visibilityState !== "visible") return;
    const [key, total] = [this.item.key, this.time.total()];
    const seconds = Math.min(3600, total - this.toldAt);
    this.toldAt = total;
    try {
      const answer = await ask("POST", `episodes/${key}/here`, { seconds });
      const item = this.list.items.get(key);
      if (item !== undefined && item.looked_at_by !== answer.looked_at_by) {
        item.looked_at_by = answer.looked_at_by;
        this.list.tell(item);
        if (this.item?.key === key) this.tellItem(item);
      }
      const free = this.item?.key === key && !this.chosen && answer.looked_at_by !== null ? this.list.free() : null;
      if (free !== null) this.show(free, { chosen: false });
    } catch (error) {
      this.toldAt -= seconds;
      if (!(error instanceof ConnectionLost) && !(error instanceof Refused)) throw error;
    }
  }

  // --- saying -------------------------------------------------------------------------------------------

  confirm() {
    if (this.item === null || this.item.proposal === null) return;
    const proposal = proposed(this.item);
    if (this.confirmable(this.item)) return this.say(proposal.said, true);
    if (proposal === null) toast("What was proposed is out of date: say good or bad yourself.");
    else if (proposal.said === "unsure") toast("The estimator is unsure: say good or bad yourself.");
    else toast("A person has judged this one: say good or bad to change it.");
  }

  say(word, confirmed = false) {
    if (this.item === null) return;
    const item = this.item;
    this.keepUndone([...this.undone, { episode: item.key, before: item.said ?? "withdrawn" }]);
    this.send(item, word, confirmed);
    const next = this.list.after(item.key);
    if (next !== null) this.show(next, { chosen: false });
    else if (this.list.filter === "unlabelled") this.show(null);
  }

  undo() {
    const last = this.undone.at(-1);
    if (last === undefined) return;
    this.keepUndone(this.undone.slice(0, -1));
    const item = this.list.items.get(last.episode);
    if (item === undefined) return;
    this.list.include(item.key);
    this.show(item.key);
    this.send(item, last.before);
  }

  send(item, word, confirmed = false) {
    const now = this.time.total();
    const seconds = Math.max(0, now - this.markedAt);
    this.markedAt = now;
    const shown = proposed(item);
    const proposal = shown && { said: shown.said, score: shown.score, estimator: shown.estimator, confirmed };
    const body = { key: clientKey(), episode: item.key, said: word, seconds, seen: item.label, proposal };
    said(item, word, this.me);
    this.list.tell(item);
    this.told();
    if (this.item?.key === item.key) this.tellItem(item);
    this.outbox.add(body);
  }

  stored(body, answer) {
    const item = this.list.items.get(body.episode);
    if (item === undefined) return;
    const { kept: _, ...state } = answer;
    Object.assign(item, state);
    this.pending(item);
    this.list.tell(item);
    this.told();
    if (this.item?.key === item.key) this.tellItem(item);
  }

  refused(body, message) {
    toast(message, "bad");
    this.keepUndone(this.undone.filter((one) => one.episode !== body.episode));
    this.list.include(body.episode);
    void this.look();
    if (this.list.items.has(body.episode)) this.show(body.episode);
  }

  waiting(count, down) {
    const saved = at("saved");
    saved.className = `chip ${count === 0 ? "saved" : down ? "bad" : "pending"}`;
    saved.textContent = count === 0 ? "Saved" : down ? `No connection: ${count} kept here` : "Saving …";
  }

  keepUndone(kept) {
    this.undone = kept.slice(-UNDONE_AT_MOST);
    keep(sessionStorage, this.undoName, this.undone);
  }

  pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input[type=text], textarea")) return;
    const word = KEYS[event.key.toLowerCase()];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    // The filter is worked as such things are, by arrows and space, while it is focused.
    if (event.target.matches("input[type=radio]") && (step !== undefined || event.key === " ")) return;
    if (word !== undefined) {
      // Held down, a key says something once.
      if (!event.repeat) this.say(word);
    } else if (event.key.toLowerCase() === "u") {
      if (!event.repeat) this.undo();
    } else if (event.key === "Enter") {
      // A button that was gone to by keys is pressed by it; a row of the list is where one is already.
      if (event.target.matches("button:not(.row), input")) return;
      if (!event.repeat) this.confirm();
    } else if (step !== undefined) this.show(this.list.beside(this.item?.key, step) ?? this.item?.key ?? null);
    else if (event.key === " ") this.screen.toggle();
    else return;
    event.preventDefault();
  }
}

function said(item, word, me) {
  item.said = word;
  item.mine = true;
  item.by = me.name;
  item.verdict = word === "good" || word === "bad" ? word : item.station;
  item.excluded = word === "exclude";
}

void arrive((me) => new Desk(me).begin());
