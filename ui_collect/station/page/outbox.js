// What somebody has said and the server has not confirmed yet: kept in the browser, sent in order, sent again.
// Everything carries a key of its own, so that the server stores once what arrives twice.

import { ConnectionLost, Refused, ask } from "./api.js";
import { keep, names, read } from "./stored.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;

export class Outbox {
  // page: whose labels they are. events: stored(body, answer), refused(body, message), unknown(message),
  // changed(waiting, down)
  constructor(page, person, events) {
    // Each has a place of its own in the storage: two windows must not overwrite each other's.
    this.prefix = `flywheel.${page}.unsent.${person}.`;
    this.events = events;
    this.wait = FIRST_WAIT_MS;
    this.latest = 0;
    this.sending = null;
    this.stopped = false;
    this.items = names(localStorage)
      .filter((name) => name.startsWith(this.prefix))
      .flatMap((name) => read(localStorage, name) ?? [])
      .sort((a, b) => a.at - b.at)
      .map(({ body }) => body);
  }

  waiting(episode) {
    return this.items.findLast((body) => body.episode === episode);
  }

  add(body) {
    this.items.push(body);
    this.latest = Math.max(this.latest + 1, Date.now());
    keep(localStorage, this.prefix + body.key, { at: this.latest, body });
    this.events.changed(this.items.length, false);
    return this.flush();
  }

  flush() {
    if (this.stopped || this.items.length === 0) return;
    clearTimeout(this.timer);
    this.sending ??= this.sendAll().finally(() => (this.sending = null));
  }

  async sendAll() {
    while (this.items.length > 0) {
      const body = this.items[0];
      try {
        const answer = await ask("POST", "labels", body);
        this.done(body);
        this.events.stored(body, answer);
      } catch (error) {
        if (error instanceof ConnectionLost) {
          this.timer = setTimeout(() => this.flush(), this.wait);
          this.wait = Math.min(LONGEST_WAIT_MS, this.wait * 2);
          this.events.changed(this.items.length, true);
          return;
        }
        if (!(error instanceof Refused)) throw error;
        if (error.status === 401) {
          this.stopped = true;
          this.events.unknown(error.message);
          return;
        }
        this.done(body);
        this.events.refused(body, error.message);
      }
    }
  }

  done(body) {
    this.items = this.items.filter((other) => other !== body);
    keep(localStorage, this.prefix + body.key, null);
    this.wait = FIRST_WAIT_MS;
    this.events.changed(this.items.length, false);
  }
}

// A key no other click has; randomUUID is missing where a page came over plain HTTP.
export function clientKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
