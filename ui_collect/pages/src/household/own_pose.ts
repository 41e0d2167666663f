/**
 * Where the person's own agent is drawn: ahead of the server while steered by hand, so that a key is felt at once.
 *
 * Steps are taken here by the server's rules. Each pose the server reports is compared with where this page had the
 * agent when the server must have moved it, a round trip ago, and the difference is worked off within a few frames.
 */

import type { FloorGrid } from "./floor_grid.ts";
import { wrapped, type Pose } from "./pose.ts";
import { TICK_MS } from "./server_clock.ts";

export interface Control {
  /** 1 ahead, −1 back. */
  forward: number;
  /** 1 right, −1 left. */
  strafe: number;
  /** 1 left, −1 right. */
  turn: number;
}

export const STILL: Readonly<Control> = { forward: 0, strafe: 0, turn: 0 };
/** Metres and radians a second, as on the server. */
export const WALKING_SPEED = 1.5;
export const TURNING_SPEED = 2.4;

const KEPT_MS = 2000;
const JUMP_M = 1.0;
/** How fast a difference is worked off, per second. */
const MENDING = 9;
const FOLLOWING = 7;

interface Sample extends Pose {
  time: number;
}

export class OwnPose {
  pose: Pose | null = null;
  private history: Sample[] = [];
  private error: Pose = { x: 0, z: 0, yaw: 0 };
  private steered = -Infinity;
  private readonly grid: FloorGrid;

  constructor(grid: FloorGrid) {
    this.grid = grid;
  }

  clear(): void {
    this.pose = null;
    this.history = [];
    this.error = { x: 0, z: 0, yaw: 0 };
  }

  /** Whether the person steers, or the server may still be carrying out what they steered. */
  steering(now: number, lag: number): boolean {
    return now - this.steered < lag + 250;
  }

  /** The server says where the agent is; `lag`: milliseconds since it was steered there. */
  reported(server: Pose, now: number, lag: number): void {
    if (this.pose === null) {
      this.pose = { ...server };
      this.history = [{ ...server, time: now }];
      return;
    }
    const then = this.before(now - lag);
    this.error = { x: server.x - then.x, z: server.z - then.z, yaw: wrapped(server.yaw - then.yaw) };
    if (Math.hypot(this.error.x, this.error.z) > JUMP_M) {
      this.pose = { ...server };
      this.history = [{ ...server, time: now }];
      this.error = { x: 0, z: 0, yaw: 0 };
    }
  }

  /**
   * Move on to now.
   *
   * @param control what the person holds down.
   * @param seen where the server had the agent a moment ago, drawn when a skill walks it; null while there is none.
   */
  advance(control: Control, seconds: number, now: number, lag: number, seen: Pose | null): void {
    if (this.pose === null) return;
    const moving = control.forward !== 0 || control.strafe !== 0 || control.turn !== 0;
    if (moving) this.steered = now;
    if (!moving && !this.steering(now, lag)) {
      if (seen !== null) this.follow(seen, seconds);
    } else {
      this.step(control, seconds);
      this.mend(seconds);
    }
    this.history.push({ ...this.pose, time: now });
    while (this.history.length > 2 && this.history[0]!.time < now - KEPT_MS) this.history.shift();
  }

  private step(control: Control, seconds: number): void {
    const pose = this.pose!;
    pose.yaw = wrapped(pose.yaw + clamped(control.turn) * TURNING_SPEED * seconds);
    const forward = clamped(control.forward);
    const strafe = clamped(control.strafe);
    if (forward === 0 && strafe === 0) return;
    const length = (WALKING_SPEED * seconds) / Math.max(1, Math.hypot(forward, strafe));
    const cosine = Math.cos(pose.yaw);
    const sine = Math.sin(pose.yaw);
    const dx = (cosine * forward + sine * strafe) * length;
    const dz = (-sine * forward + cosine * strafe) * length;
    [pose.x, pose.z] = this.grid.slide(pose.x, pose.z, dx, dz);
  }

  /** Work off a part of the known difference, in the past too, so that it is not counted again. */
  private mend(seconds: number): void {
    const share = 1 - Math.exp(-seconds * MENDING);
    const by = { x: this.error.x * share, z: this.error.z * share, yaw: this.error.yaw * share };
    for (const pose of [this.pose!, ...this.history]) {
      pose.x += by.x;
      pose.z += by.z;
      pose.yaw = wrapped(pose.yaw + by.yaw);
    }
    this.error.x -= by.x;
    this.error.z -= by.z;
    this.error.yaw -= by.yaw;
  }

  /** Walked by a skill: glide along with the server, whose headings jump from one step of the way to the next. */
  private follow(seen: Pose, seconds: number): void {
    const pose = this.pose!;
    const near = 1 - Math.exp(-seconds * 3 * FOLLOWING);
    pose.x += (seen.x - pose.x) * near;
    pose.z += (seen.z - pose.z) * near;
    pose.yaw = wrapped(pose.yaw + wrapped(seen.yaw - pose.yaw) * (1 - Math.exp(-seconds * FOLLOWING)));
    this.error = { x: 0, z: 0, yaw: 0 };
  }

  private before(time: number): Pose {
    for (let i = this.history.length - 1; i >= 0; i--) {
      if (this.history[i]!.time <= time) return this.history[i]!;
    }
    return this.history[0] ?? this.pose!;
  }
}

/** How long ago the server moved what it reports now, given the round trip: half a tick of waiting on either side. */
export function steeringLag(roundTrip: number): number {
  return roundTrip + TICK_MS;
}

function clamped(value: number): number {
  return Math.min(1, Math.max(-1, value));
}
