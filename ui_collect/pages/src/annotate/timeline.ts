/**
 * The whole play at a glance: both agents' decisions in time, how far the task was, and what is remarkable.
 *
 * Nothing is told by colour alone: errors, failures and what is worth a look have signs above the AI's lane, failures
 * are hatched as well, and how unsure the AI was is how far its block is filled. The lane is one slider for keyboards
 * and screen readers; every decision is also a row of the list beside it.
 */

import type { Names } from "../acting/names.ts";
import { h } from "../dom.ts";
import { SIGNS, clock, percent, signsOf, whatHappened } from "./decision_words.ts";
import type { PlayDecision, RecordedPlay } from "./messages.ts";
import { byAi, tapped } from "./moments.ts";

/** CSS pixels a finger may miss a block by. */
const NEAR_PX = 9;
/** Pixels a pointer may move and still have tapped. */
const TAP_PX = 4;
/** Axis marks are this many seconds apart, whichever gives at most as many as fit. */
const AXIS_STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600];
const AXIS_PX = 64;

export interface TimelineEvents {
  /** The annotator wants to see a moment. */
  seek(tick: number): void;
  choose(decision: PlayDecision): void;
}

export class Timeline {
  readonly element: HTMLElement;
  private readonly track: HTMLElement;
  private readonly head = h("i", { class: "playhead" });
  private readonly progress = h("div", { class: "lane progress-lane" });
  private readonly axis = h("div", { class: "axis" });
  private readonly blocks = new Map<number, { block: HTMLElement; flag: HTMLElement }>();
  private readonly play: RecordedPlay;
  private readonly ordered: readonly PlayDecision[];
  private readonly names: Names;
  private readonly events: TimelineEvents;
  private readonly length: number;
  private shownSecond = -1;

  constructor(play: RecordedPlay, ordered: readonly PlayDecision[], names: Names, events: TimelineEvents) {
    this.play = play;
    this.ordered = ordered;
    this.names = names;
    this.events = events;
    this.length = Math.max(1, play.ticks);
    const flags = h("div", { class: "flags" });
    const ai = h("div", { class: "lane ai" });
    const person = h("div", { class: "lane person" });
    for (const decision of ordered) {
      const block = h("i", { class: "block" });
      const flag = h("i", { class: "flag" });
      this.place(block, decision.sim_step, decision.end_step);
      this.place(flag, decision.sim_step, decision.sim_step);
      (byAi(decision) ? ai : person).append(block);
      if (byAi(decision)) flags.append(flag);
      this.blocks.set(decision.index, { block, flag });
    }
    const seconds = this.length / play.ticks_per_second;
    this.track = h(
      "div",
      {
        class: "track",
        attrs: {
          role: "slider",
          tabindex: 0,
          "aria-label": "Moment of the play",
          "aria-valuemin": 0,
          "aria-valuemax": Math.round(seconds),
          "aria-valuenow": 0,
        },
      },
      flags,
      ai,
      person,
      this.progress,
      this.axis,
      this.head,
    );
    const captions = ["", "AI", "Person", "Done"].map((text) => h("span", { text }));
    this.element = h(
      "div",
      { class: "timeline" },
      h("div", { class: "lane-names", attrs: { "aria-hidden": "true" } }, ...captions),
      this.track,
    );
    this.listen();
    new ResizeObserver(() => this.drawAxis()).observe(this.track);
    this.refresh();
  }

  /** Bring the signs up to date. */
  refresh(): void {
    for (const decision of this.ordered) {
      const { block, flag } = this.blocks.get(decision.index)!;
      const signs = signsOf(decision);
      for (const { sign } of SIGNS) block.classList.toggle(sign, signs[sign]);
      block.style.setProperty("--unsure", String(decision.uncertainty ?? 0));
      const first = SIGNS.find(({ sign }) => signs[sign]);
      flag.className = `flag ${first?.sign ?? "none"}`;
      flag.textContent = first?.glyph ?? "";
    }
  }

  /** How far the task was, as steps: from each tick on at which that changed. */
  showProgress(course: readonly { tick: number; complete: number }[]): void {
    const steps = course.map(({ tick, complete }, index) => {
      const step = h("i", { class: "step", attrs: { title: percent(complete) } });
      this.place(step, tick, course[index + 1]?.tick ?? this.length);
      step.style.height = `${complete * 100}%`;
      return step;
    });
    this.progress.replaceChildren(...steps);
  }

  /** From here every key means what it means for the whole play. */
  focus(): void {
    this.track.focus({ preventScroll: true });
  }

  select(decision: PlayDecision | null): void {
    for (const [index, { block, flag }] of this.blocks) {
      block.classList.toggle("chosen", index === decision?.index);
      flag.classList.toggle("chosen", index === decision?.index);
    }
  }

  showTime(tick: number, during: PlayDecision | null): void {
    this.head.style.left = `${this.share(tick)}%`;
    const second = Math.floor(tick / this.play.ticks_per_second);
    if (second === this.shownSecond) return;
    this.shownSecond = second;
    this.track.setAttribute("aria-valuenow", String(second));
    const end = clock(this.length / this.play.ticks_per_second);
    const doing = during === null ? "" : `: ${whatHappened(during, this.names)}`;
    this.track.setAttribute("aria-valuetext", `${clock(second)} of ${end}${doing}`);
  }

  private share(tick: number): number {
    return (Math.min(Math.max(tick, 0), this.length) / this.length) * 100;
  }

  private place(element: HTMLElement, from: number, to: number): void {
    element.style.left = `${this.share(from)}%`;
    element.style.width = `${Math.max(0, this.share(to) - this.share(from))}%`;
  }

  private drawAxis(): void {
    const { clientWidth: width } = this.track;
    const seconds = this.length / this.play.ticks_per_second;
    const fit = Math.max(1, width / AXIS_PX);
    const step = AXIS_STEPS_S.find((one) => seconds / one <= fit) ?? AXIS_STEPS_S.at(-1)!;
    const marks: HTMLElement[] = [];
    for (let second = 0; second < seconds - 0.4 * step || second === 0; second += step) {
      const mark = h("span", { text: clock(second) });
      mark.style.left = `${this.share(second * this.play.ticks_per_second)}%`;
      marks.push(mark);
    }
    this.axis.replaceChildren(...marks);
  }

  private listen(): void {
    const { track } = this;
    let from: number | null = null;
    let moved = false;
    const at = (event: PointerEvent): number => {
      const box = track.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * this.length;
    };
    track.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      from = event.clientX;
      moved = false;
      track.setPointerCapture(event.pointerId);
    });
    track.addEventListener("pointermove", (event) => {
      if (from === null || (!moved && Math.abs(event.clientX - from) < TAP_PX)) return;
      moved = true;
      this.events.seek(at(event));
    });
    track.addEventListener("pointerup", (event) => {
      if (from !== null && !moved) this.tap(at(event));
      from = null;
    });
    track.addEventListener("pointercancel", () => (from = null));
  }

  private tap(tick: number): void {
    const near = (NEAR_PX / Math.max(1, this.track.clientWidth)) * this.length;
    const decision = tapped(this.ordered, tick, near, (one) => SIGNS.some(({ sign }) => signsOf(one)[sign]));
    const close = decision !== null && Math.abs(tick - decision.sim_step) <= near;
    if (close) this.events.choose(decision);
    else this.events.seek(tick);
  }
}
