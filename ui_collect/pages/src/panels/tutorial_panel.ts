/** The tutorial's steps, ticked off as they are done. */

import { h } from "../dom.ts";

export type Step = "turn" | "walk" | "open" | "pick" | "go" | "place";

interface Lesson {
  step: Step;
  title: string;
  keys: string;
  touch: string;
}

const LESSONS: readonly Lesson[] = [
  { step: "turn", title: "Look around", keys: "Q and E, or drag the picture", touch: "Drag the picture" },
  { step: "walk", title: "Walk", keys: "W A S D", touch: "Push the round stick" },
  { step: "open", title: "Open a piece of furniture", keys: "Shift + Space, or click it", touch: "Tap it, or its button" },
  { step: "pick", title: "Pick something up", keys: "Space, or click it", touch: "Tap it, or its button" },
  { step: "go", title: "Go somewhere by name", keys: "N, then type", touch: "“Go to…”" },
  { step: "place", title: "Put it down", keys: "Space, or click where", touch: "Tap where, or the button" },
];

export class TutorialPanel {
  readonly element: HTMLElement;
  private readonly rows = new Map<Step, HTMLElement>();
  private readonly done = new Set<Step>();
  private readonly leave: HTMLButtonElement;

  constructor(leave: () => void) {
    const touch = window.matchMedia("(pointer: coarse)").matches;
    const list = h("ol", { class: "lessons" });
    for (const lesson of LESSONS) {
      const row = h(
        "li",
        {},
        h("span", { class: "tick", attrs: { "aria-hidden": "true" } }),
        h("span", {}, h("b", { text: lesson.title }), h("small", { text: touch ? lesson.touch : lesson.keys })),
        h("span", { class: "unseen", text: "not done yet" }),
      );
      this.rows.set(lesson.step, row);
      list.append(row);
    }
    this.leave = h("button", {
      class: "button plain",
      text: "Skip the tutorial",
      attrs: { type: "button" },
      on: { click: leave },
    });
    this.element = h(
      "section",
      { class: "panel tutorial", attrs: { "aria-label": "Tutorial" } },
      h("h2", { text: "Try these" }),
      list,
      this.leave,
    );
  }

  tick(step: Step): void {
    const row = this.rows.get(step);
    if (row === undefined || this.done.has(step)) return;
    this.done.add(step);
    row.classList.add("done");
    row.querySelector(".unseen")!.textContent = "done";
    if (this.done.size === LESSONS.length) {
      this.leave.textContent = "I am ready";
      this.leave.className = "button primary";
    }
  }
}
