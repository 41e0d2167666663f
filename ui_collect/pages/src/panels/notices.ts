/** Short messages that come and go, and the band above everything while something is wrong. */

import { h, setText } from "../dom.ts";

type Tone = "good" | "bad" | "plain";

const SHOWN_MS = { good: 2600, plain: 3500, bad: 6500 };
const AT_ONCE = 3;

export class Notices {
  /** Spoken by screen readers as they come. */
  private readonly list = h("div", { class: "toasts", attrs: { role: "status", "aria-live": "polite" } });
  private readonly band = h("div", { class: "band", attrs: { role: "alert", hidden: true } });
  private readonly bandText = h("span");
  private readonly bandButton = h("button", { class: "button small", attrs: { type: "button", hidden: true } });
  private bandAction: (() => void) | null = null;

  constructor(parent: HTMLElement) {
    this.band.append(this.bandText, this.bandButton);
    this.bandButton.addEventListener("click", () => this.bandAction?.());
    parent.append(this.band, this.list);
  }

  say(text: string, tone: Tone = "plain"): void {
    const toast = h("p", { class: `toast ${tone}`, text });
    this.list.append(toast);
    while (this.list.childElementCount > AT_ONCE) this.list.firstElementChild?.remove();
    window.setTimeout(() => toast.remove(), SHOWN_MS[tone]);
  }

  /** Take back what was said: it was about something that is over. */
  clear(): void {
    this.list.replaceChildren();
  }

  /** Show the band, or take it away with null. */
  warn(text: string | null, action?: { label: string; run: () => void }): void {
    this.band.hidden = text === null;
    if (text === null) return;
    setText(this.bandText, text);
    this.bandButton.hidden = action === undefined;
    if (action) setText(this.bandButton, action.label);
    this.bandAction = action?.run ?? null;
  }
}
