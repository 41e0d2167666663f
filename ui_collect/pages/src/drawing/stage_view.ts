/**
 * The home through the person's eyes, and through the partner's: one WebGL context for both.
 *
 * The partner's view is drawn into a corner of the same canvas a few times a second and copied out before the
 * person's view goes over it, so that it can stand anywhere on the page.
 */

import { PerspectiveCamera, Raycaster, Vector2, Vector3, WebGLRenderer, type Mesh } from "three";
import type { LiveHome } from "../household/live_home.ts";
import type { Pose } from "../household/pose.ts";
import type { Vec3 } from "../wire/scene_types.ts";
import { FramePace } from "./frame_pace.ts";
import type { HomeModel, Thing } from "./home_model.ts";

export const EYE_HEIGHT = 1.5;
/** Looking a little down brings into view what stands on a table an arm's length away. */
export const GLANCE = (-18 * Math.PI) / 180;
/** Metres. */
const TOO_CLOSE = 0.6;
const SIDEWAYS_FOV = 86;
const TALLEST_FOV = 74;

export interface ScreenPoint {
  x: number;
  y: number;
}

export class StageView {
  readonly canvas: HTMLCanvasElement;
  /** Radians the person looks up (positive) or down. */
  pitch = GLANCE;
  readonly pace: FramePace;
  private readonly renderer: WebGLRenderer;
  private readonly camera = new PerspectiveCamera(60, 1, 0.05, 60);
  private readonly partnerCamera = new PerspectiveCamera(60, 1, 0.05, 60);
  private readonly ray = new Raycaster();
  private readonly partnerCanvas: HTMLCanvasElement;
  private readonly home: LiveHome;
  private readonly model: HomeModel;
  private partnerDrawn = -Infinity;
  private ratio = 0;

  /** @throws Error where the browser gives no WebGL. */
  constructor(canvas: HTMLCanvasElement, partnerCanvas: HTMLCanvasElement, home: LiveHome, model: HomeModel) {
    this.canvas = canvas;
    this.partnerCanvas = partnerCanvas;
    this.home = home;
    this.model = model;
    const software = drawsInSoftware();
    this.renderer = new WebGLRenderer({ canvas, antialias: !software, powerPreference: "low-power", alpha: false });
    this.renderer.autoClear = false;
    this.pace = new FramePace(software);
    this.camera.rotation.order = this.partnerCamera.rotation.order = "YXZ";
  }

  /** Make ready what draws, while there is nothing to draw yet. */
  warmUp(): void {
    this.renderer.compile(this.model.scene, this.camera);
  }

  draw(now: number): void {
    const own = this.home.poseOf(this.home.human, now);
    if (own === null || this.canvas.clientWidth === 0) return;
    this.fit();
    if (now - this.partnerDrawn >= this.pace.partnerEvery) {
      this.partnerDrawn = now;
      this.drawPartner(now);
    }
    const { clientWidth: width, clientHeight: height } = this.canvas;
    aim(this.camera, own, this.pitch, width / height);
    this.renderer.setViewport(0, 0, width, height);
    this.renderer.setScissorTest(false);
    renderThrough(this.renderer, this.model, this.camera, this.home.human, now);
    this.pace.drawn(now);
  }

  /** What the person sees at a place of the canvas, in CSS pixels from its corner. */
  thingAt(point: ScreenPoint): Thing | null {
    return this.hit(point)?.thing ?? null;
  }

  hit(point: ScreenPoint): { thing: Thing; at: Vec3; distance: number } | null {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return null;
    this.ray.setFromCamera(new Vector2((point.x / width) * 2 - 1, 1 - (point.y / height) * 2), this.camera);
    // Rays do not ask whether a mesh is shown, and a hidden door must not be in the way of what is inside.
    const meshes = this.model.touchable.filter(isShown);
    const first = this.ray.intersectObjects(meshes, false)[0];
    if (first === undefined) return null;
    const thing = first.object.userData["thing"] as Thing;
    return { thing, at: first.point.toArray(), distance: first.distance };
  }

  /** Where a point of the home is on the canvas; null where it is behind or beside the view. */
  project(point: Vec3): ScreenPoint | null {
    const projected = new Vector3(...point).project(this.camera);
    if (projected.z > 1 || Math.abs(projected.x) > 1.05 || Math.abs(projected.y) > 1.05) return null;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return { x: ((projected.x + 1) / 2) * width, y: ((1 - projected.y) / 2) * height };
  }

  dispose(): void {
    this.renderer.dispose();
    // Browsers keep only so many contexts, and a session has many plays.
    this.renderer.forceContextLoss();
  }

  private drawPartner(now: number): void {
    const partner = this.home.partner;
    const target = this.partnerCanvas;
    const pose = partner === null ? null : this.home.poseOf(partner, now);
    if (partner === null || pose === null || target.clientWidth === 0) return;
    const width = Math.min(target.clientWidth, this.canvas.clientWidth);
    const height = Math.min(target.clientHeight, this.canvas.clientHeight);
    aim(this.partnerCamera, pose, GLANCE, width / height);
    this.renderer.setViewport(0, 0, width, height);
    this.renderer.setScissor(0, 0, width, height);
    this.renderer.setScissorTest(true);
    renderThrough(this.renderer, this.model, this.partnerCamera, partner, now);
    const [w, h] = [Math.floor(width * this.ratio), Math.floor(height * this.ratio)];
    if (target.width !== w || target.height !== h) [target.width, target.height] = [w, h];
    // GL counts rows from the bottom: what was drawn lies in the canvas's lower left corner.
    target.getContext("2d")?.drawImage(this.canvas, 0, this.canvas.height - h, w, h, 0, 0, w, h);
  }

  private fit(): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = this.pace.pixelRatio;
    if (ratio !== this.ratio) this.renderer.setPixelRatio((this.ratio = ratio));
    const [w, h] = [Math.floor(width * ratio), Math.floor(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) this.renderer.setSize(width, height, false);
  }
}

/** Draw what an agent sees through a camera at its eyes. */
export function renderThrough(
  renderer: WebGLRenderer,
  model: HomeModel,
  camera: PerspectiveCamera,
  agent: number,
  now: number,
): void {
  const { x, z } = camera.position;
  // Agents walk through each other: one's own body, and one that one stands in, would fill the picture.
  const hidden = model.agents.filter(
    ({ group }, index) =>
      group.visible && (index === agent || Math.hypot(group.position.x - x, group.position.z - z) < TOO_CLOSE),
  );
  for (const { group } of hidden) group.visible = false;
  model.holdBefore(camera, agent, now);
  renderer.clear();
  renderer.render(model.scene, camera);
  model.holdBefore(null, agent, now);
  for (const { group } of hidden) group.visible = true;
}

/** Put a camera at an agent's eyes. */
export function aim(camera: PerspectiveCamera, pose: Pose, pitch: number, aspect: number): void {
  camera.position.set(pose.x, EYE_HEIGHT, pose.z);
  // A camera looks along −z; agents with yaw 0 face along +x.
  camera.rotation.set(pitch, pose.yaw - Math.PI / 2, 0);
  const sideways = Math.tan((SIDEWAYS_FOV / 2) * (Math.PI / 180));
  const upright = (2 * Math.atan(sideways / aspect) * 180) / Math.PI;
  camera.aspect = aspect;
  camera.fov = Math.min(upright, TALLEST_FOV);
  camera.updateProjectionMatrix();
  camera.updateMatrixWorld(true);
}

function isShown(mesh: Mesh): boolean {
  return mesh.visible && (mesh.parent === null || mesh.parent.visible);
}

/** Whether the browser would draw on the processor. */
export function drawsInSoftware(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (gl === null) throw new Error("no WebGL");
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}
