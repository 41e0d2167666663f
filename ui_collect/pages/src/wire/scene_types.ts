/**
 * What a home looks like, as the server describes it (hitl_ops/worlds/household/scene_description.py).
 *
 * Axes: x and z on the floor, y up, metres; yaw in radians about +y, 0 facing +x, positive turning towards −z.
 */

export type Vec3 = readonly [number, number, number];
export type Vec2 = readonly [number, number];
export type Color = readonly [number, number, number];

/** A coloured solid in its owner's frame; `door` parts are there while the owner is closed, `lamp` parts can glow. */
export interface Part {
  shape: "box" | "cylinder" | "sphere";
  center: Vec3;
  size: Vec3;
  color: Color;
  role: "body" | "door" | "lamp";
}

export interface Room {
  name: string;
  kind: string;
  /** x0, z0, x1, z1 */
  bounds: readonly [number, number, number, number];
  floor_color: Color;
}

export interface Wall {
  start: Vec2;
  end: Vec2;
  height: number;
  thickness: number;
}

export interface Door {
  name: string;
  rooms: readonly [string, string];
  start: Vec2;
  end: Vec2;
  height: number;
  open_at_start: boolean;
}

export interface Furniture {
  name: string;
  kind: string;
  room: string;
  position: Vec3;
  yaw: number;
  size: Vec3;
  parts: readonly Part[];
  on_slots: readonly Vec3[];
  within_slots: readonly Vec3[];
  access: readonly Vec2[];
  articulated: boolean;
  has_faucet: boolean;
  powerable: boolean;
}

export interface ObjectShape {
  kind: string;
  parts: readonly Part[];
}

export interface SceneDescription {
  scene_id: string;
  seed: number;
  split: string;
  rooms: readonly Room[];
  walls: readonly Wall[];
  doors: readonly Door[];
  furniture: readonly Furniture[];
  floor_slots: Readonly<Record<string, readonly Vec3[]>>;
  spawns: readonly Vec2[];
}

/** A rectangle on the floor: x0, z0, x1, z1. */
export type Rectangle = readonly [number, number, number, number];

/** What a piece of furniture covers; its yaw is a multiple of 90 degrees. */
export function footprint(piece: Furniture): Rectangle {
  const turned = Math.abs(Math.round(piece.yaw / (Math.PI / 2))) % 2 === 1;
  const halfX = (turned ? piece.size[2] : piece.size[0]) / 2;
  const halfZ = (turned ? piece.size[0] : piece.size[2]) / 2;
  const [x, , z] = piece.position;
  return [x - halfX, z - halfZ, x + halfX, z + halfZ];
}

/** The rectangle around all rooms. */
export function homeBounds(scene: SceneDescription): Rectangle {
  const bounds = scene.rooms.map((room) => room.bounds);
  return [
    Math.min(...bounds.map((b) => b[0])),
    Math.min(...bounds.map((b) => b[1])),
    Math.max(...bounds.map((b) => b[2])),
    Math.max(...bounds.map((b) => b[3])),
  ];
}

/** The room a place is in; null between rooms. */
export function roomAt(scene: SceneDescription, x: number, z: number): Room | null {
  return scene.rooms.find((r) => r.bounds[0] <= x && x <= r.bounds[2] && r.bounds[1] <= z && z <= r.bounds[3]) ?? null;
}
