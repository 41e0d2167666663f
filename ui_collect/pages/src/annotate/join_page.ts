/** Before anything: who is it that annotates? The name stands beside what they mark. */

import { freshId, h } from "../dom.ts";
import { card, paragraph } from "../stages/card.ts";

const LONGEST_NAME = 80;

/** @param join tells the server; resolves to what went wrong, null where nothing did. */
export function joinPage(name: string, join: (name: string) => Promise<string | null>): HTMLElement {
  const id = freshId("name");
  const field = h("input", {
    class: "field",
    attrs: { id, type: "text", required: true, maxlength: LONGEST_NAME, autocomplete: "name", value: name },
  });
  const problem = h("p", { class: "problem", attrs: { role: "alert" } });
  const submit = h("button", { class: "button primary big", text: "Begin", attrs: { type: "submit" } });
  const form = h("form", {}, h("div", {}, h("label", { text: "Your name", attrs: { for: id } }), field), problem, submit);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit.disabled = true;
    problem.textContent = "";
    void join(field.value.trim()).then((wrong) => {
      submit.disabled = false;
      problem.textContent = wrong ?? "";
    });
  });
  return card(
    "Correct what the AI does",
    paragraph("You look at recorded plays of a person and an AI in a home, mark what the AI chose wrongly, and say what would have been right. The next AI learns from it."),
    paragraph("Your name is shown to the others who annotate, beside what you mark. How long you are at it is counted."),
    form,
  );
}
