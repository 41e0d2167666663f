/**
 * A home's solids out of the file every engine draws it from (hitl_ops/worlds/habitat), by the names the world has for
 * what they belong to.
 */

import type { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { Matrix4, Mesh, SRGBColorSpace, Vector3, type BufferAttribute, type MeshStandardMaterial, type Object3D } from "three";
import type { Color, Vec3 } from "../wire/scene_types.ts";

/** A solid of the file: a mesh that others share, and where it stands in the home. */
export interface FileSolid {
  /** As in the file: `<what it belongs to>/<which>`. */
  name: string;
  positions: BufferAttribute;
  normals: BufferAttribute;
  triangles: BufferAttribute;
  matrix: Matrix4;
  /** Where its middle is in the home. */
  center: Vec3;
  color: Color;
}

const RETRY_MS = 1000;
// Apart from the rest of the page, and asked for before there is a home to read.
let loader = fetchLoader();
// Whoever needs it hears of it.
loader.catch(() => undefined);

async function fetchLoader(): Promise<GLTFLoader> {
  const { GLTFLoader } = await import("three/addons/loaders/GLTFLoader.js");
  return new GLTFLoader();
}

export class HomeFile {
  private readonly byOwner = new Map<string, FileSolid[]>();

  constructor(root: Object3D) {
    root.updateMatrixWorld(true);
    root.traverse((node) => {
      if (!(node instanceof Mesh)) return;
      // Three.js takes strokes and points out of nodes' names, and keeps them as they were here.
      const name = String(node.userData["name"] ?? node.name);
      const owner = name.slice(0, name.lastIndexOf("/"));
      const solids = this.byOwner.get(owner) ?? [];
      this.byOwner.set(owner, solids);
      solids.push(solidOf(node, name));
    });
  }

  /** The solids of something, in the home's frame; none where it has none of its own. */
  solids(owner: string): readonly FileSolid[] {
    return this.byOwner.get(owner) ?? [];
  }

  /** The solids of all of something's parts called so: `lamp` for `<owner>/lamp_1`, `<owner>/lamp_2`, … */
  parts(owner: string, kind: "door" | "lamp"): readonly FileSolid[] {
    const found: FileSolid[] = [];
    for (let number = 1; ; number++) {
      const solids = this.solids(`${owner}/${kind}_${number}`);
      if (!solids.length) return found;
      found.push(...solids);
    }
  }
}

function solidOf(node: Mesh, name: string): FileSolid {
  const { geometry } = node;
  const color = { r: 0, g: 0, b: 0 };
  (node.material as MeshStandardMaterial).color.getRGB(color, SRGBColorSpace);
  return {
    name,
    positions: geometry.getAttribute("position") as BufferAttribute,
    normals: geometry.getAttribute("normal") as BufferAttribute,
    triangles: geometry.index!,
    matrix: node.matrixWorld,
    center: new Vector3().setFromMatrixPosition(node.matrixWorld).toArray(),
    color: [color.r, color.g, color.b],
  };
}

/** @throws Error where it is no such file. */
export async function readHome(content: ArrayBuffer): Promise<HomeFile> {
  loader = loader.catch(fetchLoader);
  const { scene } = await (await loader).parseAsync(content, "");
  return new HomeFile(scene);
}

/** The file of a home; asked for again and again until it comes or nobody wants it any more. */
export async function homeFile(sceneId: string, stop: AbortSignal): Promise<HomeFile> {
  for (;;) {
    try {
      const answer = await fetch(`/api/homes/${encodeURIComponent(sceneId)}.glb`, { signal: stop });
      if (!answer.ok) throw new Error(`the home did not come: ${answer.status}`);
      const file = await readHome(await answer.arrayBuffer());
      stop.throwIfAborted();
      return file;
    } catch (error) {
      if (stop.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      stop.throwIfAborted();
    }
  }
}
