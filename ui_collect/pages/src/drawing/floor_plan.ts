/** The home from above, drawn flat: legible at a glance, also where there is no WebGL. */

import type { Names } from "../acting/names.ts";
import type { Home } from "../household/home.ts";
import { footprint, homeBounds, roomAt, type Part, type Rectangle, type Vec2, type Vec3 } from "../wire/scene_types.ts";
import { handOf } from "./agent_model.ts";
import { drawAgentMark, type Cone } from "./agent_mark.ts";
import { DOOR_LEAF, MARK, css, tinted } from "./appearance.ts";
import type { Marked, Thing } from "./home_model.ts";
import { solidStretches } from "./shell.ts";

const MARGIN = 0.3;
const INK = "#2b2e36";
const FAINT_INK = "#585c66";
const PAPER = "#fafaf8";
const WALL = "#424650";
/** Pixels a metre needs before furniture and objects are named. */
const NAMING_SCALE = 44;
const TOUCH_PX = 16;
const CONE: Cone = { reach: 3.2, half: 0.62, alpha: 0.22 };

export class FloorPlan {
  readonly canvas: HTMLCanvasElement;
  private readonly home: Home;
  private readonly names: Names;
  private readonly ground = document.createElement("canvas");
  private readonly bounds: Rectangle;
  private scale = 1;
  private left = 0;
  private top = 0;
  private ratio = 1;

  constructor(canvas: HTMLCanvasElement, home: Home, names: Names) {
    this.canvas = canvas;
    this.home = home;
    this.names = names;
    this.bounds = homeBounds(home.episode.scene);
  }

  draw(now: number, marked: Marked): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.fit(width, height);
    const context = this.canvas.getContext("2d");
    if (context === null) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.ground, 0, 0);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.drawMarks(context, marked);
    this.drawDoors(context);
    for (const row of this.home.objects.values()) {
      if (row.relation !== "held") this.drawObject(context, row.index, [row.x, row.y, row.z]);
    }
    this.home.agents.forEach((_, index) => this.drawAgent(context, index, now));
    for (const row of this.home.objects.values()) {
      const holder = row.relation === "held" ? this.home.poseOf(row.parent, now) : null;
      if (holder) this.drawObject(context, row.index, handOf(holder));
    }
    if (this.scale >= NAMING_SCALE) this.nameObjects(context);
  }

  /** What lies under a point of the canvas, in CSS pixels. */
  thingAt(point: { x: number; y: number }): Thing | null {
    let nearest: { index: number; away: number } | null = null;
    for (const row of this.home.objects.values()) {
      if (row.relation === "held" || this.home.concealed(row)) continue;
      const [x, y] = this.at(row.x, row.z);
      const away = Math.hypot(x - point.x, y - point.y);
      if (away < Math.max(TOUCH_PX * 0.6, 0.16 * this.scale) && (nearest === null || away < nearest.away)) {
        nearest = { index: row.index, away };
      }
    }
    if (nearest !== null) return { kind: "object", index: nearest.index };
    const x = (point.x - this.left) / this.scale;
    const z = (point.y - this.top) / this.scale;
    const index = this.home.furniture.findIndex((_, i) => {
      const [x0, z0, x1, z1] = footprint(this.home.piece(i));
      return x0 <= x && x <= x1 && z0 <= z && z <= z1;
    });
    if (index >= 0) return { kind: "furniture", index };
    const room = roomAt(this.home.episode.scene, x, z);
    return room === null ? null : { kind: "floor", room: this.home.episode.scene.rooms.indexOf(room) };
  }

  // --- what never changes ----------------------------------------------------------------------------------------

  private fit(width: number, height: number): void {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width === w && this.canvas.height === h) return;
    this.canvas.width = this.ground.width = w;
    this.canvas.height = this.ground.height = h;
    this.ratio = ratio;
    const [x0, z0, x1, z1] = this.bounds;
    const [spanX, spanZ] = [x1 - x0 + 2 * MARGIN, z1 - z0 + 2 * MARGIN];
    this.scale = Math.min(width / spanX, height / spanZ);
    this.left = width / 2 - ((x0 + x1) / 2) * this.scale;
    this.top = height / 2 - ((z0 + z1) / 2) * this.scale;
    this.drawGround(width, height);
  }

  private drawGround(width: number, height: number): void {
    const context = this.ground.getContext("2d");
    if (context === null) return;
    const { scene } = this.home.episode;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = PAPER;
    context.fillRect(0, 0, width, height);
    for (const room of scene.rooms) {
      const [x0, z0, x1, z1] = room.bounds;
      const [left, top] = this.at(x0, z0);
      context.fillStyle = css(room.floor_color, 0.45);
      context.fillRect(left, top, (x1 - x0) * this.scale, (z1 - z0) * this.scale);
    }
    for (const piece of scene.furniture) {
      const parts = piece.parts.filter((part) => part.role !== "door");
      parts.sort((a, b) => a.center[1] + a.size[1] / 2 - (b.center[1] + b.size[1] / 2));
      for (const part of parts) this.drawPart(context, part, piece.position, piece.yaw, css(part.color, 0.2));
    }
    context.strokeStyle = WALL;
    for (const wall of scene.walls) {
      context.lineWidth = Math.max(1.5, wall.thickness * this.scale);
      context.lineCap = "square";
      for (const [start, end] of solidStretches(wall.start, wall.end, scene.doors)) this.line(context, start, end);
    }
    this.nameRooms(context);
    if (this.scale >= NAMING_SCALE) this.nameFurniture(context);
  }

  private nameRooms(context: CanvasRenderingContext2D): void {
    const size = Math.max(9, Math.min(16, 0.27 * this.scale));
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const room of this.home.episode.scene.rooms) {
      const text = this.names.of(room.name);
      const [x0, z0, x1, z1] = room.bounds;
      if (context.measureText(text).width > (x1 - x0) * this.scale * 0.98) continue;
      const [x, y] = this.at((x0 + x1) / 2, (z0 + z1) / 2);
      this.write(context, text, x, y, INK);
    }
  }

  private nameFurniture(context: CanvasRenderingContext2D): void {
    context.font = `${Math.max(10, 0.155 * this.scale)}px system-ui, sans-serif`;
    for (const piece of this.home.episode.scene.furniture) {
      const [x, y] = this.at(piece.position[0], piece.position[2]);
      this.write(context, this.names.short(piece.name, piece.room), x, y, FAINT_INK);
    }
  }

  // --- what changes ----------------------------------------------------------------------------------------------

  private drawMarks(context: CanvasRenderingContext2D, { target, furniture }: Marked): void {
    context.strokeStyle = css(MARK);
    for (const index of furniture) {
      const chosen = target?.kind === "furniture" && target.index === index;
      if (!chosen && this.scale < NAMING_SCALE) continue;
      const [x0, z0, x1, z1] = footprint(this.home.piece(index));
      const [left, top] = this.at(x0, z0);
      context.lineWidth = chosen ? 3 : 1;
      context.strokeRect(left - 2, top - 2, (x1 - x0) * this.scale + 4, (z1 - z0) * this.scale + 4);
    }
    const row = target?.kind === "object" ? this.home.objects.get(target.index) : undefined;
    if (row !== undefined && row.relation !== "held") {
      const [x, y] = this.at(row.x, row.z);
      context.lineWidth = 3;
      context.beginPath();
      context.arc(x, y, Math.max(8, 0.22 * this.scale), 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** A closed door as a bar in its doorway, an open one turned out of it. */
  private drawDoors(context: CanvasRenderingContext2D): void {
    context.lineCap = "round";
    context.lineWidth = Math.max(2, 0.06 * this.scale);
    this.home.episode.scene.doors.forEach((door, index) => {
      const [ax, az] = door.start;
      const [bx, bz] = door.end;
      const open = this.home.doors[index];
      context.strokeStyle = css(DOOR_LEAF, open ? 0.35 : 0);
      this.line(context, door.start, open ? [ax + (bz - az), az - (bx - ax)] : [bx, bz]);
    });
  }

  private drawObject(context: CanvasRenderingContext2D, index: number, position: Vec3): void {
    const row = this.home.objects.get(index);
    const shape = this.home.shape(index);
    if (row === undefined || shape === undefined) return;
    const away = this.home.concealed(row);
    context.strokeStyle = away ? FAINT_INK : INK;
    context.lineWidth = 1;
    for (const part of shape.parts) {
      const { color } = tinted(part.color, row, part.role === "lamp" ? 1 : 0);
      this.drawPart(context, part, position, 0, css(color, away ? 0.55 : 0), true);
    }
  }

  private drawPart(
    context: CanvasRenderingContext2D,
    part: Part,
    origin: Vec3,
    yaw: number,
    fill: string,
    edged = false,
  ): void {
    const cosine = Math.cos(yaw);
    const sine = Math.sin(yaw);
    const place = (x: number, z: number): [number, number] =>
      this.at(origin[0] + cosine * x + sine * z, origin[2] - sine * x + cosine * z);
    const [cx, , cz] = part.center;
    // Small things stay visible on a small map.
    const least = edged ? 2.5 / this.scale : 0;
    const hx = Math.max(part.size[0] / 2, least);
    const hz = Math.max((part.shape === "box" ? part.size[2] : part.size[0]) / 2, least);
    context.fillStyle = fill;
    context.beginPath();
    if (part.shape === "box") {
      const corners = [place(cx - hx, cz - hz), place(cx + hx, cz - hz), place(cx + hx, cz + hz), place(cx - hx, cz + hz)];
      corners.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
    } else {
      const [x, y] = place(cx, cz);
      context.arc(x, y, hx * this.scale, 0, 2 * Math.PI);
    }
    context.fill();
    if (edged) context.stroke();
  }

  private drawAgent(context: CanvasRenderingContext2D, index: number, now: number): void {
    const pose = this.home.poseOf(index, now);
    if (pose === null) return;
    const [x, y] = this.at(pose.x, pose.z);
    const radius = Math.max(5, 0.24 * this.scale);
    drawAgentMark(context, index, x, y, pose.yaw, radius, CONE);
  }

  private nameObjects(context: CanvasRenderingContext2D): void {
    context.font = `${Math.max(10, 0.13 * this.scale)}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const row of this.home.objects.values()) {
      if (row.relation === "held" || this.home.concealed(row)) continue;
      const [x, y] = this.at(row.x, row.z);
      this.write(context, this.names.of(this.home.objectName(row.index)), x, y + 0.12 * this.scale + 3, INK);
    }
    context.textBaseline = "middle";
  }

  private write(context: CanvasRenderingContext2D, text: string, x: number, y: number, color: string): void {
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.strokeStyle = "rgb(250 250 248 / 0.85)";
    context.strokeText(text, x, y);
    context.fillStyle = color;
    context.fillText(text, x, y);
  }

  private line(context: CanvasRenderingContext2D, start: Vec2, end: Vec2): void {
    context.beginPath();
    context.moveTo(...this.at(...start));
    context.lineTo(...this.at(...end));
    context.stroke();
  }

  private at(x: number, z: number): [number, number] {
    return [this.left + x * this.scale, this.top + z * this.scale];
  }
}
