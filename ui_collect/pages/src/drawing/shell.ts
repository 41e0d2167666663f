/** What there is to know of a home's walls without its file: how high they are, and where their doorways are. */

import type { Door, SceneDescription, Vec2 } from "../wire/scene_types.ts";

const TOUCHING = 0.03;
const DEFAULT_HEIGHT = 2.4;

export function ceilingHeight(scene: SceneDescription): number {
  return Math.max(DEFAULT_HEIGHT / 2, ...scene.walls.map((wall) => wall.height));
}

/** What remains of a wall's line once the doorways lying on it are cut out. */
export function solidStretches(start: Vec2, end: Vec2, doors: readonly Door[]): [Vec2, Vec2][] {
  const length = distance(start, end);
  if (length < 1e-6) return [];
  const along: Vec2 = [(end[0] - start[0]) / length, (end[1] - start[1]) / length];
  const gaps: [number, number][] = [];
  for (const door of doors) {
    const offsets = [door.start, door.end].map((jamb) => onLine(start, along, jamb));
    if (offsets.every(([, aside]) => Math.abs(aside) < TOUCHING)) {
      const [a, b] = offsets.map(([offset]) => Math.min(Math.max(offset, 0), length)) as [number, number];
      gaps.push([Math.min(a, b), Math.max(a, b)]);
    }
  }
  gaps.sort((a, b) => a[0] - b[0]);
  const stretches: [Vec2, Vec2][] = [];
  let done = 0;
  for (const [low, high] of [...gaps, [length, length] as const]) {
    if (low - done > 0.01) stretches.push([at(start, along, done), at(start, along, low)]);
    done = Math.max(done, high);
  }
  return stretches;
}

function at(start: Vec2, along: Vec2, offset: number): Vec2 {
  return [start[0] + along[0] * offset, start[1] + along[1] * offset];
}

function distance(a: Vec2, b: Vec2): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

/** How far along and how far aside a point lies from a line. */
function onLine(start: Vec2, along: Vec2, point: Vec2): [number, number] {
  const dx = point[0] - start[0];
  const dz = point[1] - start[1];
  return [dx * along[0] + dz * along[1], dz * along[0] - dx * along[1]];
}
