/** What is still missing for the task. */

import { h } from "../dom.ts";

export class MissingPanel {
  readonly element: HTMLElement;
  private readonly list = h("ul", { class: "missing" });
  private shown = "";

  constructor() {
    this.element = h(
      "section",
      { class: "panel", attrs: { "aria-label": "Still missing" } },
      h("h2", { text: "Still missing" }),
      this.list,
    );
    this.show([]);
  }

  show(lines: readonly string[]): void {
    const now = lines.join("\n");
    if (now === this.shown && this.list.childElementCount) return;
    this.shown = now;
    const rows = lines.map((line) => h("li", { text: line }));
    this.list.replaceChildren(...(rows.length ? rows : [h("li", { class: "nothing", text: "Nothing that is known of." })]));
  }
}
