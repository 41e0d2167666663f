/**
 * Where an agent may stand: the server's own rule (hitl_ops/worlds/household/grid.py), worked out again here so that
 * the person's next step can be drawn before the server has answered.
 */

import { footprint, homeBounds, type Rectangle, type SceneDescription } from "../wire/scene_types.ts";

const CELL = 0.2;
const AGENT_RADIUS = 0.2;

export class FloorGrid {
  private readonly x0: number;
  private readonly z0: number;
  private readonly rows: number;
  private readonly columns: number;
  private readonly blocked: Uint8Array;

  constructor(scene: SceneDescription) {
    const [x0, z0, x1, z1] = homeBounds(scene);
    this.x0 = x0;
    this.z0 = z0;
    this.rows = Math.round((z1 - z0) / CELL);
    this.columns = Math.round((x1 - x0) / CELL);
    this.blocked = new Uint8Array(this.rows * this.columns);
    for (const wall of scene.walls) {
      const half = wall.thickness / 2;
      this.block([
        Math.min(wall.start[0], wall.end[0]) - half,
        Math.min(wall.start[1], wall.end[1]) - half,
        Math.max(wall.start[0], wall.end[0]) + half,
        Math.max(wall.start[1], wall.end[1]) + half,
      ]);
    }
    for (const piece of scene.furniture) this.block(footprint(piece));
  }

  isFree(x: number, z: number): boolean {
    const column = Math.floor((x - this.x0) / CELL);
    const row = Math.floor((z - this.z0) / CELL);
    if (row < 0 || row >= this.rows || column < 0 || column >= this.columns) return false;
    return this.blocked[row * this.columns + column] === 0;
  }

  /** Where a step ends, sliding along whatever is in the way. */
  slide(x: number, z: number, dx: number, dz: number): [number, number] {
    if (this.isFree(x + dx, z + dz)) return [x + dx, z + dz];
    if (this.isFree(x + dx, z)) return [x + dx, z];
    if (this.isFree(x, z + dz)) return [x, z + dz];
    return [x, z];
  }

  private block([x0, z0, x1, z1]: Rectangle): void {
    for (let row = 0; row < this.rows; row++) {
      const z = this.z0 + (row + 0.5) * CELL;
      if (z <= z0 - AGENT_RADIUS || z >= z1 + AGENT_RADIUS) continue;
      for (let column = 0; column < this.columns; column++) {
        const x = this.x0 + (column + 0.5) * CELL;
        if (x > x0 - AGENT_RADIUS && x < x1 + AGENT_RADIUS) this.blocked[row * this.columns + column] = 1;
      }
    }
  }
}
