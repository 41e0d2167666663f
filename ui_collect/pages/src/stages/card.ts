/** The pages around a play: one quiet card in the middle, its heading focused so that it is read out. */

import { h } from "../dom.ts";

export function card(title: string, ...content: (Node | string | null)[]): HTMLElement {
  return h("main", { class: "card-page" }, h("article", { class: "card" }, h("h1", { text: title, attrs: { tabindex: -1 } }), ...content));
}

export function paragraph(text: string): HTMLElement {
  return h("p", { text });
}

export function bigButton(text: string, click: () => void): HTMLButtonElement {
  return h("button", { class: "button primary big", text, attrs: { type: "button" }, on: { click } });
}
