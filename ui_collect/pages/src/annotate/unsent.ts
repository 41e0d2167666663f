/**
 * What the annotator has said and the server has not confirmed yet: kept in the browser, sent in order, sent again.
 *
 * Everything carries a key of its own, so that the server stores once what arrives twice.
 */

import { ConnectionLost, RequestRefused, TokenRefused } from "./api.ts";
import type { MarkRequest, MarkSaved, ReviewRequest } from "./messages.ts";
import { keep, keptKeys, readKept, type Keeper } from "./stored.ts";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

export type Unsent =
  | { path: "labels"; body: MarkRequest }
  | { path: "reviews"; body: ReviewRequest }
  | { path: "iteration/finished"; body: { key: string } };

interface Kept {
  at: number;
  item: Unsent;
}

export interface OutboxEvents {
  /** The server has it. */
  stored(item: Unsent, answer: Partial<MarkSaved>): void;
  /** The server said no, and will again. */
  refused(item: Unsent, message: string): void;
  tokenRefused(message: string): void;
  /** How many wait; `retryAt`: when the next try comes, on the clock of `performance.now()`, null while the line is up. */
  changed(waiting: number, retryAt: number | null): void;
}

export class AnnotationOutbox {
  private items: Unsent[];
  private readonly keeper: Keeper;
  /** Each has a place of its own in the storage: two windows must not overwrite each other's. */
  private readonly prefix: string;
  private readonly store: (path: string, body: object) => Promise<Partial<MarkSaved>>;
  private readonly events: OutboxEvents;
  private sending: Promise<void> | null = null;
  private wait = FIRST_WAIT_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private retryAt: number | null = null;
  private stopped = false;
  private latest = 0;

  /** @param annotator whose clicks these are: another one in the same browser sends only their own. */
  constructor(
    keeper: Keeper,
    annotator: string,
    store: (path: string, body: object) => Promise<Partial<MarkSaved>>,
    events: OutboxEvents,
  ) {
    this.keeper = keeper;
    this.prefix = `flywheel.annotate.unsent.${annotator}.`;
    const kept = keptKeys(keeper, this.prefix).flatMap((key) => readKept<Kept | null>(keeper, key, null) ?? []);
    this.items = kept.sort((a, b) => a.at - b.at).map(({ item }) => item);
    this.store = store;
    this.events = events;
  }

  get waiting(): readonly Unsent[] {
    return this.items;
  }

  /** Keep and send; settles once it was stored, refused, or the line was found down. */
  add(item: Unsent): Promise<void> {
    this.items.push(item);
    this.latest = Math.max(this.latest + 1, Date.now());
    keep(this.keeper, this.prefix + item.body.key, { at: this.latest, item } satisfies Kept);
    this.changed();
    return this.flush();
  }

  /** Send what waits, now. */
  flush(): Promise<void> {
    if (this.stopped || !this.items.length) return Promise.resolve();
    clearTimeout(this.timer);
    this.sending ??= this.sendAll();
    return this.sending;
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async sendAll(): Promise<void> {
    try {
      for (let item = this.items[0]; item !== undefined && !this.stopped; item = this.items[0]) await this.send(item);
    } catch (error) {
      if (error instanceof TokenRefused) {
        this.stop();
        this.events.tokenRefused(error.message);
      } else if (error instanceof ConnectionLost) this.later();
      else throw error;
    } finally {
      this.sending = null;
    }
  }

  private async send(item: Unsent): Promise<void> {
    let answer: Partial<MarkSaved>;
    try {
      answer = await this.store(item.path, item.body);
    } catch (error) {
      if (!(error instanceof RequestRefused)) throw error;
      this.done(item);
      return this.events.refused(item, error.message);
    }
    this.done(item);
    this.events.stored(item, answer);
  }

  private done(item: Unsent): void {
    this.items = this.items.filter((other) => other !== item);
    this.keeper.removeItem(this.prefix + item.body.key);
    this.wait = FIRST_WAIT_MS;
    this.retryAt = null;
    this.changed();
  }

  private later(): void {
    this.retryAt = performance.now() + this.wait;
    this.timer = setTimeout(() => void this.flush(), this.wait);
    this.wait = Math.min(LONGEST_WAIT_MS, this.wait * 2);
    this.changed();
  }

  private changed(): void {
    this.events.changed(this.items.length, this.retryAt);
  }
}

/** A key no other click has. */
export function clientKey(): string {
  // randomUUID is missing where a page came over plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
