/** The annotation page: who annotates, the queue, and one play after the other. */

import { closeDialog, confirmed } from "../dialogs/dialog.ts";
import { h } from "../dom.ts";
import { Notices } from "../panels/notices.ts";
import { strayPage } from "../stages/farewell.ts";
import { takeInvitation } from "../wire/session_token.ts";
import { ActiveTime } from "./active_time.ts";
import { forgetAnnotator, keepAnnotator, knownAnnotator, lastName, type Annotator } from "./annotator.ts";
import { AnnotateApi, ConnectionLost, RequestRefused, TokenRefused, joinAnnotation } from "./api.ts";
import type { Desk } from "./desk.ts";
import { joinPage } from "./join_page.ts";
import type { Filter } from "./messages.ts";
import { QueuePage, nextPlay } from "./queue_page.ts";
import { Review } from "./review.ts";
import { browserKeeper, keep, readKept } from "./stored.ts";
import { AnnotationOutbox, clientKey } from "./unsent.ts";
import "../style/annotate.css";

const QUEUE_EVERY_MS = 15_000;
const RETRY_MS = 4000;
const TITLE = "Annotate · Flywheel";
const LOST = "The connection is lost. What you marked is kept here and sent as soon as it is back.";

class Page {
  private readonly root = document.getElementById("app")!;
  private readonly notices = new Notices(document.body);
  private readonly keeper = browserKeeper();
  private readonly active = new ActiveTime(!document.hidden, performance.now());
  private desk: Desk | null = null;
  private review: Review | null = null;
  private queue: QueuePage | null = null;
  private filter: Filter = "all";
  private timer = 0;
  private lost = false;
  /** Rises with every change of what is shown, so that late answers to what is gone are dropped. */
  private shown = 0;

  start(): void {
    this.countTime();
    const invitation = takeInvitation();
    const annotator = knownAnnotator(invitation);
    if (annotator?.token) return this.begin(annotator);
    if (invitation === null) {
      return this.put(strayPage("You need an annotation link", "Open the link you were given. It leads here and lets you in."));
    }
    this.put(joinPage(lastName(), (name) => this.join(invitation, name)));
  }

  private async join(invitation: string, name: string): Promise<string | null> {
    try {
      this.begin(keepAnnotator(await joinAnnotation(invitation, name), invitation));
      return null;
    } catch (error) {
      if (error instanceof RequestRefused) return error.message;
      if (error instanceof ConnectionLost) return "The server cannot be reached. Check your connection and try again.";
      throw error;
    }
  }

  private begin(annotator: Annotator): void {
    const api = new AnnotateApi(annotator.token);
    const outbox = new AnnotationOutbox(this.keeper, annotator.annotator, (path, body) => api.store(path, body), {
      stored: (item, answer) => {
        this.connected(true);
        this.review?.stored(item, answer);
      },
      refused: (_item, message) => {
        this.connected(true);
        this.notices.say(message, "bad");
        void this.review?.reread();
      },
      tokenRefused: (message) => this.refuse(message),
      changed: (waiting, retryAt) => {
        this.review?.waiting(waiting, retryAt !== null);
        if (retryAt !== null) this.connected(false);
      },
    });
    this.desk = {
      annotator,
      api,
      outbox,
      keeper: this.keeper,
      active: this.active,
      notices: this.notices,
      failed: (error) => this.failed(error),
    };
    window.addEventListener("online", () => void this.retry());
    window.addEventListener("popstate", () => this.route());
    // What a visit before this one could not send.
    void outbox.flush();
    const chosen = new URLSearchParams(window.location.search).getAll("play");
    if (chosen.length) {
      keep(this.keeper, this.chosenKey, chosen);
      this.filter = "chosen";
    }
    this.route();
  }

  /** Show what the address says: one play, or the queue. */
  private route(): void {
    const play = new URLSearchParams(window.location.search).get("at");
    if (play === null) void this.showQueue();
    else void this.showPlay(play);
  }

  private go(play: string | null): void {
    window.history.pushState(null, "", play === null ? window.location.pathname : `?at=${encodeURIComponent(play)}`);
    this.route();
  }

  // --- the queue -------------------------------------------------------------------------------------------------

  private async showQueue(): Promise<void> {
    const { annotator, outbox } = this.desk!;
    this.clear();
    document.title = `Queue · ${TITLE}`;
    const page = new QueuePage(annotator.name, annotator.program, annotator.iteration, this.chosenPlays, {
      open: (play) => this.go(play),
      filter: (filter) => {
        this.filter = filter;
        void this.loadQueue();
      },
      chosen: (plays) => keep(this.keeper, this.chosenKey, plays),
      finish: () => void this.finishIteration(),
    });
    this.queue = page;
    this.put(page.element, false);
    // What was just finished is to stand there as finished.
    await outbox.flush();
    await this.loadQueue();
    if (this.queue === page) page.focus();
  }

  private async loadQueue(): Promise<void> {
    const page = this.queue;
    const { filter } = this;
    window.clearTimeout(this.timer);
    if (page === null) return;
    try {
      const { api } = this.desk!;
      const [queue, figures] = await Promise.all([api.queue(filter, page.chosenPlays), api.figures()]);
      if (this.queue !== page || this.filter !== filter) return;
      page.showQueue(queue, filter);
      page.showFigures(figures);
      this.connected(true);
    } catch (error) {
      if (this.queue !== page || !this.failed(error)) return;
    }
    if (this.queue === page) this.timer = window.setTimeout(() => void this.loadQueue(), this.lost ? RETRY_MS : QUEUE_EVERY_MS);
  }

  private async finishIteration(): Promise<void> {
    const text = "Training on the corrections of this iteration begins, even where plays are left that nobody has looked at.";
    if (!(await confirmed("Close this iteration’s annotation?", text, "Close it", false, "Not yet"))) return;
    await this.desk!.outbox.add({ path: "iteration/finished", body: { key: clientKey() } });
    await this.loadQueue();
  }

  // --- plays -----------------------------------------------------------------------------------------------------

  private async showPlay(id: string): Promise<void> {
    const desk = this.desk!;
    this.clear();
    const turn = this.shown;
    this.put(strayPage("One moment", "The play is being loaded."));
    try {
      const play = await desk.api.play(id);
      if (turn !== this.shown) return;
      this.connected(true);
      this.review = new Review(id, play, desk, { leave: () => this.go(null), done: () => void this.goOn(id) });
      document.title = `Play · ${TITLE}`;
      this.review.show(this.root);
      this.review.waiting(desk.outbox.waiting.length, this.lost);
    } catch (error) {
      if (turn !== this.shown) return;
      if (error instanceof RequestRefused) {
        const back = { label: "Back to the queue", run: () => this.go(null) };
        return this.put(strayPage("This play cannot be shown", error.message, back));
      }
      if (this.failed(error)) this.timer = window.setTimeout(() => void this.showPlay(id), RETRY_MS);
    }
  }

  /** A play is done: the next one, or the queue where there is none. */
  private async goOn(done: string): Promise<void> {
    const { api, outbox } = this.desk!;
    this.clear();
    this.put(strayPage("One moment", "The next play is being loaded."));
    await outbox.flush();
    try {
      const { items } = await api.queue(this.filter, this.chosenPlays);
      const next = nextPlay(items, done);
      if (next !== null) return this.go(next.play);
    } catch (error) {
      if (error instanceof TokenRefused) return this.refuse(error.message);
    }
    this.go(null);
  }

  // --- what may be wrong -----------------------------------------------------------------------------------------

  /** Show what a failure means; says whether trying again later may help. */
  private failed(error: unknown): boolean {
    if (error instanceof ConnectionLost) {
      this.connected(false);
      return true;
    }
    if (error instanceof TokenRefused) this.refuse(error.message);
    else if (error instanceof RequestRefused) this.notices.say(error.message, "bad");
    else throw error;
    return false;
  }

  private connected(up: boolean): void {
    if (up === !this.lost) return;
    this.lost = !up;
    this.notices.warn(up ? null : LOST, { label: "Try now", run: () => void this.retry() });
    this.review?.waiting(this.desk!.outbox.waiting.length, this.lost);
  }

  private async retry(): Promise<void> {
    await this.desk?.outbox.flush();
    if (this.queue !== null) await this.loadQueue();
    else if (this.review !== null) {
      await this.desk?.api.figures().then(() => this.connected(true), (error: unknown) => this.failed(error));
    } else this.route();
  }

  private refuse(message: string): void {
    this.desk?.outbox.stop();
    forgetAnnotator();
    this.clear();
    this.notices.warn(null);
    this.put(strayPage("This link does not work any more", `${message} What you marked before is kept.`));
  }

  // --- around it -------------------------------------------------------------------------------------------------

  private get chosenKey(): string {
    return `flywheel.annotate.chosen.${this.desk!.annotator.annotator}`;
  }

  private get chosenPlays(): string[] {
    return readKept<string[]>(this.keeper, this.chosenKey, []);
  }

  private clear(): void {
    this.shown++;
    window.clearTimeout(this.timer);
    closeDialog();
    this.review?.dispose();
    this.review = null;
    this.queue = null;
  }

  private put(element: HTMLElement, focus = true): void {
    this.root.replaceChildren(element);
    const heading = element.querySelector("h1");
    document.title = heading?.textContent ? `${heading.textContent} · ${TITLE}` : TITLE;
    if (focus) (element.querySelector<HTMLElement>("input") ?? heading)?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  private countTime(): void {
    const input = (): void => this.active.input(performance.now());
    for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
      window.addEventListener(kind, input, { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => this.active.show(!document.hidden, performance.now()));
    // Whoever opens a page is there.
    input();
  }
}

// Without this element nothing would be heard of a script that fails while it loads.
window.addEventListener("error", () => {
  if (!document.querySelector(".card, .review, .queue-page")) {
    document.getElementById("app")?.replaceChildren(
      h("main", { class: "card-page" }, h("article", { class: "card" }, h("h1", { text: "This page could not start" }), h("p", { text: "Reload it, or try another browser." }))),
    );
  }
});

new Page().start();
