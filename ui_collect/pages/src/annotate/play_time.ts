/** How much attention one play has had: what marks and the review report, so that every second is counted once. */

import type { ActiveTime } from "./active_time.ts";
import { keep, readKept, type Keeper } from "./stored.ts";

export class PlayTime {
  private readonly keeper: Keeper;
  private readonly key: string;
  private readonly active: ActiveTime;
  /** Of `active`, when this play was opened or last counted. */
  private countedTo: number;
  private reportedTo: number;
  /** From before the page was loaded anew. */
  private earlier: number;

  constructor(keeper: Keeper, annotator: string, play: string, active: ActiveTime, now: number) {
    this.keeper = keeper;
    this.key = `flywheel.annotate.seconds.${annotator}.${play}`;
    this.active = active;
    this.countedTo = this.reportedTo = active.total(now);
    this.earlier = readKept(keeper, this.key, 0);
  }

  /** Seconds that no mark has counted yet, which are counted by this. */
  count(now: number): number {
    const seconds = this.uncounted(now);
    this.countedTo = this.active.total(now);
    this.earlier = 0;
    this.keeper.removeItem(this.key);
    return seconds;
  }

  /** Remember them, in case the page is left. */
  keep(now: number): void {
    keep(this.keeper, this.key, this.uncounted(now));
  }

  /** Seconds since the last sign of life. */
  report(now: number): number {
    const total = this.active.total(now);
    const seconds = rounded(total - this.reportedTo);
    this.reportedTo = total;
    return seconds;
  }

  private uncounted(now: number): number {
    return rounded(this.earlier + this.active.total(now) - this.countedTo);
  }
}

function rounded(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}
