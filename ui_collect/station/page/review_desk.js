// What pages for looking through episodes do alike: they look for what is new, take back, and say who else is looking.
// Each page says for itself what is shown, and what can be said.

import { ConnectionLost, Refused, ask } from "./api.js";
import { askWho, at, toast } from "./arrival.js";
import { Curves } from "./curves.js";
import { SayingDesk } from "./saying_desk.js";

const LOOK_EVERY_MS = 5000;
const HERE_EVERY_MS = 20000;

// A page has a `list` of episodes, and the methods `show(key)`, `tellItem(item)`, `told()`, `taken(told)`,
// `pending(item)`, `takeBack(item, last)`, `drawn(told)` and `pressed(event)`.
export class ReviewDesk extends SayingDesk {
  constructor(me, name) {
    super(me, name);
    this.item = null;
    this.curves = new Curves(at("curves"), at("legend"));
    for (const radio of document.querySelectorAll("[name=which]")) {
      radio.addEventListener("change", () => this.choose(radio.value));
    }
    setInterval(() => document.visibilityState === "visible" && void this.look(), LOOK_EVERY_MS);
    setInterval(() => void this.here(), HERE_EVERY_MS);
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
    // What was said here and is on its way counts before what the server knows.
    for (const item of told.episodes) this.pending(item);
    this.list.take(told.episodes);
    this.told();
    this.taken(told);
  }

  choose(which) {
    this.list.choose(which);
    this.told();
    this.show(this.list.order.includes(this.item?.key) ? this.item.key : this.list.first());
    document.activeElement?.blur();
  }

  async drawCurves(key) {
    try {
      const told = await ask("GET", `episodes/${key}/curves`);
      if (this.item?.key !== key) return;
      this.curves.show(told);
      this.drawn(told);
    } catch (error) {
      if (!(error instanceof ConnectionLost) && this.item?.key === key) toast(error.message, "bad");
    }
  }

  async here() {
    if (this.item === null || document.visibilityState !== "visible") return;
    const [key, seconds] = [this.item.key, this.toTell()];
    try {
      const answer = await ask("POST", `episodes/${key}/here`, { seconds });
      const item = this.list.items.get(key);
      if (item !== undefined && item.looked_at_by !== answer.looked_at_by) {
        item.looked_at_by = answer.looked_at_by;
        this.tellAll(item);
      }
      this.notAlone(key, answer.looked_at_by);
    } catch (error) {
      this.untold(seconds);
      if (!(error instanceof ConnectionLost) && !(error instanceof Refused)) throw error;
    }
  }

  // Told after each word of being here; who looks at the episode as well, or null.
  notAlone(_key, _who) {}

  tellAll(item) {
    this.list.tell(item);
    if (this.item?.key === item.key) this.tellItem(item);
  }

  // --- saying -------------------------------------------------------------------------------------------

  sent(item, body) {
    this.told();
    this.tellAll(item);
    this.outbox.add(body);
  }

  undo() {
    const last = this.undone.at(-1);
    if (last === undefined) return;
    this.keepUndone(this.undone.slice(0, -1));
    const item = this.list.items.get(last.episode);
    if (item === undefined) return;
    this.list.include(item.key);
    this.show(item.key);
    this.takeBack(item, last);
  }

  stored(body, answer) {
    const item = this.list.items.get(body.episode);
    if (item === undefined) return;
    const { kept: _, ...state } = answer;
    Object.assign(item, state);
    this.pending(item);
    this.tellAll(item);
    this.told();
  }

  refused(body, message) {
    toast(message, "bad");
    this.keepUndone(this.undone.filter((one) => one.episode !== body.episode));
    this.list.include(body.episode);
    void this.look();
    if (this.list.items.has(body.episode)) this.show(body.episode);
  }
}
