/** How often and how finely to draw, so that a weak machine stays responsive. */

const FINEST = 1.5;
const COARSEST = 0.5;
/** Slower than this on average, milliseconds between frames, and the next coarser step is taken. */
const TOO_SLOW_MS = 42;
const WATCHED = 40;

export class FramePace {
  pixelRatio: number;
  /** Milliseconds between two drawings of the partner's view. */
  readonly partnerEvery: number;
  private readonly shortest: number;
  private last = -Infinity;
  private watched = 0;
  private spent = 0;

  constructor(software: boolean) {
    this.pixelRatio = Math.min(window.devicePixelRatio || 1, software ? 0.75 : FINEST);
    this.partnerEvery = software ? 500 : 100;
    this.shortest = software ? 45 : 0;
  }

  /** Whether a frame is due. */
  due(now: number): boolean {
    return now - this.last >= this.shortest;
  }

  drawn(now: number): void {
    const gap = now - this.last;
    this.last = now;
    // A long gap is a page that was hidden, not a slow machine.
    if (gap > 1000) return;
    this.watched++;
    this.spent += gap - this.shortest;
    if (this.watched < WATCHED) return;
    if (this.spent / this.watched > TOO_SLOW_MS) this.pixelRatio = Math.max(COARSEST, this.pixelRatio * 0.8);
    this.watched = this.spent = 0;
  }
}
