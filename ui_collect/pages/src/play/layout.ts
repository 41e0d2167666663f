/** The elements of a play and how they hang together; what is in them is the business of the panels. */

import { stick } from "../acting/stick.ts";
import { h } from "../dom.ts";

export interface PlayCommands {
  primary(): void;
  openOrClose(): void;
  navigate(): void;
  swapMap(): void;
  finish(): void;
  skip(): void;
  help(): void;
  stick(forward: number, turn: number): void;
}

export interface PlayLayout {
  element: HTMLElement;
  /** Takes the focus while playing. */
  stage: HTMLElement;
  view: HTMLCanvasElement;
  partnerView: HTMLCanvasElement;
  partnerFrame: HTMLElement;
  mapPane: HTMLElement;
  map: HTMLCanvasElement;
  /** What Space would do, beside the thing it would do it to. */
  hint: HTMLElement;
  /** What the person holds. */
  hand: HTMLElement;
  primary: HTMLButtonElement;
  second: HTMLButtonElement;
}

export function playLayout(task: HTMLElement, panels: HTMLElement[], commands: PlayCommands): PlayLayout {
  const view = h("canvas", { class: "canvas" });
  const map = h("canvas", { class: "canvas" });
  const partnerView = h("canvas", { class: "canvas", attrs: { role: "img", "aria-label": "What your partner sees" } });
  const partnerFrame = h("figure", { class: "partner-view" }, partnerView, h("figcaption", { text: "Partner’s view" }));
  const hint = h("div", { class: "hint", attrs: { hidden: true } });
  const hand = h("p", { class: "hand", attrs: { "aria-live": "polite" } });
  const stage = h(
    "section",
    {
      class: "pane first-person",
      attrs: {
        tabindex: 0,
        role: "application",
        "aria-roledescription": "first-person view",
        "aria-label": "Your view of the home",
        "aria-describedby": "stage-help",
      },
    },
    view,
    hint,
  );
  const mapPane = h("section", { class: "pane map", attrs: { "aria-label": "Map of the home" } }, map);
  const swap = h(
    "button",
    {
      class: "swap",
      attrs: { type: "button", "aria-label": "Swap the map and your view", title: "Swap the map and your view (M)" },
      on: { click: commands.swapMap },
    },
    "⇄",
  );
  const primary = plain("button primary", commands.primary);
  const second = plain("button plain", commands.openOrClose);
  const go = plain("button plain", commands.navigate, "Go to…");
  const touch = h(
    "section",
    { class: "touch", attrs: { "aria-label": "Touch controls" } },
    stick(commands.stick),
    h("div", { class: "touch-buttons" }, primary, second, go),
  );
  const help =
    "Walk with W and S, turn with Q and E, walk to something by its name with N. Press H for all keys. " +
    "The list “Within reach” has everything you can do where you stand.";
  const element = h(
    "main",
    { class: "play" },
    task,
    stage,
    mapPane,
    partnerFrame,
    swap,
    hand,
    touch,
    h("aside", { class: "side", attrs: { "aria-label": "About the task" } }, ...panels),
    tools(commands),
    h("p", { class: "unseen", text: help, attrs: { id: "stage-help" } }),
  );
  // A click on a button must not keep the focus there: the next Space is meant for the home.
  element.addEventListener("click", (event) => {
    const clicked = event.detail > 0 && event.target instanceof Element && event.target.closest("button") !== null;
    if (clicked) stage.focus({ preventScroll: true });
  });
  return { element, stage, view, partnerView, partnerFrame, mapPane, map, hint, hand, primary, second };
}

function tools(commands: PlayCommands): HTMLElement {
  const tool = (text: string, key: string, run: () => void, kind = "plain"): HTMLButtonElement =>
    h(
      "button",
      { class: `button ${kind} small`, attrs: { type: "button" }, on: { click: run } },
      text,
      h("kbd", { text: key, attrs: { "aria-hidden": "true" } }),
    );
  return h(
    "nav",
    { class: "tools", attrs: { "aria-label": "Commands" } },
    tool("Go to…", "N", commands.navigate, "plain elsewhere"),
    tool("Map", "M", commands.swapMap),
    tool("Help", "H", commands.help),
    tool("Skip", "Esc", commands.skip),
    tool("Finish", "F", commands.finish, "primary"),
  );
}

function plain(kind: string, click: () => void, text = ""): HTMLButtonElement {
  return h("button", { class: kind, text, attrs: { type: "button" }, on: { click } });
}
