/** One decision: what was done and how it came out, what everybody thinks of it, and the way to correct it. */

import { capitalized, type Names } from "../acting/names.ts";
import { h, setText } from "../dom.ts";
import { CorrectionForm, keyCap } from "./correction_form.ts";
import { clock, failed, outcome, percent, whatHappened, who } from "./decision_words.ts";
import type { Mark, PlayDecision, RecordedPlay } from "./messages.ts";

export interface CardCommands {
  mark(): void;
  withdraw(): void;
  prompt(): void;
}

export class DecisionCard {
  readonly element: HTMLElement;
  private readonly head = h("p", { class: "eyebrow" });
  private readonly title = h("h2", { class: "decision-title" });
  private readonly raw = h("code", { class: "raw" });
  private readonly result = h("p", { class: "outcome" });
  private readonly facts = h("div", { class: "facts-row" });
  private readonly opinions = h("div", { class: "opinions", attrs: { "aria-live": "polite" } });
  private readonly place = h("div", { class: "form-place" });
  private readonly actions: HTMLElement;
  private readonly markButton: HTMLButtonElement;
  private readonly markWord = h("span");
  private readonly promptWord = h("span");
  private readonly withdrawButton: HTMLButtonElement;
  private readonly promptButton: HTMLButtonElement;
  private readonly play: RecordedPlay;
  private readonly names: Names;
  private readonly ai: readonly PlayDecision[];

  constructor(play: RecordedPlay, ordered: readonly PlayDecision[], names: Names, commands: CardCommands) {
    this.play = play;
    this.names = names;
    this.ai = ordered.filter(({ role }) => role === "ai");
    const button = (kind: string, key: string, run: () => void, ...text: (Node | string)[]): HTMLButtonElement =>
      h("button", { class: `button ${kind} small`, attrs: { type: "button" }, on: { click: run } }, ...text, keyCap(key));
    this.markButton = button("danger", "E", commands.mark, this.markWord);
    this.withdrawButton = button("plain", "Del", commands.withdraw, "Not an error");
    this.promptButton = button("plain", "P", commands.prompt, this.promptWord);
    this.actions = h("div", { class: "card-actions" }, this.markButton, this.withdrawButton, this.promptButton);
    this.element = h(
      "section",
      { class: "panel decision", attrs: { "aria-label": "This decision" } },
      h("div", { class: "decision-what", attrs: { "aria-live": "polite" } }, this.head, this.title, this.raw, this.result),
      this.facts,
      this.opinions,
      this.actions,
      this.place,
    );
  }

  show(decision: PlayDecision | null): void {
    if (decision === null) {
      setText(this.title, "Nobody decided anything in this play.");
      this.actions.hidden = true;
      return;
    }
    this.actions.hidden = this.place.childElementCount > 0;
    this.element.dataset["role"] = decision.role;
    const time = clock(decision.sim_step / this.play.ticks_per_second);
    const number = this.ai.indexOf(decision) + 1;
    setText(this.head, number ? `AI · decision ${number} of ${this.ai.length} · ${time}` : `${who(decision)} · ${time}`);
    setText(this.title, whatHappened(decision, this.names));
    setText(this.raw, decision.action);
    setText(this.result, outcome(decision, this.names));
    this.result.classList.toggle("bad", failed(decision));
    this.facts.replaceChildren(...this.factsOf(decision));
    this.facts.hidden = this.facts.childElementCount === 0;
    this.opinions.replaceChildren(...this.opinionsOf(decision));
    this.markButton.hidden = !decision.can_be_marked;
    setText(this.promptWord, decision.role === "ai" ? "What it saw" : "What they saw");
    setText(this.markWord, decision.mine === null ? "This is an error" : "Change");
    // Once it is marked, there is nothing more to draw attention to.
    this.markButton.classList.toggle("danger", decision.mine === null);
    this.markButton.classList.toggle("plain", decision.mine !== null);
    this.withdrawButton.hidden = decision.mine === null;
  }

  /** Put the form into the card, or take it out. */
  showForm(form: CorrectionForm | null): void {
    this.place.replaceChildren(...(form === null ? [] : [form.element]));
    this.actions.hidden = form !== null;
    form?.focus();
  }

  private factsOf(decision: PlayDecision): HTMLElement[] {
    const facts: HTMLElement[] = [];
    if (decision.uncertainty !== null) {
      const bar = h("meter", { attrs: { min: 0, max: 1, value: decision.uncertainty, "aria-label": "How unsure the AI was" } });
      facts.push(h("span", { class: "fact unsure" }, "Unsure ", bar, h("b", { text: percent(decision.uncertainty) })));
    }
    if (decision.worth_a_look) facts.push(h("span", { class: "fact worth", text: "Worth a look" }));
    if (decision.overridden) facts.push(h("span", { class: "fact", text: "The person overruled it" }));
    if (decision.role === "ai" && !decision.can_be_marked) facts.push(h("span", { class: "fact", text: "Ordered by the person" }));
    facts.push(h("span", { class: "fact", text: `Task ${percent(decision.percent_complete)} done` }));
    return facts;
  }

  private opinionsOf(decision: PlayDecision): HTMLElement[] {
    const said: HTMLElement[] = [];
    if (decision.mine !== null) said.push(this.opinion("You: an error", decision.mine, "mine"));
    for (const mark of decision.others) said.push(this.opinion(`${mark.annotator}: an error`, mark, "theirs"));
    if (decision.role !== "ai") return said;
    const marking = new Set(decision.others.map(({ annotator }) => annotator));
    const content = this.play.review.others.filter(
      ({ annotator, status }) => status === "finished" && !marking.has(annotator),
    );
    for (const { annotator } of content) said.push(h("p", { class: "opinion right", text: `${annotator}: no error` }));
    return said;
  }

  private opinion(head: string, mark: Mark, kind: string): HTMLElement {
    return h(
      "div",
      { class: `opinion ${kind}` },
      h("p", {}, h("b", { text: head })),
      h("p", {}, "Right: ", h("strong", { text: capitalized(this.names.todo(mark.corrected)) })),
      mark.reason ? h("p", { class: "reason", text: mark.reason }) : null,
    );
  }
}
