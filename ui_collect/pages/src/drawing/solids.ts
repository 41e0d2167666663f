/**
 * Solids gathered into one mesh: what never moves on its own becomes a single draw.
 *
 * Colours are kept per vertex together with how much they shine by themselves, so that one material draws everything.
 */

import { BufferAttribute, BufferGeometry, Matrix3, Matrix4, Vector3 } from "three";
import type { FileSolid } from "./home_file.ts";
import type { Color, Part, Vec3 } from "../wire/scene_types.ts";

const SIDES = 16;
const RINGS = 8;

export interface Paint {
  color: Color;
  glow: number;
}

interface Placement {
  origin: Vec3;
  yaw: number;
}

const HERE: Placement = { origin: [0, 0, 0], yaw: 0 };

interface UnitMesh {
  positions: readonly Vec3[];
  normals: readonly Vec3[];
  triangles: readonly number[];
}

export class SolidGatherer {
  private readonly positions: number[] = [];
  private readonly normals: number[] = [];
  private readonly colors: number[] = [];
  private readonly triangles: number[] = [];

  get empty(): boolean {
    return this.triangles.length === 0;
  }

  /** Add a part of something that stands at `place`; `foot` darkens its lower end. */
  part(part: Part, paint: Paint, place: Placement = HERE, foot = 1): void {
    const [width, height] = part.size;
    const size: Vec3 =
      part.shape === "box" ? part.size : part.shape === "cylinder" ? [width, height, width] : [width, width, width];
    const cosine = Math.cos(place.yaw);
    const sine = Math.sin(place.yaw);
    const center: Vec3 = [
      place.origin[0] + cosine * part.center[0] + sine * part.center[2],
      place.origin[1] + part.center[1],
      place.origin[2] - sine * part.center[0] + cosine * part.center[2],
    ];
    const { color, glow } = paint;
    const dark: Paint = { color: [color[0] * foot, color[1] * foot, color[2] * foot], glow };
    this.mesh(UNIT[part.shape], center, size, place.yaw, (y) => (y < center[1] ? dark : paint));
  }

  /**
   * Add a solid of a home's file.
   *
   * @param into from the home's frame to that of the mesh that is being gathered; both upright.
   * @param paintAt its colours, by whether they are those of its lower end.
   */
  file(solid: FileSolid, into: Matrix4 | null, paintAt: (low: boolean) => Paint): void {
    const first = this.positions.length / 3;
    const matrix = into === null ? solid.matrix : new Matrix4().multiplyMatrices(into, solid.matrix);
    const turned = new Matrix3().getNormalMatrix(matrix);
    const middle = matrix.elements[13]!;
    const vector = new Vector3();
    for (let i = 0; i < solid.positions.count; i++) {
      vector.fromBufferAttribute(solid.positions, i).applyMatrix4(matrix);
      this.positions.push(vector.x, vector.y, vector.z);
      const { color, glow } = paintAt(vector.y < middle);
      this.colors.push(color[0], color[1], color[2], glow);
      vector.fromBufferAttribute(solid.normals, i).applyNormalMatrix(turned);
      this.normals.push(vector.x, vector.y, vector.z);
    }
    for (const index of solid.triangles.array) this.triangles.push(first + index);
  }

  build(): BufferGeometry {
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(new Float32Array(this.positions), 3));
    geometry.setAttribute("normal", new BufferAttribute(new Float32Array(this.normals), 3));
    geometry.setAttribute("paint", new BufferAttribute(new Float32Array(this.colors), 4));
    const count = this.positions.length / 3;
    const indices = count > 65_535 ? new Uint32Array(this.triangles) : new Uint16Array(this.triangles);
    geometry.setIndex(new BufferAttribute(indices, 1));
    return geometry;
  }

  private mesh(unit: UnitMesh, center: Vec3, size: Vec3, yaw: number, paintAt: (y: number) => Paint): void {
    const first = this.positions.length / 3;
    const cosine = Math.cos(yaw);
    const sine = Math.sin(yaw);
    unit.positions.forEach((position, i) => {
      const x = position[0] * size[0];
      const y = position[1] * size[1];
      const z = position[2] * size[2];
      this.positions.push(center[0] + cosine * x + sine * z, center[1] + y, center[2] - sine * x + cosine * z);
      const [nx, ny, nz] = unit.normals[i]!;
      this.normals.push(cosine * nx + sine * nz, ny, -sine * nx + cosine * nz);
      const { color, glow } = paintAt(center[1] + y);
      this.colors.push(color[0], color[1], color[2], glow);
    });
    for (const index of unit.triangles) this.triangles.push(first + index);
  }
}

function boxMesh(): UnitMesh {
  const positions: Vec3[] = [];
  const normals: Vec3[] = [];
  const triangles: number[] = [];
  for (let axis = 0; axis < 3; axis++) {
    for (const side of [-1, 1]) {
      const first = positions.length;
      const normal: [number, number, number] = [0, 0, 0];
      normal[axis] = side;
      for (const [u, v] of [
        [-0.5, -0.5],
        [0.5, -0.5],
        [0.5, 0.5],
        [-0.5, 0.5],
      ] as const) {
        const corner: [number, number, number] = [0, 0, 0];
        corner[axis] = side / 2;
        corner[(axis + 1) % 3] = u;
        corner[(axis + 2) % 3] = v;
        positions.push(corner);
        normals.push(normal);
      }
      const turn = side > 0 ? [0, 1, 2, 0, 2, 3] : [0, 2, 1, 0, 3, 2];
      triangles.push(...turn.map((i) => first + i));
    }
  }
  return { positions, normals, triangles };
}

function cylinderMesh(): UnitMesh {
  const positions: Vec3[] = [];
  const normals: Vec3[] = [];
  const triangles: number[] = [];
  const rim = Array.from({ length: SIDES }, (_, k) => {
    const angle = (2 * Math.PI * k) / SIDES;
    return [Math.cos(angle), -Math.sin(angle)] as const;
  });
  for (const y of [-0.5, 0.5]) {
    for (const [x, z] of rim) {
      positions.push([x / 2, y, z / 2]);
      normals.push([x, 0, z]);
    }
  }
  for (let k = 0; k < SIDES; k++) {
    const after = (k + 1) % SIDES;
    triangles.push(k, after, SIDES + after, k, SIDES + after, SIDES + k);
  }
  for (const y of [-0.5, 0.5]) {
    const first = positions.length;
    for (const [x, z] of rim) {
      positions.push([x / 2, y, z / 2]);
      normals.push([0, 2 * y, 0]);
    }
    for (let k = 1; k < SIDES - 1; k++) {
      triangles.push(...(y > 0 ? [first, first + k, first + k + 1] : [first, first + k + 1, first + k]));
    }
  }
  return { positions, normals, triangles };
}

function sphereMesh(): UnitMesh {
  const normals: Vec3[] = [];
  const triangles: number[] = [];
  for (let ring = 0; ring <= RINGS; ring++) {
    const polar = (Math.PI * ring) / RINGS;
    for (let k = 0; k < SIDES; k++) {
      const around = (2 * Math.PI * k) / SIDES;
      normals.push([Math.sin(polar) * Math.cos(around), Math.cos(polar), -Math.sin(polar) * Math.sin(around)]);
    }
  }
  for (let ring = 0; ring < RINGS; ring++) {
    for (let k = 0; k < SIDES; k++) {
      const after = (k + 1) % SIDES;
      const [upper, lower] = [ring * SIDES, (ring + 1) * SIDES];
      if (ring < RINGS - 1) triangles.push(upper + k, lower + k, lower + after);
      if (ring > 0) triangles.push(upper + k, lower + after, upper + after);
    }
  }
  return { positions: normals.map(([x, y, z]) => [x / 2, y / 2, z / 2]), normals, triangles };
}

const UNIT: Record<Part["shape"], UnitMesh> = { box: boxMesh(), cylinder: cylinderMesh(), sphere: sphereMesh() };
