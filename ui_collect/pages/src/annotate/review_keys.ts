/** The keys while a play is being looked at, and the page that explains them. */

import { ask, button, dialogIsOpen } from "../dialogs/dialog.ts";
import { h, isPressable, isTyping } from "../dom.ts";

export interface ReviewCommands {
  playOrPause(): void;
  /** Go on or back by so many seconds. */
  skim(seconds: number): void;
  toEnd(end: boolean): void;
  faster(direction: -1 | 1): void;
  decision(direction: -1 | 1): void;
  worth(direction: -1 | 1): void;
  mark(): void;
  withdraw(): void;
  undo(): void;
  prompt(): void;
  view(index: number): void;
  finish(): void;
  skip(): void;
  queue(): void;
  help(): void;
}

/** Listen until the signal says stop. */
export function listenForReview(commands: ReviewCommands, signal: AbortSignal): void {
  window.addEventListener(
    "keydown",
    (event) => {
      if (dialogIsOpen() || isTyping(event.target)) return;
      const command = commandOf(event, commands);
      if (command === null) return;
      event.preventDefault();
      command();
    },
    { signal },
  );
}

function commandOf(event: KeyboardEvent, commands: ReviewCommands): (() => void) | null {
  const { key, shiftKey: shift } = event;
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) return key.toLowerCase() === "z" && !shift ? () => commands.undo() : null;
  switch (key) {
    case " ":
      // Space on a button presses that button.
      return isPressable(event.target) ? null : () => commands.playOrPause();
    case "ArrowLeft":
      return shift ? () => commands.worth(-1) : () => commands.skim(-1);
    case "ArrowRight":
      return shift ? () => commands.worth(1) : () => commands.skim(1);
    case "ArrowUp":
      return () => commands.decision(-1);
    case "ArrowDown":
      return () => commands.decision(1);
    case "PageUp":
      return () => commands.skim(-10);
    case "PageDown":
      return () => commands.skim(10);
    case "Home":
      return () => commands.toEnd(false);
    case "End":
      return () => commands.toEnd(true);
    case "+":
      return () => commands.faster(1);
    case "-":
      return () => commands.faster(-1);
    case "Delete":
      return () => commands.withdraw();
    case "?":
      return () => commands.help();
  }
  // What is held down goes on stepping, but decides nothing a second time.
  if (event.repeat && !["j", "k"].includes(key)) return null;
  if (["1", "2", "3"].includes(key)) return () => commands.view(Number(key) - 1);
  switch (key.toLowerCase()) {
    case "j":
      return () => commands.decision(-1);
    case "k":
      return () => commands.decision(1);
    case "n":
      return () => commands.worth(shift ? -1 : 1);
    case "e":
      return () => commands.mark();
    case "p":
      return () => commands.prompt();
    case "f":
      return () => commands.finish();
    case "s":
      return () => commands.skip();
    case "q":
      return () => commands.queue();
    case "h":
      return () => commands.help();
    default:
      return null;
  }
}

const KEYS: readonly [string[], string][] = [
  [["Space"], "play or pause"],
  [["←", "→"], "a second back or on (Page keys: ten)"],
  [["J", "K"], "previous, next decision of the AI (also ↑ ↓)"],
  [["N"], "next worth a look (Shift + N: previous)"],
  [["E"], "this is an error: choose what would have been right"],
  [["Enter"], "take the action; then: save"],
  [["Ctrl", "Z"], "undo"],
  [["Del"], "it is no error after all"],
  [["P"], "what the AI saw"],
  [["1", "2", "3"], "from above, either agent’s view"],
  [["+", "-"], "faster, slower"],
  [["F"], "finish this play, on to the next"],
  [["S"], "skip this play"],
  [["Q"], "back to the queue"],
  [["Home", "End"], "to the start, to the end"],
  [["H"], "this help"],
];

const LEGEND: readonly [string, string][] = [
  ["Filled block", "how unsure the AI was: the fuller, the less sure"],
  ["! and hatching", "the action failed"],
  ["◆", "worth a look"],
  ["✕", "marked as an error: filled by you, outlined by somebody else"],
  ["↺", "the person chose something else in its place"],
];

export function showReviewHelp(): Promise<true | null> {
  return ask<true>({
    title: "Looking at a play",
    wide: true,
    body: () => [
      h("p", {
        text:
          "Mark what the AI chose wrongly, not what you would have done differently: a choice is an error when it " +
          "failed, or did not help. When you finish a play, everything you did not mark counts as right.",
      }),
      h(
        "dl",
        { class: "keys double" },
        ...KEYS.flatMap(([keys, what]) => [
          h("dt", {}, ...keys.flatMap((key, i) => [i ? (keys[0] === "Ctrl" ? " + " : " ") : null, h("kbd", { text: key })])),
          h("dd", { text: what }),
        ]),
      ),
      h("h3", { text: "On the timeline" }),
      h("dl", { class: "keys" }, ...LEGEND.flatMap(([sign, what]) => [h("dt", { text: sign }), h("dd", { text: what })])),
    ],
    actions: (done) => [button("Back to the play", "primary", () => done(true))],
  });
}
