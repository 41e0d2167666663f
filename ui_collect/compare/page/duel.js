// Two films side by side that begin together and loop together; the shorter waits on its last frame.

import { ConnectionLost, address, isThere } from "./api.js";
import { element } from "./made.js";

const AGAIN_MS = 1000;
const TRIES = 3;
const HOLD_MS = 450;
const APART_S = 0.12;
const LOOK_EVERY_MS = 100;
const HAS_A_FRAME = HTMLMediaElement.HAVE_CURRENT_DATA;
const HAS_FRAMES = HTMLMediaElement.HAVE_FUTURE_DATA;

class Side {
  constructor(name, film, changed) {
    this.film = film;
    this.place = element("figure", "", `side ${name}`);
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
    this.picture = element("img", "", "sheet");
    this.note = element("p", "The film is being made …", "note");
    const badge = element("figcaption", name === "left" ? "Left" : "Right", "badge");
    this.picture.alt = `Moments of the ${name} film`;
    this.picture.hidden = true;
    const screen = element("div", "", "film");
    screen.append(this.video, this.picture, this.note);
    this.place.append(badge, screen);
    this.failures = 0;
    this.changed = changed;
    this.video.addEventListener("error", () => this.video.hasAttribute("src") && this.failed());
    for (const kind of ["loadeddata", "canplay", "ended", "seeked"]) this.video.addEventListener(kind, changed);
    this.picture.addEventListener("load", changed);
  }

  // A line that breaks is tried again. What cannot be played is judged by its stills.
  failed() {
    this.failures += 1;
    if (this.failures < TRIES) {
      setTimeout(() => this.video.hasAttribute("src") && this.begin(), AGAIN_MS);
      return;
    }
    this.place.classList.add("unplayed");
    this.tell("");
    this.changed();
  }

  tell(text) {
    this.note.textContent = text;
    this.note.hidden = text === "";
  }

  // Resolves when the film is there; rejects where the server says it never will be.
  async load(wanted) {
    while (wanted()) {
      try {
        await isThere(`films/${this.film}/video`);
        break;
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error;
        await new Promise((later) => setTimeout(later, AGAIN_MS));
      }
    }
    if (wanted()) this.begin();
  }

  begin() {
    this.video.poster = this.picture.src = address(`films/${this.film}/sheet`);
    this.picture.hidden = false;
    this.video.src = address(`films/${this.film}/video`);
    this.tell("");
  }

  get unplayed() {
    return this.failures >= TRIES;
  }

  get seen() {
    return this.unplayed ? this.picture.complete && this.picture.naturalWidth > 0 : this.video.readyState >= HAS_A_FRAME;
  }

  get ready() {
    return this.unplayed || this.video.readyState >= HAS_FRAMES || this.video.ended;
  }

  get over() {
    return this.unplayed || this.video.ended;
  }

  play() {
    // Whoever is told to play again while it does so starts nothing anew.
    if (this.video.paused && !this.unplayed) this.video.play().catch(() => {});
  }

  leave() {
    // What was decoded is given back at once: an hour has many films.
    this.video.removeAttribute("src");
    this.video.load();
    this.place.remove();
  }
}

export class Duel {
  // events: seen(duel): both can be judged; broken(duel, message): one of them never will be.
  constructor(stage, question, events) {
    this.question = question;
    this.place = element("div", "", "duel");
    this.sides = [
      new Side("left", question.left_film, () => this.changed()),
      new Side("right", question.right_film, () => this.changed()),
    ];
    this.place.append(...this.sides.map((side) => side.place));
    this.place.dataset.pair = question.pair;
    this.place.inert = true;
    stage.append(this.place);
    this.events = events;
    this.here = true;
    this.shown = false;
    this.seen = false;
    this.paused = false;
    this.running = false;
    Promise.all(this.sides.map((side) => side.load(() => this.here))).catch((error) => {
      if (this.here) events.broken(this, error.message);
    });
  }

  get key() {
    return `${this.question.pair} ${this.question.repeat}`;
  }

  get ratio() {
    return Math.max(...this.sides.map(({ video }) => (video.videoHeight > 0 ? video.videoWidth / video.videoHeight : 0)));
  }

  show(paused) {
    this.shown = true;
    this.paused = paused;
    this.place.classList.add("shown");
    this.looking = setInterval(() => this.together(), LOOK_EVERY_MS);
    this.changed();
    if (this.seen) this.events.seen(this);
  }

  changed() {
    if (!this.here) return;
    if (!this.seen && this.sides.every((side) => side.seen)) {
      this.seen = true;
      this.events.seen(this);
    }
    if (this.shown && !this.running && this.sides.every((side) => side.ready)) this.replay();
    else if (this.running && this.sides.every((side) => side.over)) this.again();
  }

  // From the start, both at once.
  replay() {
    clearTimeout(this.holding);
    this.holding = null;
    this.running = true;
    for (const { video } of this.sides) {
      video.pause();
      if (video.currentTime > 0) video.currentTime = 0;
    }
    if (!this.paused) for (const side of this.sides) side.play();
  }

  again() {
    this.holding ??= setTimeout(() => {
      this.holding = null;
      if (this.here && !this.paused && this.sides.every((side) => side.over)) this.replay();
    }, HOLD_MS);
  }

  // The shorter one waits on its last frame, and only with the other begins anew.
  play() {
    for (const side of this.sides) if (!side.over) side.play();
  }

  // Whichever is ahead waits for the other, as where one of them has to be loaded first.
  together() {
    if (!this.running || this.paused) return;
    const [one, two] = this.sides;
    if (one.over || two.over) return this.play();
    const apart = one.video.currentTime - two.video.currentTime;
    const [ahead, behind] = apart > 0 ? [one, two] : [two, one];
    if (Math.abs(apart) > APART_S) ahead.video.pause();
    else ahead.play();
    behind.play();
  }

  pause(paused) {
    this.paused = paused;
    if (!this.running) return;
    if (paused) for (const { video } of this.sides) video.pause();
    else if (this.sides.every((side) => side.over)) this.replay();
    else this.play();
  }

  leave() {
    this.here = this.shown = false;
    clearInterval(this.looking);
    clearTimeout(this.holding);
    for (const side of this.sides) side.leave();
    this.place.remove();
  }
}
