/**
 * Reads a home, frames and steering from standard input and says where this page would have everything.
 *
 * tests/browser/test_page_agrees.py compares it with the world that made them.
 */

import { readFileSync } from "node:fs";
import { FloorGrid } from "../src/household/floor_grid.ts";
import { LiveHome } from "../src/household/live_home.ts";
import { OwnPose, type Control } from "../src/household/own_pose.ts";
import { readKeyframe } from "../src/wire/keyframes.ts";
import type { EpisodeMessage } from "../src/wire/protocol.ts";

interface Task {
  episode: EpisodeMessage;
  frames: string[];
  start: { x: number; z: number; yaw: number };
  controls: Control[];
  points: [number, number][];
}

const task = JSON.parse(readFileSync(0, "utf8")) as Task;

const grid = new FloorGrid(task.episode.scene);
const own = new OwnPose(grid);
own.reported(task.start, 0, 0);
const walked = task.controls.map((control, tick) => {
  own.advance(control, 1 / 30, tick * 33, 1e9, null);
  return [own.pose!.x, own.pose!.z, own.pose!.yaw];
});

const home = new LiveHome(task.episode);
let now = 0;
for (const frame of task.frames) {
  const bytes = Uint8Array.from(Buffer.from(frame, "base64"));
  home.apply(readKeyframe(bytes.buffer), (now += 33), 0);
}

process.stdout.write(
  JSON.stringify({
    walked,
    free: task.points.map(([x, z]) => grid.isFree(x, z)),
    agents: home.agents,
    objects: [...home.objects.values()],
    furniture: home.furniture,
    doors: home.doors,
    progress: home.progress,
    reach: home.reach,
  }),
);
