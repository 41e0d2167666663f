// Seconds of human time: those in which the page is visible and somebody has touched it within the last minute.

const IDLE_AFTER_MS = 60000;

export class ActiveTime {
  constructor() {
    this.visible = document.visibilityState === "visible";
    this.activeUntil = -Infinity;
    this.countedTo = performance.now();
    this.milliseconds = 0;
    for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) {
      addEventListener(kind, () => this.touched(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => {
      this.settle();
      this.visible = document.visibilityState === "visible";
    });
  }

  total() {
    this.settle();
    return this.milliseconds / 1000;
  }

  touched() {
    this.settle();
    this.activeUntil = performance.now() + IDLE_AFTER_MS;
  }

  settle() {
    const now = performance.now();
    if (this.visible) this.milliseconds += Math.max(0, Math.min(now, this.activeUntil) - this.countedTo);
    this.countedTo = Math.max(this.countedTo, now);
  }
}
