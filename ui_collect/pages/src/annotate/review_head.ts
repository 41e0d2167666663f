/** Above a play: the task, how it came out, who else is at it, what is saved, and the ways out. */

import { h, setText } from "../dom.ts";
import { keyCap } from "./correction_form.ts";
import { percent } from "./decision_words.ts";
import type { RecordedPlay } from "./messages.ts";

export interface HeadCommands {
  queue(): void;
  undo(): void;
  help(): void;
  skip(): void;
  finish(): void;
}

export class ReviewHead {
  readonly element: HTMLElement;
  private readonly outcome = h("span", { class: "chip", attrs: { hidden: true } });
  private readonly agreement = h("span", {
    class: "chip",
    attrs: { hidden: true, title: "Share of decisions judged alike by those who finished this play" },
  });
  private readonly taken = h("span", { class: "chip taken", attrs: { role: "status" } });
  private readonly saved = h("span", { class: "chip saved", text: "Saved" });
  private readonly errors = h("span", { class: "chip errors" });
  private readonly undo: HTMLButtonElement;

  constructor(play: RecordedPlay, commands: HeadCommands) {
    const button = (kind: string, text: string, key: string, run: () => void): HTMLButtonElement =>
      h("button", { class: `button ${kind} small`, attrs: { type: "button" }, on: { click: run } }, text, keyCap(key));
    this.undo = button("plain", "Undo", "Ctrl+Z", commands.undo);
    this.taken.hidden = true;
    this.showAgreement(play.agreement);
    this.element = h(
      "header",
      { class: "review-head" },
      button("quiet", "← Queue", "Q", commands.queue),
      h(
        "div",
        { class: "chips" },
        this.outcome,
        this.errors,
        this.agreement,
        this.taken,
        this.saved,
      ),
      h("h1", { text: play.episode.instruction, attrs: { tabindex: -1 } }),
      h(
        "nav",
        { class: "review-tools", attrs: { "aria-label": "Commands" } },
        this.undo,
        button("plain", "Help", "H", commands.help),
        button("plain", "Skip", "S", commands.skip),
        button("primary", "Finish", "F", commands.finish),
      ),
    );
  }

  /** How far the task was in the end; null where that is not known. */
  showOutcome(end: { complete: number; success: boolean } | null): void {
    this.outcome.hidden = end === null;
    if (end === null) return;
    this.outcome.className = end.success ? "chip solved" : "chip unsolved";
    setText(this.outcome, end.success ? "Solved" : `Not solved · ${percent(end.complete)}`);
  }

  /** What share of decisions is judged alike; null while there is nobody to agree with. */
  showAgreement(agreement: number | null): void {
    this.agreement.hidden = agreement === null;
    if (agreement !== null) setText(this.agreement, `${percent(agreement)} agreed`);
  }

  showTaken(by: string | null): void {
    this.taken.hidden = by === null;
    setText(this.taken, by === null ? "" : `${by} is here too`);
  }

  showErrors(count: number, canUndo: boolean): void {
    setText(this.errors, count === 1 ? "1 error marked" : `${count} errors marked`);
    this.undo.disabled = !canUndo;
  }

  showSaving(waiting: number, lost: boolean): void {
    setText(this.saved, waiting === 0 ? "Saved" : lost ? `${waiting} not sent yet` : "Saving…");
    this.saved.classList.toggle("pending", waiting > 0);
    this.saved.classList.toggle("bad", waiting > 0 && lost);
  }
}
