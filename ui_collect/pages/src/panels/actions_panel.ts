/** Everything within reach, as buttons: for the keyboard, for screen readers, and for fingers. */

import type { Choice } from "../acting/choices.ts";
import { h } from "../dom.ts";

export class ActionsPanel {
  readonly element: HTMLElement;
  private readonly list = h("div", { class: "choices" });
  private readonly buttons = new Map<string, HTMLButtonElement>();
  private readonly act: (choice: Choice) => void;

  constructor(act: (choice: Choice) => void, more: () => void) {
    this.act = act;
    this.element = h(
      "section",
      { class: "panel actions", attrs: { "aria-label": "Within reach" } },
      h("h2", { text: "Within reach" }),
      this.list,
      h("button", { class: "button quiet small", text: "Something else…", attrs: { type: "button" }, on: { click: more } }),
    );
  }

  /** Buttons that stay keep their element, and with it the focus. */
  show(choices: readonly Choice[]): void {
    const wanted = new Map(choices.map((choice) => [`${choice.tool}[${choice.args.join(",")}]`, choice]));
    for (const [key, element] of this.buttons) {
      if (wanted.has(key)) continue;
      element.remove();
      this.buttons.delete(key);
    }
    let before: Element | null = null;
    for (const [key, choice] of wanted) {
      let element = this.buttons.get(key);
      if (element === undefined) {
        element = h("button", {
          class: "choice",
          text: choice.label,
          attrs: { type: "button" },
          on: { click: () => this.act(choice) },
        });
        this.buttons.set(key, element);
      }
      const next: Element | null = before === null ? this.list.firstElementChild : before.nextElementSibling;
      if (next !== element) this.list.insertBefore(element, next);
      before = element;
    }
    this.element.classList.toggle("empty", wanted.size === 0);
  }
}
