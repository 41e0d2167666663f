/**
 * Reads an episode and a home's file from standard input and says how far everything reaches that this page would draw.
 *
 * tests/browser/test_page_agrees.py compares it with the file as another reader has it.
 */

import { readFileSync } from "node:fs";
import { Box3, Mesh, type BufferGeometry } from "three";
import { readHome } from "../src/drawing/home_file.ts";
import { HomeModel, type Thing } from "../src/drawing/home_model.ts";
import { LiveHome } from "../src/household/live_home.ts";
import type { EpisodeMessage } from "../src/wire/protocol.ts";

const task = JSON.parse(readFileSync(0, "utf8")) as { episode: EpisodeMessage; file: string };
const bytes = Uint8Array.from(Buffer.from(task.file, "base64"));

const home = new LiveHome(task.episode);
const model = new HomeModel(home, true);
if (model.ready) throw new Error("there is no home yet");
model.build(await readHome(bytes.buffer));
if (!model.ready) throw new Error("there is a home now");
model.follow(0, 0);
model.scene.updateMatrixWorld(true);

function reach(mesh: Mesh): [number[], number[]] {
  const box = new Box3().setFromObject(mesh, true);
  return [box.min.toArray(), box.max.toArray()];
}

function paint(geometry: BufferGeometry): number[][] {
  const values = geometry.getAttribute("paint");
  return Array.from({ length: values.count }, (_, i) => [0, 1, 2, 3].map((k) => values.getComponent(i, k)));
}

const things = (kind: Thing["kind"]): Mesh[] =>
  model.touchable.filter((mesh) => (mesh.userData["thing"] as Thing).kind === kind);
const shell = things("wall");
const floors = things("floor");
const leaves = shell.slice(2).map((mesh) => ({ mesh, closed: reach(mesh) }));
const furniture = home.furniture.map((_, index) => {
  const own = things("furniture").filter((mesh) => (mesh.userData["thing"] as { index: number }).index === index);
  const [body, door] = [own[0]!, own[1] ?? null];
  const colors = paint(body.geometry);
  return { index, body, door, drawn: { body: reach(body), door: door && reach(door), colors: colors.map((c) => c.slice(0, 3)) } };
});

// Everything is opened and switched on.
home.furniture.forEach((row) => Object.assign(row, { open: true, on: true }));
home.doors.fill(true);
home.revision++;
model.follow(1, 1);

process.stdout.write(
  JSON.stringify({
    names: task.episode.furniture,
    walls: reach(shell[0]!),
    ceiling: reach(shell[1]!),
    floors: floors.map(reach),
    leaves: leaves.map(({ mesh, closed }) => ({ closed, goneWhenOpen: !mesh.parent!.visible })),
    furniture: furniture.map(({ body, door, drawn }) => ({
      ...drawn,
      goneWhenOpen: door !== null && !door.visible,
      shines: paint(body.geometry).some((color) => color[3]! > 0.5),
    })),
  }),
);
