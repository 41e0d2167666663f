/**
 * A field that completes names: an input with a list below it, after the ARIA pattern for comboboxes.
 *
 * The focus stays in the field; the list's active option is named by `aria-activedescendant`.
 */

import { completions, type Option } from "../acting/completion.ts";
import { freshId, h } from "../dom.ts";

export interface Combobox {
  element: HTMLElement;
  input: HTMLInputElement;
  /** The option chosen, or the best completion of what is typed; null where nothing fits. */
  value(): string | null;
  setOptions(options: readonly Option[]): void;
  /** Fill the field with an option, as if it had been chosen. */
  choose(option: Option): void;
}

interface Settings {
  label: string;
  options: readonly Option[];
  /** Called when an option is chosen by Enter or a click. */
  chosen?: (value: string) => void;
  /** Called with the option that would be chosen now, as typing and arrows change it. */
  considered?: (value: string | null) => void;
  /** On leaving the field, what is typed becomes the option that fits best, so that one sees what was taken. */
  settles?: boolean;
  placeholder?: string;
  /** Always show the list, rather than only while the field is being filled in. */
  alwaysOpen?: boolean;
}

export function combobox(settings: Settings): Combobox {
  const id = freshId("combo");
  let options = settings.options;
  let shown: Option[] = [];
  let active = 0;
  let picked: string | null = null;

  const input = h("input", {
    class: "field",
    attrs: {
      id,
      type: "text",
      role: "combobox",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": `${id}-list`,
      placeholder: settings.placeholder ?? "",
    },
  });
  const list = h("ul", { class: "options", attrs: { id: `${id}-list`, role: "listbox", "aria-label": settings.label } });
  const count = h("p", { class: "unseen", attrs: { role: "status" } });
  const element = h(
    "div",
    { class: settings.alwaysOpen ? "combobox open" : "combobox" },
    h("label", { text: settings.label, attrs: { for: id } }),
    input,
    list,
    count,
  );

  const show = (visible: boolean): void => {
    list.hidden = !visible && !settings.alwaysOpen;
    input.setAttribute("aria-expanded", String(!list.hidden));
  };
  const activate = (index: number): void => {
    active = index;
    list.querySelectorAll("[role=option]").forEach((row, i) => row.setAttribute("aria-selected", String(i === index)));
    const row = list.querySelectorAll("[role=option]")[index];
    input.setAttribute("aria-activedescendant", row?.id ?? "");
    row?.scrollIntoView({ block: "nearest" });
    settings.considered?.(shown[index]?.value ?? null);
  };
  const fill = (): void => {
    shown = completions(options, input.value);
    const rows: HTMLElement[] = [];
    let group = "";
    shown.forEach((option, index) => {
      // Headings only where the list is in its own order: best matches first would tear the groups apart.
      if (!input.value && option.group !== group) {
        group = option.group;
        rows.push(h("li", { class: "option-group", text: group, attrs: { role: "presentation" } }));
      }
      const row = h(
        "li",
        { class: "option", attrs: { id: `${id}-${index}`, role: "option", "aria-selected": "false" } },
        h("span", { text: option.label }),
        h("span", { class: "option-hint", text: option.hint }),
      );
      // Before the field loses its focus, which would close the list under the pointer.
      row.addEventListener("pointerdown", (event) => event.preventDefault());
      row.addEventListener("click", () => choose(index));
      rows.push(row);
    });
    if (!shown.length) rows.push(h("li", { class: "option-none", text: "Nothing of that name", attrs: { role: "presentation" } }));
    list.replaceChildren(...rows);
    activate(0);
    count.textContent = input.value ? `${shown.length} found` : "";
  };
  const take = (option: Option): void => {
    picked = option.value;
    input.value = option.label;
  };
  const choose = (index: number): void => {
    const option = shown[index];
    if (option === undefined) return;
    take(option);
    show(false);
    settings.chosen?.(option.value);
  };

  input.addEventListener("input", () => {
    picked = null;
    fill();
    show(true);
  });
  input.addEventListener("focus", () => {
    fill();
    show(!settings.alwaysOpen && picked !== null ? false : true);
  });
  input.addEventListener("click", () => show(true));
  input.addEventListener("blur", () => {
    const option = shown[active];
    if (settings.settles && picked === null && input.value.trim() && option !== undefined) take(option);
    show(false);
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step !== undefined && shown.length) {
      show(true);
      activate(Math.abs(step) > 1 ? Math.max(0, Math.min(shown.length - 1, active + step)) : (active + step + shown.length) % shown.length);
      event.preventDefault();
    } else if (event.key === "Enter" && shown.length) {
      choose(active);
      event.preventDefault();
    } else if (event.key === "Escape" && !list.hidden && !settings.alwaysOpen) {
      show(false);
      event.preventDefault();
      event.stopPropagation();
    }
  });
  fill();
  show(false);
  return {
    element,
    input,
    choose: take,
    value: () => picked ?? (input.value ? (shown[active]?.value ?? null) : null),
    setOptions(next) {
      options = next;
      picked = null;
      input.value = "";
      fill();
    },
  };
}
