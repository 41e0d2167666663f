/**
 * A home as a three.js scene: a few merged meshes for what never changes, a small one for everything that does. What
 * belongs to the home comes out of its file, objects and agents out of what the server says of them.
 *
 * What a click may mean is written on the meshes (`userData.thing`), so that whoever casts a ray knows what it hit.
 */

import {
  BufferAttribute,
  BufferGeometry,
  EdgesGeometry,
  BoxGeometry,
  Group,
  LineBasicMaterial,
  LineSegments,
  Matrix4,
  Mesh,
  Scene,
  Color as ThreeColor,
  type Camera,
  type ShaderMaterial,
} from "three";
import type { Home } from "../household/home.ts";
import type { ObjectRow } from "../wire/keyframes.ts";
import { footprint, type Door, type Vec3 } from "../wire/scene_types.ts";
import { AgentModel, handOf } from "./agent_model.ts";
import { BACKGROUND, MARK, NO_STATES, UNLIT_SHARE, tinted } from "./appearance.ts";
import type { FileSolid, HomeFile } from "./home_file.ts";
import { floorMaterial, rimMaterial, shadowMaterial, solidMaterial } from "./materials.ts";
import { SolidGatherer, type Paint } from "./solids.ts";

/** What a ray may hit. */
export type Thing =
  | { kind: "object"; index: number }
  | { kind: "furniture"; index: number }
  | { kind: "floor"; room: number }
  | { kind: "agent"; index: number }
  | { kind: "wall" };

export interface Marked {
  /** What can be acted on. */
  objects: ReadonlySet<number>;
  furniture: ReadonlySet<number>;
  /** What will be acted on. */
  target: Thing | null;
}

interface FurnitureModel {
  group: Group;
  body: Mesh<BufferGeometry, ShaderMaterial>;
  door: Mesh<BufferGeometry, ShaderMaterial> | null;
  solids: readonly FileSolid[];
  lamps: readonly FileSolid[];
  frame: LineSegments;
  seen: string;
}

interface ObjectModel {
  mesh: Mesh<BufferGeometry, ShaderMaterial>;
  seen: string;
}

/** Right, up and back from the eyes, metres. */
const HELD_AT: Vec3 = [0.36, -0.36, -0.8];
const LEAF_SECONDS = 0.25;
/** Walls are a little darker at their feet, as if light came from above. */
const WALL_FOOT = 0.9;
/** Furniture is a little darker towards the floor, so that large faces are not all one colour. */
const FOOT_SHADE = 0.88;

export class HomeModel {
  readonly scene = new Scene();
  /** What a ray is cast against. */
  readonly touchable: Mesh[] = [];
  readonly agents: AgentModel[];
  private readonly home: Home;
  private furniture: readonly FurnitureModel[] = [];
  private readonly objects = new Map<number, ObjectModel>();
  private leaves: readonly { group: Group; along: Vec3; shift: number; width: number }[] = [];
  private readonly rim: Mesh<BufferGeometry, ShaderMaterial>;
  private ceiling: Mesh | null = null;
  private readonly still: boolean;
  private followed = -1;

  constructor(home: Home, still: boolean) {
    this.home = home;
    this.still = still;
    this.scene.background = new ThreeColor().setRGB(...BACKGROUND);
    this.scene.matrixAutoUpdate = false;
    this.addShadows();
    this.agents = home.agents.map((_, index) => new AgentModel(index));
    for (const agent of this.agents) this.scene.add(agent.group);
    this.rim = new Mesh(new BufferGeometry(), rimMaterial());
    this.rim.visible = false;
    this.scene.add(this.rim);
  }

  /** Whether the home's file has come; nothing is worth drawing before. */
  get ready(): boolean {
    return this.ceiling !== null;
  }

  /** The home's file has come. */
  build(file: HomeFile): void {
    const { scene } = this.home.episode;
    this.addFloors(file);
    this.addMesh(gathered(file.solids("walls"), wallPaint), { kind: "wall" });
    const ceilings = scene.rooms.flatMap(({ name }) => file.solids(`ceiling_${name}`));
    this.ceiling = this.addMesh(gathered(ceilings), { kind: "wall" });
    this.furniture = this.home.furniture.map((_, index) => this.addFurniture(index, file));
    this.leaves = scene.doors.map((door) => this.addLeaf(door, file));
    this.followed = -1;
  }

  /** Bring everything up to date with the home. */
  follow(now: number, seconds: number): void {
    const { home } = this;
    if (home.revision !== this.followed) {
      this.followed = home.revision;
      this.furniture.forEach((model, index) => this.followFurniture(model, index));
      for (const row of home.objects.values()) this.followObject(row);
      for (const [index, model] of this.objects) if (!home.objects.has(index)) this.drop(index, model);
    }
    this.agents.forEach((agent, index) => {
      const row = home.agents[index];
      const pose = home.poseOf(index, now);
      agent.group.visible = row != null && pose !== null;
      if (row != null && pose !== null) agent.follow(pose, row.held !== null);
    });
    for (const row of home.objects.values()) if (row.relation === "held") this.followHand(row, now);
    this.leaves.forEach((leaf, index) => {
      const goal = home.doors[index] ? 1 : 0;
      if (leaf.shift === goal) return;
      const step = this.still ? 1 : seconds / LEAF_SECONDS;
      leaf.shift = goal > leaf.shift ? Math.min(goal, leaf.shift + step) : Math.max(goal, leaf.shift - step);
      // A leaf slides into the wall beside the doorway, and is gone once it is in.
      leaf.group.visible = leaf.shift < 1;
      leaf.group.position.set(
        leaf.along[0] * leaf.shift * leaf.width,
        0,
        leaf.along[2] * leaf.shift * leaf.width,
      );
    });
  }

  /** Take the ceilings off, or put them back. */
  openAbove(open: boolean): void {
    if (this.ceiling !== null) this.ceiling.visible = !open;
  }

  /** Show what can be acted on, and what will be. */
  mark({ objects, furniture, target }: Marked): void {
    for (const [index, { mesh }] of this.objects) {
      const chosen = target?.kind === "object" && target.index === index;
      mesh.material.uniforms["mark"]!.value = chosen || objects.has(index) ? 0.1 : 0;
    }
    this.furniture.forEach((model, index) => {
      const chosen = target?.kind === "furniture" && target.index === index;
      const value = chosen ? 0.08 : furniture.has(index) ? 0.03 : 0;
      model.body.material.uniforms["mark"]!.value = value;
      model.frame.visible = chosen;
    });
    const model = target?.kind === "object" ? this.objects.get(target.index) : undefined;
    this.rim.visible = model !== undefined && model.mesh.visible;
    if (model !== undefined) {
      this.rim.geometry = model.mesh.geometry;
      this.rim.position.copy(model.mesh.position);
      const box = model.mesh.geometry.boundingBox;
      if (box !== null) box.getCenter(this.rim.material.uniforms["middle"]!.value);
    }
  }

  /**
   * Show what an agent holds where its own eyes see it, at the edge of the picture whichever way they look.
   *
   * @param eyes null: where it really is.
   */
  holdBefore(eyes: Camera | null, agent: number, now: number): void {
    const row = this.home.held(agent);
    const model = row === null ? undefined : this.objects.get(row.index);
    if (row === null || model === undefined) return;
    // Held so near, it would stick in whatever one stands in front of.
    model.mesh.material.depthTest = eyes === null;
    model.mesh.renderOrder = eyes === null ? 0 : 1;
    if (eyes === null) return this.followHand(row, now);
    const tall = model.mesh.geometry.boundingBox?.max.y ?? 0;
    model.mesh.position.set(...HELD_AT).applyMatrix4(eyes.matrixWorld);
    model.mesh.position.y -= tall / 2;
    model.mesh.updateMatrixWorld();
  }

  /** Where a thing is pointed at: the middle of what is drawn of it. */
  middleOf(thing: Thing): Vec3 | null {
    if (thing.kind === "object") {
      const model = this.objects.get(thing.index);
      if (model === undefined || !model.mesh.visible) return null;
      const { x, y, z } = model.mesh.position;
      return [x, y + (model.mesh.geometry.boundingBox?.max.y ?? 0.1) / 2, z];
    }
    if (thing.kind === "furniture") {
      const piece = this.home.piece(thing.index);
      return [piece.position[0], Math.min(piece.size[1], 1.2) * 0.75, piece.position[2]];
    }
    return null;
  }

  dispose(): void {
    this.scene.traverse((node) => {
      if (node instanceof Mesh || node instanceof LineSegments) {
        node.geometry.dispose();
        (node.material as ShaderMaterial).dispose();
      }
    });
  }

  // --- what never changes ----------------------------------------------------------------------------------------

  private addFloors(file: HomeFile): void {
    const material = floorMaterial();
    this.home.episode.scene.rooms.forEach(({ name }, room) => {
      this.addMesh(new Mesh(gathered(file.solids(`floor_${name}`)).geometry, material), { kind: "floor", room });
    });
  }

  /** Soft dark patches under the furniture, all in one draw. */
  private addShadows(): void {
    const positions: number[] = [];
    const local: number[] = [];
    const extent: number[] = [];
    const indices: number[] = [];
    const soft = 0.16;
    for (const piece of this.home.episode.scene.furniture) {
      const [x0, z0, x1, z1] = footprint(piece);
      const [cx, cz] = [(x0 + x1) / 2, (z0 + z1) / 2];
      const [hx, hz] = [(x1 - x0) / 2, (z1 - z0) / 2];
      const first = positions.length / 3;
      for (const [sx, sz] of [
        [-1, -1],
        [-1, 1],
        [1, 1],
        [1, -1],
      ] as const) {
        const [dx, dz] = [sx * (hx + soft), sz * (hz + soft)];
        positions.push(cx + dx, 0.004, cz + dz);
        local.push(dx, dz);
        extent.push(hx, hz, soft);
      }
      indices.push(first, first + 1, first + 2, first, first + 2, first + 3);
    }
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(new Float32Array(positions), 3));
    geometry.setAttribute("local", new BufferAttribute(new Float32Array(local), 2));
    geometry.setAttribute("extent", new BufferAttribute(new Float32Array(extent), 3));
    geometry.setIndex(indices);
    const mesh = new Mesh(geometry, shadowMaterial());
    mesh.matrixAutoUpdate = false;
    this.scene.add(mesh);
  }

  private addMesh(mesh: Mesh, thing: Thing): Mesh {
    mesh.userData["thing"] = thing;
    mesh.matrixAutoUpdate = false;
    mesh.updateMatrixWorld(true);
    this.scene.add(mesh);
    this.touchable.push(mesh);
    return mesh;
  }

  // --- furniture and doors ---------------------------------------------------------------------------------------

  private addFurniture(index: number, file: HomeFile): FurnitureModel {
    const piece = this.home.piece(index);
    const group = new Group();
    group.position.set(...piece.position);
    group.rotation.y = piece.yaw;
    group.updateMatrixWorld(true);
    group.matrixAutoUpdate = false;
    const material = solidMaterial();
    const [solids, lamps] = [file.solids(piece.name), file.parts(piece.name, "lamp")];
    const body = new Mesh(new BufferGeometry(), material);
    const leaf = file.parts(piece.name, "door");
    const lit = lamps.length > 0;
    const door = leaf.length ? new Mesh(furnitureGeometry(group, leaf, [], lit, false), material) : null;
    const box = new BoxGeometry(piece.size[0] + 0.02, piece.size[1] + 0.02, piece.size[2] + 0.02);
    const line = new LineBasicMaterial({ color: new ThreeColor().setRGB(...MARK), toneMapped: false });
    const frame = new LineSegments(new EdgesGeometry(box), line);
    box.dispose();
    frame.position.y = piece.size[1] / 2;
    frame.visible = false;
    group.add(body, frame);
    if (door) group.add(door);
    for (const mesh of door ? [body, door] : [body]) {
      mesh.userData["thing"] = { kind: "furniture", index } satisfies Thing;
      this.touchable.push(mesh);
    }
    this.scene.add(group);
    return { group, body, door, solids, lamps, frame, seen: "" };
  }

  private followFurniture(model: FurnitureModel, index: number): void {
    const row = this.home.furniture[index]!;
    const seen = `${row.open} ${row.on}`;
    if (model.seen === seen) return;
    model.seen = seen;
    if (model.door) model.door.visible = !row.open;
    model.body.geometry.dispose();
    model.body.geometry = furnitureGeometry(model.group, model.solids, model.lamps, model.lamps.length > 0, row.on);
  }

  private addLeaf(door: Door, file: HomeFile): { group: Group; along: Vec3; shift: number; width: number } {
    const [ax, az] = door.start;
    const [bx, bz] = door.end;
    const width = Math.hypot(bx - ax, bz - az);
    const along: Vec3 = [(bx - ax) / width, 0, (bz - az) / width];
    const group = new Group();
    const mesh = gathered(file.solids(door.name));
    mesh.userData["thing"] = { kind: "wall" } satisfies Thing;
    group.add(mesh);
    this.touchable.push(mesh);
    this.scene.add(group);
    return { group, along, shift: 0, width };
  }

  // --- objects ---------------------------------------------------------------------------------------------------

  private followObject(row: ObjectRow): void {
    const shape = this.home.shape(row.index);
    if (shape === undefined) return;
    let model = this.objects.get(row.index);
    if (model === undefined) {
      model = { mesh: new Mesh(new BufferGeometry(), solidMaterial()), seen: "" };
      model.mesh.userData["thing"] = { kind: "object", index: row.index } satisfies Thing;
      this.objects.set(row.index, model);
      this.touchable.push(model.mesh);
      this.scene.add(model.mesh);
    }
    const painted = `${row.clean} ${row.filled} ${row.on}`;
    if (model.seen !== painted) {
      model.seen = painted;
      const solids = new SolidGatherer();
      const lit = shape.parts.some((part) => part.role === "lamp");
      for (const part of shape.parts) {
        solids.part(part, tinted(part.color, row, part.role === "lamp" ? 1 : lit ? 0 : UNLIT_SHARE));
      }
      model.mesh.geometry.dispose();
      model.mesh.geometry = solids.build();
      model.mesh.geometry.computeBoundingBox();
    }
    model.mesh.visible = !this.home.concealed(row);
    if (row.relation !== "held") model.mesh.position.set(row.x, row.y, row.z);
  }

  private followHand(row: ObjectRow, now: number): void {
    const model = this.objects.get(row.index);
    const pose = this.home.poseOf(row.parent, now);
    if (model === undefined || pose === null) return;
    model.mesh.position.set(...handOf(pose));
  }

  private drop(index: number, model: ObjectModel): void {
    this.scene.remove(model.mesh);
    this.touchable.splice(this.touchable.indexOf(model.mesh), 1);
    model.mesh.geometry.dispose();
    this.objects.delete(index);
  }
}

function wallPaint({ name, color }: FileSolid, low: boolean): Paint {
  const light = low && name.startsWith("walls/wall_") ? WALL_FOOT : 1;
  return { color: [color[0] * light, color[1] * light, color[2] * light], glow: 0 };
}

/** Solids in the home's frame as one mesh. */
function gathered(
  solids: readonly FileSolid[],
  paint: (solid: FileSolid, low: boolean) => Paint = ({ color }) => ({ color, glow: 0 }),
): Mesh<BufferGeometry, ShaderMaterial> {
  const all = new SolidGatherer();
  for (const solid of solids) all.file(solid, null, (low) => paint(solid, low));
  return new Mesh(all.build(), solidMaterial());
}

/** Solids of a piece of furniture in its own frame; where it has lamps, only they show much that it is on. */
function furnitureGeometry(
  group: Group,
  solids: readonly FileSolid[],
  lamps: readonly FileSolid[],
  lit: boolean,
  on: boolean,
): BufferGeometry {
  const all = new SolidGatherer();
  const inward = new Matrix4().copy(group.matrixWorld).invert();
  const add = (solid: FileSolid, lamp: number): void => {
    const paint = tinted(solid.color, { ...NO_STATES, on }, lamp);
    const [r, g, b] = paint.color;
    const foot: Paint = { color: [r * FOOT_SHADE, g * FOOT_SHADE, b * FOOT_SHADE], glow: paint.glow };
    all.file(solid, inward, (low) => (low ? foot : paint));
  };
  for (const solid of solids) add(solid, lit ? 0 : UNLIT_SHARE);
  for (const solid of lamps) add(solid, 1);
  return all.build();
}
