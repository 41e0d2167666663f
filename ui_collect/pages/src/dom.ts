/** Making elements without strings of HTML, which a strict content security policy is right to distrust. */

type Child = Node | string | null | undefined | false;

interface Options {
  class?: string;
  text?: string;
  /** Attributes, ARIA's among them; `true` sets one without a value, null and false leave it out. */
  attrs?: Record<string, string | number | boolean | null>;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  options: Options = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (options.class) element.className = options.class;
  if (options.text !== undefined) element.textContent = options.text;
  for (const [name, value] of Object.entries(options.attrs ?? {})) {
    if (value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [name, listener] of Object.entries(options.on ?? {})) {
    element.addEventListener(name, listener as EventListener);
  }
  element.append(...children.filter((child): child is Node | string => child != null && child !== false));
  return element;
}

let counted = 0;

/** An id no other element has. */
export function freshId(prefix: string): string {
  return `${prefix}-${++counted}`;
}

/** Set a text only where it differs: a live region speaks every change, and a layout follows every one. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether the person asked for as little motion as possible. */
export function wantsStillness(): boolean {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Whether keys typed now belong to a field, not to the home. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]") !== null;
}

/** Whether Space and Enter pressed now belong to a control. */
export function isPressable(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("button, a[href], summary, [role=option]") !== null;
}
