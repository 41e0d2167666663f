// The verdict page: episodes, one of them on the screen, and what is said of it.

import { arrive, at, toast } from "./arrival.js";
import { videoIsThere } from "./api.js";
import { Curves } from "./curves.js";
import { EpisodeList, filters, proposed } from "./episode_list.js";
import { clientKey } from "./outbox.js";
import { ReviewDesk } from "./review_desk.js";
import { Screen } from "./screen.js";
import { keep, read } from "./stored.js";

const WORDS = { good: "Good", bad: "Bad", exclude: "Not used", withdrawn: "Taken back" };
const KEYS = { g: "good", b: "bad", x: "exclude" };
const DOUBTFUL = "flywheel.verdicts.doubtful";

function chip(text, kind = "") {
  const element = document.createElement("span");
  element.className = `chip ${kind}`;
  element.textContent = text;
  return element;
}

class Desk extends ReviewDesk {
  constructor(me) {
    super(me, "verdicts");
    // It is its own legend: hidden where there is nothing to draw.
    this.value = new Curves(at("value"), at("value"));
    this.screen = new Screen(at("screen"), (seconds) => {
      this.value.draw(seconds);
      this.curves.draw(seconds);
    });
    this.list = new EpisodeList(at("list"), (key) => this.show(key));
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

  taken(told) {
    this.tellAgreement(told.agreed);
    if (this.item !== null) this.tellItem(this.list.items.get(this.item.key) ?? this.item);
    else if (this.begun) this.show(this.list.first());
  }

  drawn(told) {
    if (told.value === null) return;
    this.value.show({ seconds: told.seconds, joints: [{ ...told.value, within: [0, 1] }], environment: [] });
  }

  notAlone(key, who) {
    const free = this.item?.key === key && !this.chosen && who !== null ? this.list.free() : null;
    if (free !== null) this.show(free, { chosen: false });
  }

  takeBack(item, last) {
    this.send(item, last.before);
  }

  pending(item) {
    const body = this.outbox.waiting(item.key);
    if (body !== undefined) said(item, body.said, this.me);
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

  told() {
    const counts = this.list.counts();
    for (const which of Object.keys(filters)) at(`which-${which}`).nextElementSibling.lastElementChild.textContent = counts[which];
    const judged = counts.all - counts.unlabelled;
    at("progress").textContent = this.me.target > 0 ? `${judged} of ${this.me.target} judged` : `${judged} judged`;
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

  send(item, word, confirmed = false) {
    const seconds = this.lookedFor();
    const shown = proposed(item);
    const proposal = shown && { said: shown.said, score: shown.score, estimator: shown.estimator, confirmed };
    const body = { key: clientKey(), episode: item.key, said: word, seconds, seen: item.label, proposal };
    said(item, word, this.me);
    this.sent(item, body);
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
