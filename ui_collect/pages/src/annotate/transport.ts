/** Playing, stepping and the speed: the buttons between the picture and the timeline. */

import { freshId, h, setText } from "../dom.ts";
import { clock } from "./decision_words.ts";

export const SPEEDS = [0.5, 1, 2, 4, 8] as const;

export interface TransportCommands {
  playOrPause(): void;
  decision(direction: -1 | 1): void;
  worth(direction: -1 | 1): void;
  speed(value: number): void;
}

export class Transport {
  readonly element: HTMLElement;
  private readonly toggle: HTMLButtonElement;
  private readonly time = h("span", { class: "time" });
  private readonly select: HTMLSelectElement;
  private readonly end: string;

  constructor(seconds: number, speed: number, commands: TransportCommands) {
    this.end = clock(seconds);
    const step = (glyph: string, name: string, key: string, run: () => void, kind = ""): HTMLButtonElement =>
      h(
        "button",
        { class: `step-button ${kind}`, attrs: { type: "button", "aria-label": name, title: `${name} (${key})` }, on: { click: run } },
        h("span", { text: glyph, attrs: { "aria-hidden": "true" } }),
      );
    this.toggle = step("", "Play", "Space", commands.playOrPause, "toggle");
    const id = freshId("speed");
    this.select = h("select", { class: "speed", attrs: { id } });
    for (const value of SPEEDS) this.select.append(h("option", { text: `${value} ×`, attrs: { value } }));
    this.select.addEventListener("change", () => commands.speed(Number(this.select.value)));
    this.element = h(
      "div",
      { class: "transport", attrs: { role: "group", "aria-label": "Playback" } },
      step("◆‹", "Previous worth a look", "Shift + ←", () => commands.worth(-1), "worth"),
      step("‹", "Previous decision of the AI", "J", () => commands.decision(-1)),
      this.toggle,
      step("›", "Next decision of the AI", "K", () => commands.decision(1)),
      step("›◆", "Next worth a look", "N", () => commands.worth(1), "worth"),
      legend(),
      this.time,
      h("label", { class: "unseen", text: "Speed", attrs: { for: id } }),
      this.select,
    );
    this.showPlaying(false);
    this.showSpeed(speed);
  }

  showPlaying(playing: boolean): void {
    const name = playing ? "Pause" : "Play";
    this.toggle.setAttribute("aria-label", name);
    this.toggle.title = `${name} (Space)`;
    this.toggle.classList.toggle("playing", playing);
  }

  showTime(seconds: number): void {
    setText(this.time, `${clock(seconds)} / ${this.end}`);
  }

  showSpeed(speed: number): void {
    this.select.value = String(speed);
  }
}

/** What the signs on the timeline mean. */
function legend(): HTMLElement {
  const parts = [
    ["unsure", "", "unsure"],
    ["failed", "!", "failed"],
    ["worth", "◆", "worth a look"],
    ["mine", "✕", "error"],
  ] as const;
  return h(
    "span",
    { class: "legend", attrs: { "aria-hidden": "true" } },
    ...parts.map(([sign, glyph, word]) => h("span", {}, h("i", { class: `sign ${sign}`, text: glyph }), word)),
  );
}
