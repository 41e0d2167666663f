/** The keys. Letters that steer go by their place on the board, so that other layouts keep the same hand. */

import { isPressable, isTyping } from "../dom.ts";
import { dialogIsOpen } from "../dialogs/dialog.ts";
import type { Steering, SteeringKey } from "./steering.ts";

const STEERING: Record<string, SteeringKey> = {
  KeyW: "forward",
  ArrowUp: "forward",
  KeyS: "back",
  ArrowDown: "back",
  KeyA: "strafe_left",
  KeyD: "strafe_right",
  KeyQ: "left",
  ArrowLeft: "left",
  KeyE: "right",
  ArrowRight: "right",
};

export interface KeyCommands {
  primary(): void;
  openOrClose(): void;
  navigate(): void;
  swapMap(): void;
  finish(): void;
  skip(): void;
  help(): void;
}

/** Listen until the signal says stop. */
export function listenToKeys(steering: Steering, commands: KeyCommands, signal: AbortSignal): void {
  window.addEventListener(
    "keydown",
    (event) => {
      if (dialogIsOpen() || isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      const key = STEERING[event.code];
      if (key !== undefined) {
        steering.press(key);
        event.preventDefault();
        return;
      }
      const command = commandOf(event, commands);
      if (command === null) return;
      event.preventDefault();
      if (!event.repeat) command();
    },
    { signal },
  );
  window.addEventListener(
    "keyup",
    (event) => {
      const key = STEERING[event.code];
      if (key !== undefined) steering.release(key);
    },
    { signal },
  );
  document.addEventListener(
    "visibilitychange",
    () => {
      if (document.hidden) steering.releaseAll();
    },
    { signal },
  );
  // A key let go while another window has the focus is never heard of.
  window.addEventListener("blur", () => steering.releaseAll(), { signal });
}

function commandOf(event: KeyboardEvent, commands: KeyCommands): (() => void) | null {
  if (event.code === "Space") {
    // Space on a button presses that button.
    if (isPressable(event.target)) return null;
    return event.shiftKey ? () => commands.openOrClose() : () => commands.primary();
  }
  switch (event.key.toLowerCase()) {
    case "n":
      return () => commands.navigate();
    case "m":
      return () => commands.swapMap();
    case "f":
      return () => commands.finish();
    case "h":
    case "?":
      return () => commands.help();
    case "escape":
      return () => commands.skip();
    default:
      return null;
  }
}
