/** The pages at the end, and those that say why there is nothing to do. */

import { h } from "../dom.ts";
import type { Totals } from "../wire/protocol.ts";
import { bigButton, card, paragraph } from "./card.ts";

export function thanksPage(totals: Totals | undefined, message: string | undefined): HTMLElement {
  return card("Thank you!", paragraph(message ?? "Your session is complete, and everything is saved."), sum(totals), closeHint());
}

export function endedPage(totals: Totals | undefined, message: string | undefined): HTMLElement {
  return card(
    "The session has ended",
    paragraph(message ?? "It is over now. Everything up to here is saved."),
    sum(totals),
    closeHint(),
  );
}

export function strayPage(title: string, text: string, action?: { label: string; run: () => void }): HTMLElement {
  return card(title, paragraph(text), action ? bigButton(action.label, action.run) : null);
}

function sum(totals: Totals | undefined): HTMLElement | null {
  if (totals === undefined) return null;
  const figures: [string, string][] = [
    [String(totals.episodes), totals.episodes === 1 ? "task played" : "tasks played"],
    [String(totals.successes), "completed"],
    [String(Math.round(totals.minutes)), "minutes"],
  ];
  return h(
    "dl",
    { class: "totals" },
    ...figures.map(([value, what]) => h("div", {}, h("dd", { text: value }), h("dt", { text: what }))),
  );
}

function closeHint(): HTMLElement {
  return paragraph("You can close this page.");
}
