/** An agent seen from above: a disc with an arrow where it looks, and the cone it looks into. */

import { agentColor, css } from "./appearance.ts";

export interface Cone {
  /** Length, in radii of the disc. */
  reach: number;
  /** Half its angle, radians. */
  half: number;
  alpha: number;
}

/** Draw it at a point of the canvas; leaves the context as it was. */
export function drawAgentMark(
  context: CanvasRenderingContext2D,
  index: number,
  x: number,
  y: number,
  yaw: number,
  radius: number,
  cone: Cone,
): void {
  context.save();
  context.translate(x, y);
  context.rotate(-yaw);
  context.fillStyle = css(agentColor(index), 0, cone.alpha);
  context.beginPath();
  context.moveTo(0, 0);
  context.arc(0, 0, radius * cone.reach, -cone.half, cone.half);
  context.closePath();
  context.fill();
  context.fillStyle = css(agentColor(index));
  context.strokeStyle = "#ffffff";
  context.lineWidth = 2;
  context.beginPath();
  context.arc(0, 0, radius, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  context.fillStyle = "#ffffff";
  context.beginPath();
  context.moveTo(radius * 0.78, 0);
  context.lineTo(-radius * 0.3, radius * 0.5);
  context.lineTo(-radius * 0.3, -radius * 0.5);
  context.closePath();
  context.fill();
  context.restore();
}
