/** Waiting for a place, or saying that one is ready to go on. */

import { h } from "../dom.ts";
import { bigButton, card, paragraph } from "./card.ts";

export function lobbyPage(position: number | undefined, message: string | undefined, ready: () => void): HTMLElement {
  if (position === undefined) {
    const go = bigButton("Start the task", () => {
      go.disabled = true;
      ready();
    });
    return card(
      "Ready?",
      message ? paragraph(message) : null,
      paragraph("A place is free for you. Read the task at the top first, then look around: you see things only once you have been near them."),
      go,
    );
  }
  return card(
    "All places are taken",
    message ? paragraph(message) : null,
    h(
      "p",
      { class: "queue", attrs: { role: "status" } },
      "You are number ",
      h("strong", { text: String(position) }),
      " in the queue.",
    ),
    paragraph("This page goes on by itself when it is your turn. Leave it open."),
    h("div", { class: "waiting", attrs: { "aria-hidden": "true" } }, h("i"), h("i"), h("i")),
  );
}
