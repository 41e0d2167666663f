/** The last second of an agent's poses, so that it can be drawn between two of them, a little in the past. */

import { between, type Pose } from "./pose.ts";
import { TICK_MS } from "./server_clock.ts";

interface Sample extends Pose {
  time: number;
}

const KEPT_MS = 1500;
/** Farther than anybody walks in a tick: a jump, not a walk. */
const JUMP_M = 0.8;

export class PoseTrack {
  private readonly samples: Sample[] = [];

  get last(): Pose | null {
    return this.samples.at(-1) ?? null;
  }

  clear(): void {
    this.samples.length = 0;
  }

  /** The agent's pose at a tick. Frames leave out who stands still, so a gap means it stood until just before. */
  add(tick: number, pose: Pose): void {
    const time = tick * TICK_MS;
    const before = this.samples.at(-1);
    if (before !== undefined) {
      if (time <= before.time) return void Object.assign(before, { x: pose.x, z: pose.z, yaw: pose.yaw });
      if (time - before.time > 2.5 * TICK_MS) this.samples.push({ ...before, time: time - TICK_MS });
      if (Math.hypot(pose.x - before.x, pose.z - before.z) > JUMP_M) this.samples.length = 0;
    }
    this.samples.push({ time, x: pose.x, z: pose.z, yaw: pose.yaw });
    const oldest = time - KEPT_MS;
    while (this.samples.length > 2 && (this.samples[1]?.time ?? Infinity) < oldest) this.samples.shift();
  }

  /** The pose at a moment, between the two samples around it. */
  at(time: number): Pose | null {
    for (let i = this.samples.length - 1; i >= 0; i--) {
      const here = this.samples[i]!;
      if (here.time > time && i > 0) continue;
      const next = this.samples[i + 1];
      if (next === undefined || here.time > time) return here;
      return between(here, next, (time - here.time) / (next.time - here.time));
    }
    return null;
  }
}
