// The page of marks: episodes, one of them on the screen, and where its stages are reached.

import { arrive, at, toast } from "./arrival.js";
import { Film } from "./film.js";
import { MarkList, filters } from "./mark_list.js";
import { clientKey } from "./outbox.js";
import { ReviewDesk } from "./review_desk.js";
import { finalLevel, lost, progressAt, reached, removed } from "./story.js";
import { Timeline } from "./timeline.js";

const PLACE_AFTER_MS = 200;

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

class Desk extends ReviewDesk {
  constructor(me) {
    super(me, "marks");
    this.stages = me.stages.length;
    this.camera = "";
    this.timeline = new Timeline(at("timeline"), at("moment"), (frame) => this.film.go(frame));
    this.film = new Film(at("screen"), () => this.tellMoment());
    this.list = new MarkList(at("list"), (key) => this.show(key));
    document.title = `${me.dataset} · Marks · Flywheel`;
    at("stages").replaceChildren(
      ...me.stages.map((name, number) => {
        const button = element("button", name, "button");
        button.type = "button";
        button.append(element("kbd", String(number + 1)));
        button.addEventListener("click", () => this.reach(number + 1));
        return button;
      }),
    );
    for (const [id, does] of Object.entries({
      play: () => this.film.toggle(),
      setback: () => this.lose(),
      remove: () => this.remove(),
      done: () => this.done(),
    })) {
      at(id).addEventListener("click", does);
    }
    for (const button of document.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    }
  }

  async begin() {
    const place = new URLSearchParams(location.hash.slice(1));
    const which = place.get("show") in filters ? place.get("show") : "open";
    at(`which-${which}`).checked = true;
    this.list.filter = which;
    this.camera = place.get("camera") ?? "";
    await this.look();
    this.begun = true;
    this.outbox.flush();
    const key = place.get("at");
    if (key !== null) this.list.include(key);
    if (this.list.items.has(key)) this.show(key, Number(place.get("frame")) || 0);
    else this.show(this.list.first());
  }

  // --- looking ------------------------------------------------------------------------------------------

  taken() {
    if (this.item !== null && this.list.items.has(this.item.key)) this.tellItem(this.list.items.get(this.item.key));
    else if (this.begun) this.show(this.list.first());
  }

  drawn() {
    this.curves.draw(this.film.frame / this.me.fps);
  }

  takeBack(item, last) {
    this.send(item, last.marks, last.done);
  }

  pending(item) {
    const body = this.outbox.waiting(item.key);
    if (body !== undefined) Object.assign(item, { marks: body.marks, done: body.done, mine: true, by: this.me.name });
  }

  show(key, frame = 0) {
    if (key !== null && key === this.item?.key) return;
    this.markedAt = this.time.total();
    this.item = key === null ? null : this.list.items.get(key);
    at("shown").hidden = this.item === null;
    at("empty").hidden = this.item !== null;
    this.list.mark(key);
    if (this.item === null) {
      this.film.clear();
      at("task").textContent = "Nothing left here";
      at("facts").replaceChildren();
      at("empty").textContent = "Every episode is marked. Look at all of them to change one.";
      this.place();
      return;
    }
    at("task").textContent = this.item.task || `Episode ${this.item.index}`;
    this.tellCameras();
    this.curves.clear();
    this.film.show(this.source(), this.item.frames, this.me.fps, Math.min(frame, this.item.frames - 1));
    this.tellItem(this.item);
    this.place();
    void this.here();
    void this.drawCurves(this.item.key);
  }

  source() {
    const number = Math.max(0, this.item.cameras.indexOf(this.camera));
    return this.item.cameras.length === 0 ? null : `${this.item.key}/cameras/${number}`;
  }

  lookThrough(camera) {
    this.camera = camera;
    this.tellCameras();
    this.film.show(this.source(), this.item.frames, this.me.fps, this.film.frame);
    this.place();
  }

  tellCameras() {
    const { cameras } = this.item;
    const shown = cameras[Math.max(0, cameras.indexOf(this.camera))];
    at("cameras").replaceChildren(
      ...(cameras.length < 2 ? [] : cameras).map((name) => {
        const button = element("button", name, "button plain small");
        button.type = "button";
        button.setAttribute("aria-pressed", String(name === shown));
        button.addEventListener("click", () => this.lookThrough(name));
        return button;
      }),
    );
  }

  // A reload leads back to the same frame. Browsers refuse an address that changes all the time.
  place() {
    clearTimeout(this.placing);
    this.placing = setTimeout(() => this.placeNow(), PLACE_AFTER_MS);
  }

  placeNow() {
    const { item, camera } = this;
    const place = new URLSearchParams({
      show: this.list.filter,
      ...(item && { at: item.key, frame: this.film.frame }),
      ...(camera && { camera }),
    });
    history.replaceState(null, "", `#${place}`);
  }

  tellItem(item) {
    this.item = item;
    const facts = [element("span", `episode ${item.index}`, "chip")];
    if (item.verdict !== null) facts.push(element("span", item.verdict ? "said good" : "said bad", `chip ${item.verdict ? "good" : "wrong"}`));
    if (item.success !== null) facts.push(element("span", item.success ? "simulator: success" : "simulator: failure", "chip"));
    if (item.looked_at_by !== null) facts.push(element("span", `${item.looked_at_by} is looking at it`, "chip taken"));
    at("facts").replaceChildren(...facts);
    const who = item.mine ? "you" : item.by;
    at("said").textContent =
      item.by === null
        ? "Nobody has marked this episode yet."
        : item.stages !== this.stages
          ? `Marked with ${item.stages} stages by ${who}; what you mark takes its place.`
          : item.done
            ? `Marked to its end by ${who}.`
            : item.marks.length > 0
              ? `Begun by ${who}. Done, when nothing more is reached.`
              : `All marks taken back by ${who}.`;
    at("undo").disabled = this.undone.length === 0;
    at("marks").replaceChildren(
      ...item.marks.map((mark) => {
        const line = element("li", "");
        const button = element("button", `${mark.frame}: ${this.me.stages[mark.stage - 1]}${mark.lost ? " lost" : ""}`);
        button.type = "button";
        button.className = `button plain small ${mark.lost ? "lost" : ""}`;
        button.addEventListener("click", () => this.film.go(mark.frame));
        line.append(button);
        return line;
      }),
    );
    this.tellMoment();
  }

  tellMoment() {
    if (this.item === null || this.film === undefined) return;
    const { item, stages } = this;
    const { frame, running } = this.film;
    const progress = progressAt(item.marks, frame, stages);
    this.timeline.show({ marks: item.marks, length: item.frames, stages, frame });
    const here = item.marks.find((mark) => mark.frame === frame);
    [...at("stages").children].forEach((button, n) => button.classList.toggle("here", here?.stage === n + 1 && !here.lost));
    at("remove").disabled = here === undefined;
    at("play").textContent = running ? "Pause" : "Play";
    at("clock").textContent = `frame ${frame} of ${item.frames} · ${(frame / this.me.fps).toFixed(2)} s · progress ${progress.toFixed(2)}`;
    this.curves.draw(frame / this.me.fps);
    if (!running) this.place();
  }

  told() {
    const counts = this.list.counts();
    for (const which of Object.keys(filters)) at(`which-${which}`).nextElementSibling.lastElementChild.textContent = counts[which];
    at("progress").textContent = `${counts.all - counts.open} of ${counts.all} marked`;
  }

  // --- marking ------------------------------------------------------------------------------------------

  step(frames) {
    if (this.item !== null) this.film.go(this.film.frame + frames);
  }

  stopped() {
    if (this.item !== null && this.film.running) this.film.go(this.film.frame);
    return this.item !== null;
  }

  // A stage is marked without stopping: who sees it happen presses once, and steps back later if need be.
  reach(stage) {
    if (this.item === null || stage > this.stages) return;
    this.take(reached(this.item.marks, this.film.frame, stage, this.item.frames, this.stages));
  }

  lose() {
    if (this.stopped()) this.take(lost(this.item.marks, this.film.frame, this.item.frames, this.stages));
  }

  remove() {
    if (this.stopped()) this.take(removed(this.item.marks, this.film.frame, this.item.frames, this.stages));
  }

  take(made) {
    if (made.problem !== undefined) return toast(made.problem, "bad");
    if (made.dropped > 0) toast(`${made.dropped} later ${made.dropped > 1 ? "marks" : "mark"} can no longer be, and went with it. Undo brings all back.`);
    // With the last stage an episode is at its end.
    // What was at its end by its marks alone is not, once the last of them is taken away.
    const byItself = finalLevel(this.item.marks) === this.stages;
    const kept = this.item.done && !byItself && made.marks.length > 0;
    this.say(made.marks, finalLevel(made.marks) === this.stages || kept);
  }

  done() {
    if (this.item === null) return;
    if (!this.item.done) this.say(this.item.marks, true);
    this.show(this.list.after(this.item.key));
  }

  say(marks, done) {
    const { item } = this;
    this.keepUndone([...this.undone, { episode: item.key, marks: item.marks, done: item.done }]);
    this.send(item, marks, done);
  }

  send(item, marks, done) {
    const body = { key: clientKey(), episode: item.key, marks, done, seconds: this.lookedFor(), seen: item.label };
    Object.assign(item, { marks, done, mine: true, by: this.me.name, stages: this.stages });
    this.sent(item, body);
  }

  // --- keys ---------------------------------------------------------------------------------------------

  pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input[type=text], textarea")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const side = { ArrowRight: 1, ArrowLeft: -1 }[key];
    // The filter is worked as such things are, by arrows and space, while it is focused; so is a button by Enter.
    if (event.target.matches("input[type=radio]") && (key.startsWith("Arrow") || key === " ")) return;
    if (key === "Enter" && event.target.matches("button")) return;
    const beside = { n: 1, p: -1, ArrowDown: 1, ArrowUp: -1 }[key];
    const once = { b: () => this.lose(), x: () => this.remove(), u: () => this.undo(), c: () => this.nextCamera(), Enter: () => this.done() }[key];
    if (side !== undefined) this.step(side * (event.shiftKey ? 10 : 1));
    else if (beside !== undefined) this.show(this.list.beside(this.item?.key, beside) ?? this.item?.key ?? null);
    else if (key === "Home") this.step(-Infinity);
    else if (key === "End") this.step(Infinity);
    else if (event.repeat && (once !== undefined || key === " " || /^[1-9]$/.test(key))) event.preventDefault();
    else if (/^[1-9]$/.test(key)) this.reach(Number(key));
    else if (once !== undefined) once();
    else if (key === " ") this.item !== null && this.film.toggle();
    else return;
    event.preventDefault();
  }

  nextCamera() {
    if (this.item === null || this.item.cameras.length < 2) return;
    const { cameras } = this.item;
    this.lookThrough(cameras[(Math.max(0, cameras.indexOf(this.camera)) + 1) % cameras.length]);
  }
}

void arrive((me) => new Desk(me).begin());
