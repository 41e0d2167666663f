/** The home of a recorded play, at whichever moment of it one looks. */

import type { Keyframe, Progress } from "../wire/keyframes.ts";
import { Home } from "./home.ts";
import type { Pose } from "./pose.ts";
import { PosePath } from "./pose_path.ts";

export class RecordedHome extends Home {
  /** The moment shown, in ticks; between two ticks while it plays. */
  time = 0;
  private frames: readonly Keyframe[] = [];
  private paths: readonly PosePath[] = [];
  /** Index of the last frame taken in. */
  private taken = -1;

  /** How far the task was, from each tick on at which that changed. */
  get course(): (Progress & { tick: number })[] {
    return this.frames.flatMap(({ tick, progress }) => (progress === null ? [] : [{ tick, ...progress }]));
  }

  get loaded(): boolean {
    return this.frames.length > 0;
  }

  /** The recording has arrived: frames in their order, the first a full one. */
  load(frames: readonly Keyframe[]): void {
    const steps = frames.slice(1).map((frame, index) => frame.tick - frames[index]!.tick);
    const step = Math.min(...steps.filter((ticks) => ticks > 0));
    const paths = this.episode.abilities.map(() => new PosePath(Number.isFinite(step) ? step : 1));
    for (const frame of frames) for (const row of frame.agents) paths[row.index]?.add(frame.tick, row);
    this.frames = frames;
    this.paths = paths;
    this.taken = -1;
    this.moveTo(this.time);
  }

  /** Show another moment; says whether it took more than going on from the one before. */
  moveTo(tick: number): boolean {
    this.time = Math.max(0, tick);
    if (!this.loaded) return false;
    const goal = this.frameAt(this.time);
    let from = this.taken + 1;
    let jumped = false;
    if (goal < this.taken || goal - this.taken > 1) {
      jumped = true;
      // From the last full frame before it, unless going on from here is shorter.
      let full = goal;
      while (full > 0 && !this.frames[full]!.full) full--;
      if (goal < this.taken || full > this.taken) from = full;
    }
    for (let index = from; index <= goal; index++) this.take(this.frames[index]!);
    this.taken = goal;
    return jumped;
  }

  override poseOf(agent: number): Pose | null {
    return this.paths[agent]?.at(this.time) ?? null;
  }

  /** The last frame not after a moment; the first where all are later. */
  private frameAt(tick: number): number {
    let [low, high] = [0, this.frames.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.frames[middle]!.tick <= tick) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
