/** What the person thinks of the play that has just ended. */

import { freshId, h } from "../dom.ts";
import type { Feedback, PlayResult } from "../wire/protocol.ts";
import { card } from "./card.ts";

export type Next = "next" | "again" | "stop";

const ENDED_BY: Record<string, string> = {
  skip: "You skipped this task.",
  time: "The time for this task is over.",
  idle: "The task ended because nothing happened for a while.",
  aborted: "The task was broken off.",
  server: "The server had to end the task.",
};
const LONGEST = 2000;

export function feedbackPage(
  result: PlayResult | undefined,
  message: string | undefined,
  send: (feedback: Feedback, next: Next) => void,
): HTMLElement {
  const percent = Math.round((result?.percent_complete ?? 0) * 100);
  const done = result?.success === true;
  const title = done ? "Task complete" : `${percent} % of the task is done`;
  const verdict = question();
  const missing = field("What is missing, in your words?", "The book never got to the shelf …");
  const problem = field("Did anything not work?", "Leave this empty if all was well");
  const key = `f-${randomKey()}`;
  const buttons: HTMLButtonElement[] = [];
  const go = (next: Next) => (): void => {
    for (const button of buttons) button.disabled = true;
    const feedback: Feedback = {
      type: "feedback",
      key,
      success: verdict.value(),
      missing: missing.area.value,
      problem: problem.area.value,
    };
    send(feedback, next);
  };
  const button = (text: string, kind: string, next: Next): void => {
    buttons.push(h("button", { class: `button ${kind}`, text, attrs: { type: "button" }, on: { click: go(next) } }));
  };
  button("Send and go on", "primary", "next");
  const left = result?.attempts_left ?? 0;
  if (left > 0) button(`Send and try again (${left} left)`, "plain", "again");
  button("Send and stop for today", "quiet", "stop");
  const ended = ENDED_BY[result?.ended_by ?? ""];
  return card(
    title,
    message || ended ? h("p", { text: message ?? ended ?? "" }) : null,
    result ? h("blockquote", { text: result.instruction }) : null,
    result && !done && result.missing.length
      ? h("div", {}, h("h2", { text: "Still missing" }), h("ul", { class: "missing" }, ...result.missing.map((text) => h("li", { text }))))
      : null,
    h("form", { class: "feedback" }, verdict.element, missing.element, problem.element),
    h("div", { class: "card-actions" }, ...buttons),
  );
}

/** Yes, no, or not sure. */
function question(): { element: HTMLElement; value: () => boolean | null } {
  const name = freshId("verdict");
  const choices = [
    ["yes", "Yes"],
    ["no", "No"],
    ["unsure", "Not sure"],
  ] as const;
  const inputs = choices.map(([value]) => h("input", { attrs: { type: "radio", name, value, id: `${name}-${value}` } }));
  const element = h(
    "fieldset",
    { class: "verdict" },
    h("legend", { text: "Do you think the task was done?" }),
    h(
      "div",
      { class: "segments" },
      ...choices.flatMap(([value, text], i) => [inputs[i]!, h("label", { text, attrs: { for: `${name}-${value}` } })]),
    ),
  );
  return { element, value: () => (inputs[0]!.checked ? true : inputs[1]!.checked ? false : null) };
}

function field(label: string, placeholder: string): { element: HTMLElement; area: HTMLTextAreaElement } {
  const id = freshId("text");
  const area = h("textarea", { class: "field", attrs: { id, rows: 2, maxlength: LONGEST, placeholder } });
  return { element: h("div", {}, h("label", { text: label, attrs: { for: id } }), area), area };
}

function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
