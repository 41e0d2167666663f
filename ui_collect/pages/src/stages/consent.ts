/** Asking for consent, in plain words. */

import { h } from "../dom.ts";
import { card, paragraph } from "./card.ts";

const FACTS: readonly [string, string][] = [
  [
    "What you will do",
    "You share a home on the screen with a computer-controlled partner. Together you tidy, fetch and put away. A short " +
      "tutorial comes first; each task after it takes a few minutes.",
  ],
  [
    "What is recorded",
    "How you move, what you pick up, open and put down, when you correct your partner, what you write in the feedback " +
      "form, and the times of these. Nothing from your camera, microphone or other programs.",
  ],
  ["What it is for", "The recordings train and test assistants that help people in a home."],
  ["Your choice", "Taking part is voluntary. You may stop at any moment by closing this page."],
];

export function consentPage(agree: () => void): HTMLElement {
  const button = h("button", {
    class: "button primary big",
    text: "I agree, let’s begin",
    attrs: { type: "submit", disabled: true },
  });
  const box = h("input", { attrs: { type: "checkbox", id: "consent" } });
  box.addEventListener("change", () => (button.disabled = !box.checked));
  const form = h(
    "form",
    {},
    h("label", { class: "check", attrs: { for: "consent" } }, box, "I have read this and want to take part."),
    button,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    agree();
  });
  return card(
    "Play with a partner",
    paragraph("Thank you for coming. Before we start:"),
    h("dl", { class: "facts" }, ...FACTS.flatMap(([what, text]) => [h("dt", { text: what }), h("dd", { text })])),
    form,
  );
}
