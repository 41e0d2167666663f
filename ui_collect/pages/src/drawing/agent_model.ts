/** How an agent looks: legs, trunk, head with a visor to the front, and an arm that is raised while it holds. */

import { BufferAttribute, BufferGeometry, Group, Mesh } from "three";
import type { Pose } from "../household/pose.ts";
import type { Color, Part, Vec3 } from "../wire/scene_types.ts";
import { AGENT_HEAD, AGENT_LEGS, AGENT_VISOR, agentColor } from "./appearance.ts";
import { shadowMaterial, solidMaterial } from "./materials.ts";
import { SolidGatherer } from "./solids.ts";

const HAND_AHEAD = 0.48;
const HAND_ASIDE = 0.2;
const HAND_HEIGHT = 1.14;

export class AgentModel {
  readonly group = new Group();
  private readonly hanging: Mesh;
  private readonly raised: Mesh;

  constructor(agent: number) {
    const color = agentColor(agent);
    const sleeve: Color = [0.82 * color[0], 0.82 * color[1], 0.82 * color[2]];
    const arm = (side: number): Part => solid("cylinder", [0, 1.02, side * 0.22], [0.1, 0.6, 0.1], sleeve);
    const trunk = mesh([
      solid("cylinder", [0, 0.36, 0], [0.26, 0.72, 0.26], AGENT_LEGS),
      solid("cylinder", [0, 1, 0], [0.36, 0.62, 0.36], color),
      solid("sphere", [0, 1.3, 0], [0.36, 0.36, 0.36], color),
      solid("sphere", [0, 1.56, 0], [0.28, 0.28, 0.28], AGENT_HEAD),
      solid("box", [0.1, 1.58, 0], [0.09, 0.07, 0.16], AGENT_VISOR),
      arm(-1),
    ]);
    this.hanging = mesh([arm(1)]);
    this.raised = mesh([solid("box", [0.2, HAND_HEIGHT - 0.04, HAND_ASIDE], [0.5, 0.08, 0.08], sleeve)]);
    this.group.add(trunk, this.hanging, this.raised, shadow());
  }

  follow(pose: Pose, holding: boolean): void {
    this.group.position.set(pose.x, 0, pose.z);
    this.group.rotation.y = pose.yaw;
    this.hanging.visible = !holding;
    this.raised.visible = holding;
  }
}

/** Where the underside of a held object is. */
export function handOf(pose: Pose): Vec3 {
  const cosine = Math.cos(pose.yaw);
  const sine = Math.sin(pose.yaw);
  return [
    pose.x + cosine * HAND_AHEAD + sine * HAND_ASIDE,
    HAND_HEIGHT,
    pose.z - sine * HAND_AHEAD + cosine * HAND_ASIDE,
  ];
}

function solid(shape: Part["shape"], center: Vec3, size: Vec3, color: Color): Part {
  return { shape, center, size, color, role: "body" };
}

function mesh(parts: Part[]): Mesh {
  const solids = new SolidGatherer();
  for (const part of parts) solids.part(part, { color: part.color, glow: 0 });
  return new Mesh(solids.build(), solidMaterial());
}

function shadow(): Mesh {
  const [half, soft] = [0.08, 0.26];
  const reach = half + soft;
  const geometry = new BufferGeometry();
  const corners = [-reach, 0.006, -reach, -reach, 0.006, reach, reach, 0.006, reach, reach, 0.006, -reach];
  geometry.setAttribute("position", new BufferAttribute(new Float32Array(corners), 3));
  const local = [-reach, -reach, -reach, reach, reach, reach, reach, -reach];
  geometry.setAttribute("local", new BufferAttribute(new Float32Array(local), 2));
  const extent = Array.from({ length: 4 }, () => [half, half, soft]).flat();
  geometry.setAttribute("extent", new BufferAttribute(new Float32Array(extent), 3));
  geometry.setIndex([0, 1, 2, 0, 2, 3]);
  return new Mesh(geometry, shadowMaterial());
}
