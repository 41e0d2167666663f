/** One play being looked at: the picture, the timeline, the decision of the moment, and what is said about it. */

import { Names } from "../acting/names.ts";
import { closeDialog, confirmed } from "../dialogs/dialog.ts";
import { h } from "../dom.ts";
import { RecordedHome } from "../household/recorded_home.ts";
import { readFilm } from "../wire/film.ts";
import { actionOptions, targetOf } from "./action_options.ts";
import { RequestRefused } from "./api.ts";
import { CorrectionForm, type Draft } from "./correction_form.ts";
import { DecisionCard } from "./decision_card.ts";
import { DecisionList } from "./decision_list.ts";
import type { Desk } from "./desk.ts";
import { Marks } from "./marks.ts";
import type { MarkSaved, PlayDecision, RecordedPlay, ReviewStatus } from "./messages.ts";
import { byAi, decisionAt, inTime, neighbour, worthALook } from "./moments.ts";
import { PlayTime } from "./play_time.ts";
import { Playback } from "./playback.ts";
import { showPrompt } from "./prompt_dialog.ts";
import { ReplayViews } from "./replay_views.ts";
import { ReviewHead } from "./review_head.ts";
import { listenForReview, showReviewHelp } from "./review_keys.ts";
import { keep, readKept } from "./stored.ts";
import { Timeline } from "./timeline.ts";
import { Transport } from "./transport.ts";
import { clientKey, type Unsent } from "./unsent.ts";

const ALIVE_EVERY_MS = 30_000;

export interface ReviewEvents {
  /** Back to the queue. */
  leave(): void;
  /** The play is judged, or skipped: on to the next. */
  done(): void;
}

interface Place {
  time: number;
  decision: number | null;
}

export class Review {
  readonly id: string;
  readonly element: HTMLElement;
  private readonly desk: Desk;
  private readonly play: RecordedPlay;
  private readonly events: ReviewEvents;
  private readonly home: RecordedHome;
  private readonly names: Names;
  private readonly ordered: PlayDecision[];
  private readonly marks: Marks;
  private readonly time: PlayTime;
  private readonly head: ReviewHead;
  private readonly views: ReplayViews;
  private readonly timeline: Timeline;
  private readonly transport: Transport;
  private readonly playback: Playback;
  private readonly card: DecisionCard;
  private readonly list: DecisionList;
  private readonly stop = new AbortController();
  private form: CorrectionForm | null = null;
  private selected: PlayDecision | null = null;
  private over = false;
  /** It was finished or skipped: nothing of it is to be found again. */
  private closed = false;

  constructor(id: string, play: RecordedPlay, desk: Desk, events: ReviewEvents) {
    this.id = id;
    this.play = play;
    this.desk = desk;
    this.events = events;
    this.home = new RecordedHome(play.episode);
    this.playback = new Playback(this.home, play.ticks, play.ticks_per_second, desk.keeper, {
      reached: (tick) => this.seek(tick),
      playing: (playing) => this.transport.showPlaying(playing),
      speed: (speed) => this.transport.showSpeed(speed),
      draw: (now, seconds, playing) => this.views.draw(now, seconds, playing),
    });
    this.names = new Names(play.episode);
    this.ordered = inTime(play.decisions);
    this.time = new PlayTime(desk.keeper, desk.annotator.annotator, id, desk.active, performance.now());
    this.marks = new Marks(
      id,
      desk.annotator.annotator,
      play.decisions,
      desk.outbox.waiting,
      desk.keeper,
      () => this.time.count(performance.now()),
      (item) => void desk.outbox.add(item),
    );
    this.head = new ReviewHead(play, {
      queue: () => this.events.leave(),
      undo: () => this.undo(),
      help: () => void showReviewHelp(),
      skip: () => void this.close("skipped"),
      finish: () => void this.close("finished"),
    });
    const agents = play.episode.abilities.map((_, agent) => (agent === play.episode.human ? "Person" : "AI"));
    this.views = new ReplayViews(this.home, this.names, agents, () => this.playback.wake());
    const choose = (decision: PlayDecision): void => this.choose(decision);
    this.timeline = new Timeline(play, this.ordered, this.names, { seek: (tick) => this.seek(tick), choose });
    this.transport = new Transport(play.ticks / play.ticks_per_second, this.playback.speed, {
      playOrPause: () => this.playback.set(!this.playback.playing),
      decision: (direction) => this.step(direction, byAi),
      worth: (direction) => this.step(direction, worthALook),
      speed: (value) => this.playback.setSpeed(value),
    });
    this.card = new DecisionCard(play, this.ordered, this.names, {
      mark: () => this.openForm(),
      withdraw: () => this.withdraw(),
      prompt: () => void this.showPrompt(),
    });
    this.list = new DecisionList(this.ordered, this.names, play.ticks_per_second, choose);
    this.element = h(
      "main",
      { class: "review" },
      this.head.element,
      this.views.element,
      h("section", { class: "panel when", attrs: { "aria-label": "Timeline" } }, this.transport.element, this.timeline.element),
      h("aside", { class: "side", attrs: { "aria-label": "Decisions of the play" } }, this.card.element, this.list.element),
    );
  }

  /** Put it onto the page and begin where one was, or at the first decision worth a look. */
  show(into: HTMLElement): void {
    into.replaceChildren(this.element);
    this.listen();
    this.refresh();
    const place = readKept<Place | null>(this.desk.keeper, this.key("place"), null);
    const draft = readKept<Draft | null>(this.desk.keeper, this.key("draft"), null);
    const first = this.ordered.find(worthALook) ?? this.ordered.find(byAi) ?? null;
    const at = place?.decision == null ? first : (this.decision(place.decision) ?? first);
    if (at !== null) this.choose(at);
    if (place !== null) this.seek(place.time, at);
    const drafted = draft === null ? null : this.decision(draft.decision);
    if (draft !== null && drafted?.can_be_marked === true) {
      this.choose(drafted);
      this.openForm(draft);
    } else this.timeline.focus();
    void this.claim();
    void this.loadFilm();
  }

  dispose(): void {
    this.remember();
    this.over = true;
    this.stop.abort();
    this.playback.dispose();
    closeDialog();
    this.views.dispose();
  }

  /** Something of this play reached the server. */
  stored(item: Unsent, answer: Partial<MarkSaved>): void {
    if (item.path !== "labels" || item.body.play !== this.id) return;
    this.marks.stored(answer, this.desk.outbox.waiting);
    this.refresh();
  }

  /** Show what the server holds now: what others have said meanwhile, and what it did not take. */
  async reread(): Promise<void> {
    try {
      const fresh = await this.desk.api.play(this.id);
      if (this.over) return;
      this.play.review = fresh.review;
      this.head.showAgreement(fresh.agreement);
      this.marks.refresh(fresh.decisions, this.desk.outbox.waiting);
      this.refresh();
    } catch (error) {
      this.desk.failed(error);
    }
  }

  /** How much is on its way. */
  waiting(count: number, lost: boolean): void {
    this.head.showSaving(count, lost);
  }

  // --- what is done about decisions ------------------------------------------------------------------------------

  private openForm(draft?: Draft): void {
    const decision = this.selected;
    if (this.form !== null) return this.form.focus();
    if (decision === null || !decision.can_be_marked) {
      return this.desk.notices.say("Only what the AI chose itself can be corrected.", "bad");
    }
    this.playback.set(false);
    const { mine } = decision;
    const begun = draft ?? { decision: decision.index, corrected: mine?.corrected ?? null, reason: mine?.reason ?? "" };
    const options = actionOptions(decision.admissible, decision.action, this.names, this.home);
    this.form = new CorrectionForm(options, begun, {
      save: (corrected, reason) => {
        this.closeForm();
        this.marks.mark(decision.index, corrected, reason);
        this.refresh();
        this.desk.notices.say("Marked as an error.", "good");
      },
      cancel: () => this.closeForm(),
      considered: (action) => this.views.mark(action === null ? null : targetOf(action, this.home)),
      changed: (changed) => {
        // A field that leaves the page loses the focus and settles once more: what was saved or cancelled is no draft.
        if (this.form !== null) keep(this.desk.keeper, this.key("draft"), changed);
      },
    });
    this.card.showForm(this.form);
  }

  private closeForm(): void {
    if (this.form === null) return;
    this.form = null;
    this.desk.keeper.removeItem(this.key("draft"));
    this.card.showForm(null);
    this.timeline.focus();
    this.showSelected();
  }

  private withdraw(): void {
    const decision = this.selected;
    if (decision === null || decision.mine === null || this.form !== null) return;
    this.marks.withdraw(decision.index);
    this.refresh();
    this.timeline.focus();
    this.desk.notices.say("It is not marked any more.", "good");
  }

  private undo(): void {
    this.closeForm();
    const index = this.marks.undo();
    if (index === null) return this.desk.notices.say("There is nothing to undo in this play.");
    const decision = this.decision(index);
    if (decision !== null) this.choose(decision);
    this.refresh();
    this.desk.notices.say(this.marks.of(index) === null ? "Undone: it is not marked any more." : "Undone: it is marked as before.", "good");
  }

  private async showPrompt(): Promise<void> {
    const decision = this.selected;
    if (decision === null) return;
    this.playback.set(false);
    const title = decision.role === "ai" ? "What the AI saw" : "What the person saw";
    await showPrompt(title, () => this.desk.api.prompt(this.id, decision.index));
  }

  private async close(status: ReviewStatus): Promise<void> {
    this.playback.set(false);
    this.closeForm();
    const { errors } = this.marks;
    const marked = errors === 0 ? "no decision" : errors === 1 ? "one decision" : `${errors} decisions`;
    const sure =
      status === "finished"
        ? await confirmed("Finish this play?", `You marked ${marked} as an error. Everything else the AI chose counts as right.`, "Finish, next play", false, "Not yet")
        : await confirmed("Skip this play?", "You leave it without a judgement. What you marked stays marked.", "Skip it", false, "Not yet");
    if (!sure || this.over) return;
    const seconds = this.time.count(performance.now());
    void this.desk.outbox.add({ path: "reviews", body: { key: clientKey(), play: this.id, status, seconds } });
    for (const what of ["place", "draft"]) this.desk.keeper.removeItem(this.key(what));
    this.closed = true;
    this.events.done();
  }

  // --- time and selection ----------------------------------------------------------------------------------------

  /** Show a decision at the moment it was made. */
  private choose(decision: PlayDecision): void {
    if (this.form !== null && this.form.draft.decision !== decision.index) {
      this.desk.notices.say("Save or cancel the correction first.", "bad");
      return this.form.focus();
    }
    this.playback.set(false);
    this.seek(decision.sim_step, decision);
  }

  private step(direction: -1 | 1, fits: (decision: PlayDecision) => boolean): void {
    const next = neighbour(this.ordered, this.selected, direction, fits);
    if (next !== null) return this.choose(next);
    const which = fits === byAi ? "decision of the AI" : "decision worth a look";
    this.desk.notices.say(direction > 0 ? `That was the last ${which}.` : `That is the first ${which}.`);
  }

  /** Show a moment, and the decision that is being carried out then unless another one is given. */
  private seek(tick: number, decision: PlayDecision | null = null): void {
    const time = Math.min(Math.max(0, tick), this.play.ticks);
    this.home.moveTo(time);
    // While a correction is written, one may look around in time without losing it.
    if (this.form === null) this.select(decision ?? decisionAt(this.ordered, time));
    this.timeline.showTime(time, decisionAt(this.ordered, time));
    this.transport.showTime(time / this.play.ticks_per_second);
    this.playback.wake();
  }

  private select(decision: PlayDecision | null): void {
    if (decision === this.selected) return;
    this.selected = decision;
    this.timeline.select(decision);
    this.list.select(decision);
    this.showSelected();
  }

  private showSelected(): void {
    this.card.show(this.selected);
    this.views.mark(this.selected === null ? null : targetOf(this.selected.action, this.home));
  }

  // --- around it -------------------------------------------------------------------------------------------------

  private listen(): void {
    const { signal } = this.stop;
    // A click on a button must not keep the focus there: the next Space is meant for the replay.
    this.element.addEventListener("click", (event) => {
      const clicked = event.detail > 0 && event.target instanceof Element ? event.target.closest("button") : null;
      if (clicked === document.activeElement) clicked?.blur();
    });
    listenForReview(
      {
        playOrPause: () => this.playback.set(!this.playback.playing),
        skim: (seconds) => this.seek(this.home.time + seconds * this.play.ticks_per_second),
        toEnd: (end) => this.seek(end ? this.play.ticks : 0),
        faster: (direction) => this.playback.faster(direction),
        decision: (direction) => this.step(direction, byAi),
        worth: (direction) => this.step(direction, worthALook),
        mark: () => this.openForm(),
        withdraw: () => this.withdraw(),
        undo: () => this.undo(),
        prompt: () => void this.showPrompt(),
        view: (index) => {
          const view = this.views.viewpoints[index];
          if (view !== undefined) this.views.look(view);
        },
        finish: () => void this.close("finished"),
        skip: () => void this.close("skipped"),
        queue: () => this.events.leave(),
        help: () => void showReviewHelp(),
      },
      signal,
    );
    const timer = window.setInterval(() => {
      if (!document.hidden) void this.alive();
    }, ALIVE_EVERY_MS);
    signal.addEventListener("abort", () => window.clearInterval(timer));
    window.addEventListener("pagehide", () => this.remember(true), { signal });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.remember(true) : void this.alive()), { signal });
  }

  private async claim(): Promise<void> {
    try {
      this.head.showTaken((await this.desk.api.open(this.id)).taken_by);
    } catch (error) {
      this.desk.failed(error);
    }
  }

  /** Say that one is still at it, and what others have said meanwhile. */
  private async alive(leaving = false): Promise<void> {
    try {
      const { taken_by: by } = await this.desk.api.alive(this.id, this.time.report(performance.now()), leaving);
      if (this.over) return;
      this.head.showTaken(by);
      if (!leaving) await this.reread();
    } catch (error) {
      if (!leaving) this.desk.failed(error);
    }
  }

  private async loadFilm(): Promise<void> {
    try {
      const film = await this.desk.api.film(this.id);
      if (this.over) return;
      this.home.load(readFilm(film));
      this.timeline.showProgress(this.home.course);
      this.head.showOutcome(this.home.course.at(-1) ?? null);
      this.views.begin();
      this.showSelected();
    } catch (error) {
      if (this.over) return;
      if (error instanceof RequestRefused) return this.views.say(`${error.message} You can still correct its decisions.`);
      if (!this.desk.failed(error)) return;
      this.views.say("The replay could not be loaded. Trying again…", true);
      window.setTimeout(() => {
        if (!this.over) void this.loadFilm();
      }, 4000);
    }
  }

  private refresh(): void {
    this.timeline.refresh();
    this.list.refresh();
    this.card.show(this.selected);
    this.head.showErrors(this.marks.errors, this.marks.canUndo);
  }

  /** Keep where one is, for a reload. */
  private remember(leaving = false): void {
    const place: Place = { time: this.home.time, decision: this.selected?.index ?? null };
    if (this.closed) return;
    keep(this.desk.keeper, this.key("place"), place);
    this.time.keep(performance.now());
    if (leaving) void this.alive(true);
  }

  private decision(index: number): PlayDecision | null {
    return this.play.decisions.find((one) => one.index === index) ?? null;
  }

  private key(what: string): string {
    return `flywheel.annotate.${what}.${this.desk.annotator.annotator}.${this.id}`;
  }
}
