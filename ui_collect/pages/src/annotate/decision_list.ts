/** Every decision as a row: when, who, what, and its signs; one list to listeners, moved through with the arrow keys. */

import type { Names } from "../acting/names.ts";
import { freshId, h } from "../dom.ts";
import { SIGNS, clock, percent, signsOf, whatHappened, who } from "./decision_words.ts";
import type { PlayDecision } from "./messages.ts";

export class DecisionList {
  readonly element: HTMLElement;
  private readonly list: HTMLElement;
  private readonly rows = new Map<number, { row: HTMLElement; signs: HTMLElement }>();
  private readonly ordered: readonly PlayDecision[];
  private chosen: PlayDecision | null = null;

  constructor(
    ordered: readonly PlayDecision[],
    names: Names,
    ticksPerSecond: number,
    choose: (decision: PlayDecision) => void,
  ) {
    this.ordered = ordered;
    const id = freshId("decisions");
    this.list = h("div", { class: "decision-rows", attrs: { role: "listbox", tabindex: 0, "aria-label": "All decisions" } });
    for (const decision of ordered) {
      const signs = h("span", { class: "row-signs" });
      const unsure = h("span", { class: "row-unsure", attrs: { "aria-hidden": "true" } }, h("i"));
      unsure.style.setProperty("--unsure", String(decision.uncertainty ?? 0));
      unsure.hidden = decision.uncertainty === null;
      const row = h(
        "div",
        { class: `decision-row ${decision.role}`, attrs: { role: "option", id: `${id}-${decision.index}`, "aria-selected": "false" } },
        h("span", { class: "row-time", text: clock(decision.sim_step / ticksPerSecond) }),
        h("span", { class: "row-who", text: who(decision) }),
        h(
          "span",
          { class: "row-what", text: whatHappened(decision, names) },
          decision.uncertainty === null ? null : h("span", { class: "unseen", text: `, ${percent(decision.uncertainty)} unsure` }),
        ),
        unsure,
        signs,
      );
      row.addEventListener("click", () => choose(decision));
      this.rows.set(decision.index, { row, signs });
      this.list.append(row);
    }
    this.list.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      const at = this.chosen === null ? -1 : this.ordered.indexOf(this.chosen);
      const next = this.ordered[at + step];
      if (next !== undefined) choose(next);
      event.preventDefault();
      // Elsewhere the arrows go from one of the AI's decisions to the next.
      event.stopPropagation();
    });
    this.element = h("section", { class: "panel decisions", attrs: { "aria-label": "Decisions" } }, h("h2", { text: "Decisions" }), this.list);
    this.refresh();
  }

  /** Bring the signs up to date. */
  refresh(): void {
    for (const decision of this.ordered) {
      const there = signsOf(decision);
      const signs = SIGNS.filter(({ sign }) => there[sign]).map(({ sign, glyph, word }) =>
        h(
          "span",
          { class: `sign ${sign}`, attrs: { title: word } },
          h("span", { text: glyph, attrs: { "aria-hidden": "true" } }),
          h("span", { class: "unseen", text: `, ${word}` }),
        ),
      );
      this.rows.get(decision.index)!.signs.replaceChildren(...signs);
    }
  }

  select(decision: PlayDecision | null): void {
    if (decision === this.chosen) return;
    const before = this.chosen === null ? undefined : this.rows.get(this.chosen.index)?.row;
    before?.setAttribute("aria-selected", "false");
    this.chosen = decision;
    const row = decision === null ? undefined : this.rows.get(decision.index)?.row;
    row?.setAttribute("aria-selected", "true");
    this.list.setAttribute("aria-activedescendant", row?.id ?? "");
    if (row !== undefined) this.reveal(row);
  }

  /** Scroll the list, and only the list. */
  private reveal(row: HTMLElement): void {
    const { list } = this;
    if (row.offsetTop < list.scrollTop + row.offsetHeight) list.scrollTop = row.offsetTop - row.offsetHeight;
    const beneath = row.offsetTop + 2 * row.offsetHeight - list.clientHeight;
    if (beneath > list.scrollTop) list.scrollTop = beneath;
  }
}
