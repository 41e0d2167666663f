// What every page does on which somebody says things: it counts their time, keeps what they said until the server has
// it, and remembers what may be taken back.

import { ActiveTime } from "./active_time.js";
import { askWho, at } from "./arrival.js";
import { Outbox } from "./outbox.js";
import { keep, read } from "./stored.js";

const UNDONE_AT_MOST = 200;

// A page has the methods `undo()`, `stored(body, answer)`, `refused(body, message)` and `pressed(event)`.
export class SayingDesk {
  constructor(me, name) {
    this.me = me;
    this.time = new ActiveTime();
    this.time.touched();
    this.markedAt = 0;
    this.toldAt = 0;
    this.undoName = `flywheel.${name}.undo.${me.id}`;
    this.undone = read(sessionStorage, this.undoName) ?? [];
    this.outbox = new Outbox(name, me.id, {
      stored: (body, answer) => this.stored(body, answer),
      refused: (body, message) => this.refused(body, message),
      unknown: (message) => askWho(message),
      changed: (waiting, down) => this.waiting(waiting, down),
    });
    at("me").textContent = me.name;
    at("undo").addEventListener("click", () => this.undo());
    addEventListener("keydown", (event) => this.pressed(event));
    // Some browsers press a focused button when the space bar comes up again.
    addEventListener("keyup", (event) => event.key === " " && event.target.matches("button") && event.preventDefault());
    addEventListener("online", () => this.outbox.flush());
  }

  // Seconds that somebody has looked at what is shown since the last word on it.
  lookedFor() {
    const now = this.time.total();
    const seconds = Math.max(0, now - this.markedAt);
    this.markedAt = now;
    return seconds;
  }

  // Seconds of attention the server has not been told of; where it could not be told, `untold` gives them back.
  toTell() {
    const total = this.time.total();
    const seconds = Math.min(3600, total - this.toldAt);
    this.toldAt = total;
    return seconds;
  }

  untold(seconds) {
    this.toldAt -= seconds;
  }

  waiting(count, down) {
    const saved = at("saved");
    saved.className = `chip ${count === 0 ? "saved" : down ? "bad" : "pending"}`;
    saved.textContent = count === 0 ? "Saved" : down ? `No connection: ${count} kept here` : "Saving …";
  }

  keepUndone(kept) {
    this.undone = kept.slice(-UNDONE_AT_MOST);
    keep(sessionStorage, this.undoName, this.undone);
    at("undo").disabled = this.undone.length === 0;
  }
}
