/**
 * Questions over the page, on the browser's own modal dialog: it keeps the focus inside, closes with Esc and gives the
 * focus back.
 */

import { freshId, h } from "../dom.ts";

let open: HTMLDialogElement | null = null;

export function dialogIsOpen(): boolean {
  // The browser says only later that it has closed one, and a key may come before.
  return open?.open === true;
}

/** Shut whatever is open: what it asked has become pointless. */
export function closeDialog(): void {
  open?.close();
}

export interface DialogParts<T> {
  title: string;
  body: (done: (result: T) => void) => Node[];
  /** Buttons at the bottom; the first is the one that does it. */
  actions: (done: (result: T) => void) => HTMLButtonElement[];
  wide?: boolean;
}

/** Ask; null where the dialog was closed without an answer, or another one is open. */
export function ask<T>(parts: DialogParts<T>): Promise<T | null> {
  if (dialogIsOpen()) return Promise.resolve(null);
  return new Promise((resolve) => {
    let result: T | null = null;
    const done = (answer: T): void => {
      result = answer;
      dialog.close();
    };
    const title = freshId("dialog");
    const close = h("button", {
      class: "dialog-close",
      text: "×",
      attrs: { type: "button", "aria-label": "Close" },
      on: { click: () => dialog.close() },
    });
    const dialog = h(
      "dialog",
      { class: parts.wide ? "dialog wide" : "dialog", attrs: { "aria-labelledby": title } },
      h("div", { class: "dialog-head" }, h("h2", { text: parts.title, attrs: { id: title } }), close),
      h("div", { class: "dialog-body" }, ...parts.body(done)),
      h("div", { class: "dialog-actions" }, ...parts.actions(done)),
    );
    dialog.addEventListener("close", () => {
      if (open === dialog) open = null;
      dialog.remove();
      resolve(result);
    });
    // A click on the backdrop lands on the dialog itself.
    dialog.addEventListener("pointerdown", (event) => {
      if (event.target === dialog) dialog.close();
    });
    // What is typed here is not meant for the home behind.
    dialog.addEventListener("keydown", (event) => event.stopPropagation());
    document.body.append(dialog);
    open = dialog;
    dialog.showModal();
    dialog.querySelector<HTMLElement>("[data-first]")?.focus();
  });
}

export function button(text: string, kind: "primary" | "plain" | "danger", click: () => void): HTMLButtonElement {
  return h("button", { class: `button ${kind}`, text, attrs: { type: "button" }, on: { click } });
}

/** Ask yes or no. */
export async function confirmed(
  title: string,
  text: string,
  yes: string,
  danger = false,
  no = "Keep playing",
): Promise<boolean> {
  const answer = await ask<boolean>({
    title,
    body: () => [h("p", { text })],
    actions: (done) => {
      const confirm = button(yes, danger ? "danger" : "primary", () => done(true));
      confirm.dataset["first"] = "";
      return [confirm, button(no, "plain", () => done(false))];
    },
  });
  return answer === true;
}

/** Ask which of a few. */
export function chosen<T>(title: string, choices: readonly { label: string; value: T }[]): Promise<T | null> {
  return ask<T>({
    title,
    body: (done) =>
      choices.map(({ label, value }, index) => {
        const choice = button(label, index ? "plain" : "primary", () => done(value));
        if (!index) choice.dataset["first"] = "";
        choice.classList.add("stretched");
        return choice;
      }),
    actions: () => [],
  });
}
