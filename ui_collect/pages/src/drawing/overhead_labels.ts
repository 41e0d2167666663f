/** What is written over the home seen from above: rooms, things, and who is where, looking which way. */

import type { Names } from "../acting/names.ts";
import type { Home } from "../household/home.ts";
import { footprint, type Vec3 } from "../wire/scene_types.ts";
import { drawAgentMark, type Cone } from "./agent_mark.ts";
import { MARK, css } from "./appearance.ts";
import type { Thing } from "./home_model.ts";
import type { ScreenPoint } from "./stage_view.ts";

const INK = "#23262d";
const FAINT_INK = "#4b505a";
const HALO = "rgb(250 250 248 / 0.82)";
const AGENT_HEIGHT = 1.7;
const CONE: Cone = { reach: 3.4, half: 0.6, alpha: 0.26 };
/** Pixels a metre needs before furniture and objects are named. */
const NAMING_SCALE = 40;

/** Left, top, right, bottom on the screen. */
type Box = readonly [number, number, number, number];

export interface Labelled {
  home: Home;
  names: Names;
  /** What agents are called. */
  agents: readonly string[];
  target: Thing | null;
  now: number;
}

/** Write all of it; `project` says where a point of the home is on the canvas. */
export function writeLabels(canvas: HTMLCanvasElement, project: (point: Vec3) => ScreenPoint, what: Labelled): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  if (context === null) return;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.textAlign = "center";
  context.textBaseline = "middle";
  const scale = Math.abs(project([1, 0, 0]).x - project([0, 0, 0]).x);
  const taken: Box[] = [];
  nameRooms(context, project, what, scale, taken);
  if (scale >= NAMING_SCALE) nameThings(context, project, what, scale, taken);
  ringTarget(context, project, what, scale);
  what.home.agents.forEach((_, index) => drawAgent(context, project, what, index, scale));
}

function nameRooms(
  context: CanvasRenderingContext2D,
  project: (point: Vec3) => ScreenPoint,
  what: Labelled,
  scale: number,
  taken: Box[],
): void {
  context.font = `700 ${Math.min(17, Math.max(10, 0.2 * scale))}px system-ui, sans-serif`;
  for (const room of what.home.episode.scene.rooms) {
    const [x0, z0, x1, z1] = room.bounds;
    const text = what.names.of(room.name);
    if (context.measureText(text).width > (x1 - x0) * scale * 0.95) continue;
    const place = project([(x0 + x1) / 2, 0, (z0 + z1) / 2]);
    taken.push(boxOf(context, text, place));
    write(context, text, place, INK);
  }
}

/** Objects first: they are what it is about. Furniture keeps its name where that lies over no other. */
function nameThings(
  context: CanvasRenderingContext2D,
  project: (point: Vec3) => ScreenPoint,
  what: Labelled,
  scale: number,
  taken: Box[],
): void {
  const { home, names } = what;
  context.font = `600 ${Math.min(13, Math.max(10, 0.15 * scale))}px system-ui, sans-serif`;
  for (const row of home.objects.values()) {
    if (row.relation === "held" || home.concealed(row)) continue;
    const text = names.of(home.objectName(row.index));
    const { x, y } = project([row.x, row.y + 0.1, row.z]);
    const place = { x, y: y + 0.1 * scale + 8 };
    taken.push(boxOf(context, text, place));
    write(context, text, place, INK);
  }
  context.font = `${Math.min(13, Math.max(9.5, 0.145 * scale))}px system-ui, sans-serif`;
  for (const piece of home.episode.scene.furniture) {
    const text = names.short(piece.name, piece.room);
    const place = project([piece.position[0], piece.size[1], piece.position[2]]);
    const box = boxOf(context, text, place);
    if (taken.some((other) => overlap(box, other))) continue;
    taken.push(box);
    write(context, text, place, FAINT_INK);
  }
}

function boxOf(context: CanvasRenderingContext2D, text: string, { x, y }: ScreenPoint): Box {
  const half = context.measureText(text).width / 2 + 2;
  return [x - half, y - 7, x + half, y + 7];
}

function overlap(a: Box, b: Box): boolean {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}

function ringTarget(context: CanvasRenderingContext2D, project: (point: Vec3) => ScreenPoint, what: Labelled, scale: number): void {
  const { home, target } = what;
  context.strokeStyle = css(MARK);
  context.lineWidth = 3;
  if (target?.kind === "object") {
    const row = home.objects.get(target.index);
    const holder = row?.relation === "held" ? home.poseOf(row.parent, what.now) : null;
    if (row === undefined) return;
    const { x, y } = project(holder === null ? [row.x, row.y, row.z] : [holder.x, 1.2, holder.z]);
    context.beginPath();
    context.arc(x, y, Math.max(10, 0.24 * scale), 0, 2 * Math.PI);
    context.stroke();
  } else if (target?.kind === "furniture") {
    const piece = home.piece(target.index);
    outline(context, project, footprint(piece), piece.size[1], 3);
  } else if (target?.kind === "floor") {
    const bounds = home.episode.scene.rooms[target.room]?.bounds;
    if (bounds) outline(context, project, bounds, 0, -4);
  }
}

function outline(
  context: CanvasRenderingContext2D,
  project: (point: Vec3) => ScreenPoint,
  [x0, z0, x1, z1]: readonly [number, number, number, number],
  height: number,
  beyond: number,
): void {
  const a = project([x0, height, z0]);
  const b = project([x1, height, z1]);
  context.strokeRect(a.x - beyond, a.y - beyond, b.x - a.x + 2 * beyond, b.y - a.y + 2 * beyond);
}

function drawAgent(
  context: CanvasRenderingContext2D,
  project: (point: Vec3) => ScreenPoint,
  what: Labelled,
  index: number,
  scale: number,
): void {
  const pose = what.home.poseOf(index, what.now);
  if (pose === null) return;
  const { x, y } = project([pose.x, AGENT_HEIGHT, pose.z]);
  const radius = Math.min(15, Math.max(7, 0.21 * scale));
  drawAgentMark(context, index, x, y, pose.yaw, radius, CONE);
  context.font = "700 12px system-ui, sans-serif";
  const name = what.agents[index] ?? "";
  const width = context.measureText(name).width + 10;
  context.fillStyle = "#ffffff";
  context.beginPath();
  context.roundRect(x - width / 2, y - radius - 20, width, 17, 8);
  context.fill();
  context.fillStyle = INK;
  context.fillText(name, x, y - radius - 11);
}

function write(context: CanvasRenderingContext2D, text: string, { x, y }: ScreenPoint, color: string): void {
  context.lineWidth = 3.5;
  context.lineJoin = "round";
  context.strokeStyle = HALO;
  context.strokeText(text, x, y);
  context.fillStyle = color;
  context.fillText(text, x, y);
}
