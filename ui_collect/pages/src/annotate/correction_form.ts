/** What would have been right: one of the actions that were possible, found by typing, and why. */

import type { Option } from "../acting/completion.ts";
import { combobox, type Combobox } from "../dialogs/combobox.ts";
import { freshId, h } from "../dom.ts";

const LONGEST_REASON = 2000;

/** A correction that is being written. */
export interface Draft {
  decision: number;
  corrected: string | null;
  reason: string;
}

export interface FormEvents {
  save(corrected: string, reason: string): void;
  cancel(): void;
  /** The action that would be taken now. */
  considered(action: string | null): void;
  changed(draft: Draft): void;
}

export class CorrectionForm {
  readonly element: HTMLFormElement;
  readonly draft: Draft;
  private readonly action: Combobox;
  private readonly reason: HTMLInputElement;
  private readonly problem = h("p", { class: "problem", attrs: { role: "alert" } });
  private readonly events: FormEvents;
  private readonly allowed: ReadonlySet<string>;

  constructor(options: readonly Option[], draft: Draft, events: FormEvents) {
    this.draft = draft;
    this.events = events;
    this.allowed = new Set(options.map(({ value }) => value));
    this.action = combobox({
      label: "What would have been right?",
      placeholder: "Type a few letters: pick mug, walk kitchen…",
      options,
      settles: true,
      chosen: (value) => {
        this.changed(value);
        this.reason.focus();
      },
      considered: (value) => {
        if (this.action?.input.value) events.considered(value);
      },
    });
    const known = options.find(({ value }) => value === draft.corrected);
    if (known !== undefined) this.action.choose(known);
    const id = freshId("reason");
    this.reason = h("input", {
      class: "field",
      attrs: { id, type: "text", maxlength: LONGEST_REASON, autocomplete: "off", placeholder: "The mug was in the other room", value: draft.reason },
    });
    this.action.input.addEventListener("input", () => this.changed(null));
    this.action.input.addEventListener("blur", () => this.changed(this.action.value()));
    this.reason.addEventListener("input", () => this.changed(this.draft.corrected));
    this.element = h(
      "form",
      { class: "correction", attrs: { "aria-label": "Correction" } },
      this.action.element,
      h("div", {}, h("label", { text: "Why? (may stay empty)", attrs: { for: id } }), this.reason),
      this.problem,
      h(
        "div",
        { class: "card-actions" },
        h("button", { class: "button danger small", attrs: { type: "submit" } }, "Save the error", keyCap("Enter")),
        h("button", { class: "button plain small", attrs: { type: "button" }, on: { click: () => events.cancel() } }, "Cancel", keyCap("Esc")),
      ),
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") events.cancel();
      // Letters typed here are no commands.
      event.stopPropagation();
    });
  }

  focus(): void {
    (this.draft.corrected === null ? this.action.input : this.reason).focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
  }

  private changed(corrected: string | null): void {
    this.draft.corrected = corrected;
    this.draft.reason = this.reason.value;
    this.problem.textContent = "";
    this.events.changed(this.draft);
  }

  private save(): void {
    const corrected = this.action.value();
    if (corrected === null || !this.allowed.has(corrected)) {
      this.problem.textContent = "Choose what would have been right: one of the actions below the field.";
      this.action.input.focus();
      return;
    }
    this.events.save(corrected, this.reason.value.trim());
  }
}

export function keyCap(key: string): HTMLElement {
  return h("kbd", { text: key, attrs: { "aria-hidden": "true" } });
}
