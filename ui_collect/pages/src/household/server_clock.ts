/** What time it is in the home, guessed from when its frames arrive. */

export const TICK_MS = 1000 / 30;

/** A gap this long is no jitter: the home stood still, or the line was gone. */
const STANDSTILL_MS = 300;

export class ServerClock {
  private offset: number | null = null;

  /** A frame of this tick has just arrived. */
  observe(tick: number, now: number, restart: boolean): void {
    const sample = now - tick * TICK_MS;
    if (this.offset === null || restart || sample - this.offset > STANDSTILL_MS) {
      this.offset = sample;
    } else if (sample < this.offset) {
      // The fastest frames say most about the clock; late ones were only held up.
      this.offset = sample;
    } else {
      this.offset += (sample - this.offset) * 0.01;
    }
  }

  /** The home's time, in milliseconds since its first tick; null before the first frame. */
  at(now: number): number | null {
    return this.offset === null ? null : now - this.offset;
  }
}
