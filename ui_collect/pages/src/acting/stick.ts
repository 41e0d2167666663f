/** The round stick for a thumb: up and down walks, left and right turns. */

import { h } from "../dom.ts";

const DEAD = 0.15;

export function stick(moved: (forward: number, turn: number) => void): HTMLElement {
  const knob = h("div", { class: "stick-knob" });
  // It is no use to a keyboard, which has the arrows.
  const base = h("div", { class: "stick", attrs: { "aria-hidden": "true" } }, knob);
  let id: number | null = null;
  const follow = (event: PointerEvent): void => {
    const box = base.getBoundingClientRect();
    const reach = box.width / 2;
    let x = (event.clientX - box.left - reach) / reach;
    let y = (event.clientY - box.top - reach) / reach;
    const far = Math.hypot(x, y);
    if (far > 1) [x, y] = [x / far, y / far];
    knob.style.transform = `translate(${x * reach * 0.6}px, ${y * reach * 0.6}px)`;
    moved(eased(-y), eased(-x));
  };
  const release = (event: PointerEvent): void => {
    if (event.pointerId !== id) return;
    id = null;
    knob.style.transform = "";
    moved(0, 0);
  };
  base.addEventListener("pointerdown", (event) => {
    if (id !== null) return;
    id = event.pointerId;
    base.setPointerCapture(event.pointerId);
    follow(event);
  });
  base.addEventListener("pointermove", (event) => {
    if (event.pointerId === id) follow(event);
  });
  base.addEventListener("pointerup", release);
  base.addEventListener("pointercancel", release);
  return base;
}

/** Nothing near the middle, then gently to full; in twenty steps, so that a trembling thumb sends little. */
function eased(value: number): number {
  const beyond = Math.max(0, Math.abs(value) - DEAD) / (1 - DEAD);
  return (Math.sign(value) * Math.round(beyond * 20)) / 20;
}
