/** Where something stands and faces, and how one pose turns into the next. */

export interface Pose {
  x: number;
  z: number;
  yaw: number;
}

const TURN = 2 * Math.PI;

/** An angle within −π … π. */
export function wrapped(angle: number): number {
  return angle - TURN * Math.round(angle / TURN);
}

/** The pose a share of the way from one to another, turning the shorter way round. */
export function between(a: Pose, b: Pose, share: number): Pose {
  return {
    x: a.x + (b.x - a.x) * share,
    z: a.z + (b.z - a.z) * share,
    yaw: wrapped(a.yaw + wrapped(b.yaw - a.yaw) * share),
  };
}
