/** What somebody saw when they chose, as a policy is told it, to the letter (P). */

import { ask } from "../dialogs/dialog.ts";
import { h } from "../dom.ts";

export async function showPrompt(title: string, load: () => Promise<string>): Promise<void> {
  const text = h("pre", { class: "prompt", text: "Loading…", attrs: { tabindex: 0, role: "region", "aria-label": "Prompt", "data-first": true } });
  const shown = ask<true>({
    title,
    wide: true,
    body: () => [h("p", { text: "As it stands in the prompt, to the letter. The newest part is at the end." }), text],
    actions: () => [],
  });
  try {
    text.textContent = await load();
    text.scrollTop = text.scrollHeight;
  } catch (error) {
    text.textContent = error instanceof Error && error.message ? error.message : "It could not be loaded. Try again in a moment.";
  }
  await shown;
}
