/** What the keys do (H). */

import { h } from "../dom.ts";
import { ask, button } from "./dialog.ts";

const KEYS: readonly [string[], string][] = [
  [["W", "S"], "walk ahead, back (also ↑ ↓)"],
  [["A", "D"], "step to the left, right"],
  [["Q", "E"], "turn left, right (also ← →)"],
  [["Space"], "pick up, or put down what you hold"],
  [["Shift", "Space"], "open or close furniture"],
  [["N"], "walk to something by its name"],
  [["M"], "swap the map and your view"],
  [["F"], "finish: the task is done"],
  [["Esc"], "skip this task"],
  [["H"], "this help"],
];

const POINTER: readonly [string, string][] = [
  ["Click or tap an object", "pick it up; while you hold something, put that down beside it"],
  ["Click or tap furniture", "put down what you hold; with empty hands, open or close it"],
  ["Click something out of reach", "walk there"],
  ["Drag", "look around"],
];

export function showHelp(): Promise<true | null> {
  return ask<true>({
    title: "How to play",
    wide: true,
    body: () => [
      h(
        "dl",
        { class: "keys double" },
        ...KEYS.flatMap(([keys, what]) => [
          // Keys pressed together are joined by a plus; alternatives only stand side by side.
          h("dt", {}, ...keys.flatMap((key, i) => [i ? (keys[0] === "Shift" ? " + " : " ") : null, h("kbd", { text: key })])),
          h("dd", { text: what }),
        ]),
      ),
      h("h3", { text: "Mouse and touch" }),
      h("dl", { class: "keys" }, ...POINTER.flatMap(([how, what]) => [h("dt", { text: how }), h("dd", { text: what })])),
      h("p", {
        text:
          "You see a thing only once you have been near it; look into closed furniture by opening it. Your partner " +
          "decides for itself. If it is about to do the wrong thing, tell it what to do instead.",
      }),
    ],
    actions: (done) => [button("Back to the task", "primary", () => done(true))],
  });
}
