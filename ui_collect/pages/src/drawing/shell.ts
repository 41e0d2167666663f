/** The shell of a home as boxes: floors, ceilings, walls with their doorways, lintels; door leaves are apart. */

import type { Color, Door, SceneDescription, Vec2, Vec3, Wall } from "../wire/scene_types.ts";
import { CEILING, DOOR_SILL, SKIRTING, WALL } from "./appearance.ts";

const SLAB = 0.05;
const SKIRTING_HEIGHT = 0.07;
const SKIRTING_DEPTH = 0.008;
const TOUCHING = 0.03;
const DEFAULT_HEIGHT = 2.4;

export interface ShellPiece {
  kind: "ceiling" | "wall" | "skirting" | "lintel" | "sill";
  center: Vec3;
  size: Vec3;
  yaw: number;
  color: Color;
}

export function ceilingHeight(scene: SceneDescription): number {
  return Math.max(DEFAULT_HEIGHT / 2, ...scene.walls.map((wall) => wall.height));
}

/** Everything of the shell but floors and leaves. */
export function shellPieces(scene: SceneDescription): ShellPiece[] {
  const pieces: ShellPiece[] = [];
  const top = ceilingHeight(scene);
  for (const { bounds } of scene.rooms) {
    const [x0, z0, x1, z1] = bounds;
    const center: Vec3 = [(x0 + x1) / 2, top + SLAB / 2, (z0 + z1) / 2];
    pieces.push({ kind: "ceiling", center, size: [x1 - x0, SLAB, z1 - z0], yaw: 0, color: CEILING });
  }
  const corners = scene.walls.flatMap((wall) => [wall.start, wall.end]);
  for (const wall of scene.walls) {
    for (const [start, end] of solidStretches(wall.start, wall.end, scene.doors)) {
      const from = toCorner(start, end, wall, corners);
      const to = toCorner(end, start, wall, corners);
      pieces.push(upright("wall", from, to, 0, wall.height, wall.thickness, WALL));
      pieces.push(upright("skirting", start, end, 0, SKIRTING_HEIGHT, wall.thickness + 2 * SKIRTING_DEPTH, SKIRTING));
    }
  }
  const thickness = Math.max(0.1, ...scene.walls.map((wall) => wall.thickness));
  for (const door of scene.doors) {
    if (top - door.height > 0.01) {
      pieces.push(upright("lintel", door.start, door.end, door.height, top, thickness, WALL));
    }
    pieces.push(upright("sill", door.start, door.end, -SLAB, 0.002, thickness, DOOR_SILL));
  }
  return pieces;
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

/** A wall's end, moved out by half its thickness where another wall ends too, so that corners close. */
function toCorner(end: Vec2, other: Vec2, wall: Wall, corners: readonly Vec2[]): Vec2 {
  const isEnd = distance(end, wall.start) < 1e-9 || distance(end, wall.end) < 1e-9;
  if (!isEnd || corners.filter((corner) => distance(end, corner) < TOUCHING).length < 2) return end;
  const stretch = wall.thickness / 2 / distance(end, other);
  return [end[0] + (end[0] - other[0]) * stretch, end[1] + (end[1] - other[1]) * stretch];
}

function upright(
  kind: ShellPiece["kind"],
  start: Vec2,
  end: Vec2,
  low: number,
  high: number,
  thickness: number,
  color: Color,
): ShellPiece {
  return {
    kind,
    center: [(start[0] + end[0]) / 2, (low + high) / 2, (start[1] + end[1]) / 2],
    size: [distance(start, end), high - low, thickness],
    yaw: Math.atan2(-(end[1] - start[1]), end[0] - start[0]),
    color,
  };
}
