/** Mouse and fingers over the person's view: dragging looks around, a press without a drag means a thing. */

/** Farther than this, CSS pixels, and a press is a drag. */
const DRAG_PX = 7;
/** Radians a pixel turns. */
const TURN_PER_PX = 0.0055;

export interface PointerEvents {
  /** Radians to the left, radians up. */
  look(left: number, up: number): void;
  point(place: { x: number; y: number } | null): void;
  /** With a finger rather than something that has a tip. */
  press(place: { x: number; y: number }, finger: boolean): void;
}

export function listenToPointer(surface: HTMLElement, events: PointerEvents, signal: AbortSignal): void {
  let down: { id: number; x: number; y: number; dragged: boolean } | null = null;
  const place = (event: PointerEvent): { x: number; y: number } => {
    const box = surface.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  surface.addEventListener(
    "pointerdown",
    (event) => {
      if (event.button !== 0 || down !== null) return;
      down = { id: event.pointerId, x: event.clientX, y: event.clientY, dragged: false };
      surface.setPointerCapture(event.pointerId);
    },
    { signal },
  );
  surface.addEventListener(
    "pointermove",
    (event) => {
      if (down === null || event.pointerId !== down.id) {
        if (event.pointerType === "mouse") events.point(place(event));
        return;
      }
      const dx = event.clientX - down.x;
      const dy = event.clientY - down.y;
      if (!down.dragged && Math.hypot(dx, dy) < DRAG_PX) return;
      down.dragged = true;
      events.point(null);
      events.look(dx * TURN_PER_PX, dy * TURN_PER_PX);
      down.x = event.clientX;
      down.y = event.clientY;
    },
    { signal },
  );
  const up = (event: PointerEvent): void => {
    if (down === null || event.pointerId !== down.id) return;
    const { dragged } = down;
    down = null;
    if (!dragged && event.type === "pointerup") events.press(place(event), event.pointerType === "touch");
  };
  surface.addEventListener("pointerup", up, { signal });
  surface.addEventListener("pointercancel", up, { signal });
  surface.addEventListener("pointerleave", () => events.point(null), { signal });
}
