/** The plays to be looked at: where a correction would teach most first, who is at what, and how far all of it is. */

import { freshId, h, setText } from "../dom.ts";
import { keyCap } from "./correction_form.ts";
import { duration, percent } from "./decision_words.ts";
import type { Figures, Filter, Queue, QueueItem } from "./messages.ts";

export interface QueueEvents {
  open(play: string): void;
  filter(filter: Filter): void;
  /** The plays chosen by hand have changed. */
  chosen(plays: readonly string[]): void;
  finish(): void;
}

const FILTERS: readonly [Filter, string][] = [
  ["all", "All"],
  ["failed", "Failed"],
  ["chosen", "Chosen"],
];

const EMPTY: Record<Filter, string> = {
  all: "No play of this iteration has been collected yet. As soon as there is one, it appears here.",
  failed: "No play has failed.",
  chosen: "You have not chosen any play. Tick plays under “All” to have them here.",
};

/** The play to go on with: the first nobody has looked at or is looking at; after those, one others have reviewed. */
export function nextPlay(items: readonly QueueItem[], but: string | null = null): QueueItem | null {
  const left = items.filter(({ play }) => play !== but);
  const mine = (item: QueueItem): boolean => item.state === "open" && item.mine;
  return (
    left.find(mine) ??
    left.find(({ state }) => state === "open") ??
    left.find(({ state }) => state === "reviewed") ??
    left.find(({ state }) => state === "taken") ??
    null
  );
}

export class QueuePage {
  readonly element: HTMLElement;
  private readonly events: QueueEvents;
  private readonly chosen: Set<string>;
  private readonly figures = h("dl", { class: "figures" });
  private readonly start: HTMLButtonElement;
  private readonly startWord = h("span", { text: "Start" });
  private readonly rows = h("ol", { class: "queue-rows" });
  private readonly note = h("p", { class: "queue-note", attrs: { role: "status" } });
  private readonly filters: HTMLInputElement[] = [];
  private readonly finish: HTMLButtonElement;
  private next: QueueItem | null = null;

  constructor(name: string, program: string, iteration: number, chosen: readonly string[], events: QueueEvents) {
    this.events = events;
    this.chosen = new Set(chosen);
    this.start = h(
      "button",
      { class: "button primary big", attrs: { type: "button", disabled: true }, on: { click: () => this.next && events.open(this.next.play) } },
      this.startWord,
    );
    this.finish = h("button", {
      class: "button plain small",
      text: "Close this iteration’s annotation…",
      attrs: { type: "button" },
      on: { click: () => events.finish() },
    });
    this.element = h(
      "main",
      { class: "queue-page" },
      h(
        "header",
        { class: "queue-head" },
        h(
          "div",
          {},
          h("p", { class: "eyebrow", text: `${program} · iteration ${iteration} · you are ${name}` }),
          h("h1", { text: "Plays to look at", attrs: { tabindex: -1 } }),
        ),
        this.start,
      ),
      this.figures,
      this.filterChoice(),
      this.note,
      this.rows,
      h("footer", { class: "queue-foot" }, this.finish, h("p", { class: "queue-keys" }, keyCap("↑"), " ", keyCap("↓"), " from play to play, ", keyCap("Enter"), " opens one")),
    );
    this.element.addEventListener("keydown", (event) => this.move(event));
    this.say("Loading the queue…");
  }

  get chosenPlays(): string[] {
    return [...this.chosen];
  }

  showQueue(queue: Queue, filter: Filter): void {
    for (const field of this.filters) field.checked = field.value === filter;
    this.next = nextPlay(queue.items);
    this.start.disabled = this.next === null;
    setText(this.startWord, this.next?.mine ? "Go on" : "Start");
    const focused = document.activeElement?.closest<HTMLElement>("[data-play]")?.dataset["play"];
    const onBox = document.activeElement instanceof HTMLInputElement;
    this.rows.replaceChildren(...queue.items.map((item, index) => this.row(item, index)));
    if (focused !== undefined) {
      const row = this.rows.querySelector(`[data-play="${CSS.escape(focused)}"]`);
      row?.querySelector<HTMLElement>(onBox ? "input" : "button")?.focus({ preventScroll: true });
    }
    const done = queue.items.length > 0 && queue.items.every(({ state }) => state === "reviewed_by_me");
    if (!queue.items.length) this.say(EMPTY[filter]);
    else if (done) this.say("You have looked at every play here. Thank you!");
    else this.say(queue.finished ? "Annotation of this iteration has been closed. You can still look." : "");
    this.finish.disabled = queue.finished;
  }

  showFigures(figures: Figures): void {
    const of = figures.target || figures.queued;
    const agreement = figures.agreement === null ? "–" : percent(figures.agreement);
    const kappa = figures.kappa === null ? "none looked at by two yet" : `κ ${figures.kappa.toFixed(2)}`;
    const rows: [string, string, string][] = [
      ["Plays reviewed", `${figures.reviewed} of ${of}`, `${figures.my_reviewed} by you`],
      ["Errors corrected", String(figures.corrections), `${figures.my_corrections} by you`],
      ["Time spent", duration(figures.seconds), `${duration(figures.my_seconds)} by you`],
      ["Agreement", agreement, kappa],
    ];
    this.figures.replaceChildren(
      ...rows.map(([what, value, more]) => h("div", {}, h("dt", { text: what }), h("dd", {}, h("b", { text: value }), h("small", { text: more })))),
    );
  }

  say(text: string): void {
    setText(this.note, text);
    this.note.hidden = text === "";
  }

  /** Where the keyboard begins. */
  focus(): void {
    if (!this.start.disabled) this.start.focus({ preventScroll: true });
    else this.element.querySelector<HTMLElement>("h1")!.focus({ preventScroll: true });
  }

  private filterChoice(): HTMLElement {
    const name = freshId("filter");
    const parts = FILTERS.flatMap(([filter, text]) => {
      const id = freshId("filter");
      const field = h("input", { attrs: { type: "radio", id, name, value: filter } });
      field.addEventListener("change", () => this.events.filter(filter));
      this.filters.push(field);
      return [field, h("label", { text, attrs: { for: id } })];
    });
    return h(
      "div",
      { class: "queue-filter" },
      h("fieldset", { class: "verdict" }, h("legend", { class: "unseen", text: "Which plays" }), h("div", { class: "segments" }, ...parts)),
      h("p", { text: "First where a correction would teach most." }),
    );
  }

  private row(item: QueueItem, index: number): HTMLElement {
    const id = freshId("play");
    const box = h("input", { attrs: { type: "checkbox", "aria-label": `Choose play ${index + 1}`, checked: this.chosen.has(item.play) } });
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(item.play);
      else this.chosen.delete(item.play);
      this.events.chosen([...this.chosen]);
    });
    const chips = [
      item.success ? chip("Solved", "solved") : chip(`Not solved · ${percent(item.percent_complete)}`, "unsolved"),
      item.look_at.length ? chip(`${item.look_at.length} worth a look`, "worth") : null,
      ...stateChips(item),
    ];
    const open = h(
      "button",
      { class: "queue-open", attrs: { type: "button", id }, on: { click: () => this.events.open(item.play) } },
      h("span", { class: "queue-title", text: item.instruction }),
      h("span", { class: "chips" }, ...chips),
      item.reasons.length ? h("span", { class: "queue-why", text: item.reasons.join(" · ") }) : null,
    );
    return h(
      "li",
      { class: `queue-row ${item.state}`, attrs: { "data-play": item.play } },
      h("label", { class: "queue-choose", attrs: { title: "Choose this play" } }, box),
      h("span", { class: "queue-rank", text: String(index + 1), attrs: { "aria-hidden": "true" } }),
      open,
    );
  }

  /** Arrow keys go from play to play. */
  private move(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || !(event.target instanceof HTMLButtonElement)) return;
    const buttons = [...this.rows.querySelectorAll<HTMLButtonElement>(".queue-open")];
    const at = buttons.findIndex((button) => button === document.activeElement);
    buttons[Math.min(Math.max(0, at + step), buttons.length - 1)]?.focus();
    event.preventDefault();
  }
}

function stateChips(item: QueueItem): (HTMLElement | null)[] {
  const mine = item.my_review === null ? null : item.my_review === "finished" ? "You finished it" : "You skipped it";
  const others = item.reviews - (item.my_review === "finished" ? 1 : 0);
  return [
    item.by !== null && !item.mine ? chip(`${item.by} has it open`, "taken") : null,
    item.mine && mine === null ? chip("You have it open", "taken") : null,
    mine === null ? null : chip(`✓ ${mine}`, "done"),
    others > 0 ? chip(others === 1 ? "1 review by another" : `${others} reviews by others`, "") : null,
    item.corrections > 0 ? chip(item.corrections === 1 ? "1 error marked" : `${item.corrections} errors marked`, "errors") : null,
  ];
}

function chip(text: string, kind: string): HTMLElement {
  return h("span", { class: `chip ${kind}`, text });
}
