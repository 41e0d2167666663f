/** What the partner is doing, and a way to tell it otherwise. */

import { answerText, capitalized, succeeded, type Names } from "../acting/names.ts";
import { h, setText } from "../dom.ts";
import type { PartnerMessage } from "../wire/protocol.ts";

export class PartnerPanel {
  readonly element: HTMLElement;
  private readonly status: HTMLElement;
  private readonly line: HTMLElement;
  private readonly outcome: HTMLElement;
  private readonly override: HTMLButtonElement;
  private readonly names: Names;

  constructor(names: Names, override: () => void) {
    this.names = names;
    this.status = h("span", { class: "partner-status" });
    this.line = h("p", { class: "partner-line", text: "It has not done anything yet." });
    this.outcome = h("p", { class: "partner-outcome" });
    this.override = h("button", {
      class: "button plain small",
      text: "Tell it what to do instead",
      attrs: { type: "button" },
      on: { click: override },
    });
    this.element = h(
      "section",
      { class: "panel partner", attrs: { "aria-label": "Partner" } },
      h("div", { class: "panel-head" }, h("h2", { text: "Partner" }), this.status),
      h("div", { attrs: { "aria-live": "polite" } }, this.line, this.outcome),
      this.override,
    );
    this.show(null);
  }

  show(message: PartnerMessage | null): void {
    const status = message?.status ?? "thinking";
    const finished = status === "done" && message?.action.startsWith("Done") === true;
    const words = { thinking: "Thinking", acting: "Acting", done: finished ? "Finished" : "Between actions", away: "Away" };
    this.element.dataset["status"] = status;
    this.status.replaceChildren(words[status], ...(status === "thinking" ? [dots()] : []));
    this.override.disabled = status === "away" || message?.decision === undefined;
    if (message === null) return;
    if (status === "away") {
      setText(this.line, "You are alone, or your partner cannot be reached. The task goes on.");
      setText(this.outcome, "");
      return;
    }
    // While it thinks, what it did last stays to be read.
    if (message.action) setText(this.line, capitalized(`${this.names.doing(message.action)}.`));
    if (message.action || message.response) {
      const failed = message.response !== "" && !succeeded(message.response);
      setText(this.outcome, failed ? this.names.inText(answerText(message.response)) : "");
    }
  }
}

function dots(): HTMLElement {
  return h("span", { class: "dots", attrs: { "aria-hidden": "true" } }, h("i"), h("i"), h("i"));
}
