/**
 * A recorded play in three dimensions: the whole home from above with its ceilings off, or what either agent sees.
 *
 * One WebGL context draws the large view and, into a corner of it first, the small one, which is copied out.
 */

import { PerspectiveCamera, Vector3, WebGLRenderer } from "three";
import type { Home } from "../household/home.ts";
import { homeBounds, type Vec3 } from "../wire/scene_types.ts";
import { FramePace } from "./frame_pace.ts";
import type { HomeModel } from "./home_model.ts";
import { ceilingHeight } from "./shell.ts";
import { GLANCE, aim, drawsInSoftware, renderThrough, type ScreenPoint } from "./stage_view.ts";

/** Whose eyes, or from above. */
export type Viewpoint = "above" | number;

/** Narrow, so that walls seen from above hide little of what stands beside them. */
const ABOVE_FOV = 16;
const MARGIN_M = 0.35;

export class ReplayStage {
  readonly pace: FramePace;
  private readonly canvas: HTMLCanvasElement;
  private readonly home: Home;
  private readonly model: HomeModel;
  private readonly renderer: WebGLRenderer;
  private readonly eyes = new PerspectiveCamera(60, 1, 0.05, 60);
  private readonly above = new PerspectiveCamera(ABOVE_FOV, 1, 1, 200);
  private ratio = 0;

  /** @throws Error where the browser gives no WebGL. */
  constructor(canvas: HTMLCanvasElement, home: Home, model: HomeModel) {
    this.canvas = canvas;
    this.home = home;
    this.model = model;
    const software = drawsInSoftware();
    this.renderer = new WebGLRenderer({ canvas, antialias: !software, powerPreference: "low-power", alpha: false });
    this.renderer.autoClear = false;
    this.pace = new FramePace(software);
    this.eyes.rotation.order = "YXZ";
    this.above.rotation.set(-Math.PI / 2, 0, 0);
  }

  /**
   * Draw the large view.
   *
   * @param small an agent's view that goes into a canvas of its own.
   * @param covered what lies over the upper right corner, CSS pixels: from above, the home is drawn beside or below it.
   */
  draw(
    view: Viewpoint,
    small: { agent: number; into: HTMLCanvasElement } | null,
    covered: { width: number; height: number },
    now: number,
  ): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.fit(width, height);
    if (small !== null) this.drawSmall(small.agent, small.into, now);
    this.renderer.setViewport(0, 0, width, height);
    this.renderer.setScissorTest(false);
    if (view === "above") this.drawAbove(width, height, covered);
    else this.drawEyes(view, width / height, now);
    this.pace.drawn(now);
  }

  /** Where a point of the home is in the view from above, in CSS pixels. */
  project(point: Vec3): ScreenPoint {
    const projected = new Vector3(...point).project(this.above);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return { x: ((projected.x + 1) / 2) * width, y: ((1 - projected.y) / 2) * height };
  }

  dispose(): void {
    this.renderer.dispose();
    // Browsers keep only so many contexts, and an annotator looks at many plays.
    this.renderer.forceContextLoss();
  }

  private drawAbove(width: number, height: number, covered: { width: number; height: number }): void {
    const [x0, z0, x1, z1] = homeBounds(this.home.episode.scene);
    const top = ceilingHeight(this.home.episode.scene);
    const [spanX, spanZ] = [x1 - x0 + 2 * MARGIN_M, z1 - z0 + 2 * MARGIN_M];
    const scale = (right: number, above: number): number => Math.min((width - right) / spanX, (height - above) / spanZ);
    const beside = scale(covered.width, 0);
    const below = scale(0, covered.height);
    const [right, above] = beside >= below ? [covered.width, 0] : [0, covered.height];
    // The ceiling is nearest to the camera, and has to fit.
    const away = height / Math.max(beside, below) / 2 / Math.tan((ABOVE_FOV / 2) * (Math.PI / 180));
    this.above.position.set((x0 + x1) / 2, top + away, (z0 + z1) / 2);
    this.above.aspect = width / height;
    this.above.setViewOffset(width, height, right / 2, -above / 2, width, height);
    this.above.updateProjectionMatrix();
    this.above.updateMatrixWorld(true);
    this.model.openAbove(true);
    this.renderer.clear();
    this.renderer.render(this.model.scene, this.above);
    this.model.openAbove(false);
  }

  private drawEyes(agent: number, aspect: number, now: number): void {
    const pose = this.home.poseOf(agent, now);
    if (pose === null) return this.renderer.clear();
    aim(this.eyes, pose, GLANCE, aspect);
    renderThrough(this.renderer, this.model, this.eyes, agent, now);
  }

  private drawSmall(agent: number, into: HTMLCanvasElement, now: number): void {
    const width = Math.min(into.clientWidth, this.canvas.clientWidth);
    const height = Math.min(into.clientHeight, this.canvas.clientHeight);
    if (!width || !height) return;
    this.renderer.setViewport(0, 0, width, height);
    this.renderer.setScissor(0, 0, width, height);
    this.renderer.setScissorTest(true);
    this.drawEyes(agent, width / height, now);
    const [w, h] = [Math.floor(width * this.ratio), Math.floor(height * this.ratio)];
    if (into.width !== w || into.height !== h) [into.width, into.height] = [w, h];
    // GL counts rows from the bottom: what was drawn lies in the canvas's lower left corner.
    into.getContext("2d")?.drawImage(this.canvas, 0, this.canvas.height - h, w, h, 0, 0, w, h);
  }

  private fit(width: number, height: number): void {
    const ratio = this.pace.pixelRatio;
    if (ratio !== this.ratio) this.renderer.setPixelRatio((this.ratio = ratio));
    const [w, h] = [Math.floor(width * ratio), Math.floor(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) this.renderer.setSize(width, height, false);
  }
}
