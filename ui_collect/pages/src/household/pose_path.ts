/** All poses of an agent in a recorded play, so that it can be drawn at any moment of it. */

import { between, type Pose } from "./pose.ts";

interface Sample extends Pose {
  tick: number;
}

export class PosePath {
  private readonly samples: Sample[] = [];
  private readonly step: number;

  /** @param step ticks between two frames of the recording. */
  constructor(step: number) {
    this.step = step;
  }

  /** The agent's pose at a tick. Frames leave out who stands still, so a gap means it stood until just before. */
  add(tick: number, { x, z, yaw }: Pose): void {
    const before = this.samples.at(-1);
    if (before !== undefined) {
      if (tick <= before.tick) return;
      if (tick - before.tick > 1.5 * this.step) this.samples.push({ ...before, tick: tick - this.step });
    }
    this.samples.push({ tick, x, z, yaw });
  }

  /** The pose at a moment in ticks, fractions included; null while nothing is known of the agent. */
  at(tick: number): Pose | null {
    const { samples } = this;
    let [low, high] = [0, samples.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (samples[middle]!.tick <= tick) low = middle;
      else high = middle - 1;
    }
    const here = samples[low];
    if (here === undefined) return null;
    const next = samples[low + 1];
    if (next === undefined || here.tick > tick) return here;
    return between(here, next, (tick - here.tick) / (next.tick - here.tick));
  }
}
