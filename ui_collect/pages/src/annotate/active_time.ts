/** Seconds of human time: those in which the page is visible and somebody has touched it within the last minute. */

export const IDLE_AFTER_MS = 60_000;

export class ActiveTime {
  private visible: boolean;
  private activeUntil = -Infinity;
  private countedTo: number;
  private milliseconds = 0;

  constructor(visible: boolean, now: number) {
    this.visible = visible;
    this.countedTo = now;
  }

  /** Seconds so far. */
  total(now: number): number {
    this.settle(now);
    return this.milliseconds / 1000;
  }

  /** Somebody has moved the mouse, pressed a key or touched the screen. */
  input(now: number): void {
    this.settle(now);
    this.activeUntil = now + IDLE_AFTER_MS;
  }

  show(visible: boolean, now: number): void {
    this.settle(now);
    this.visible = visible;
  }

  private settle(now: number): void {
    if (this.visible) this.milliseconds += Math.max(0, Math.min(now, this.activeUntil) - this.countedTo);
    this.countedTo = Math.max(this.countedTo, now);
  }
}
