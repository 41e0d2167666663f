import assert from "node:assert/strict";
import { test } from "node:test";
import { PosePath } from "../src/household/pose_path.ts";
import { RecordedHome } from "../src/household/recorded_home.ts";
import { readFilm } from "../src/wire/film.ts";
import { smallHome } from "./small_home.ts";

const FULL = 1;
const INCREMENT = 2;

function bytes(size: number, fill: (view: DataView) => void): Uint8Array {
  const made = new Uint8Array(size);
  fill(new DataView(made.buffer));
  return made;
}

function head(kind: number, tick: number): Uint8Array {
  return bytes(9, (view) => {
    view.setUint8(0, kind);
    view.setUint32(1, tick, true);
  });
}

function agent(index: number, x: number, held = 0xffff): Uint8Array {
  return bytes(11, (view) => {
    view.setUint8(0, 1);
    view.setUint8(1, index);
    view.setInt16(2, x * 1000, true);
    view.setInt16(4, 1000, true);
    view.setUint16(8, held, true);
  });
}

function furniture(index: number, open: boolean): Uint8Array {
  return bytes(4, (view) => {
    view.setUint8(0, 3);
    view.setUint16(1, index, true);
    view.setUint8(3, open ? 1 : 0);
  });
}

function mug(x: number): Uint8Array {
  return bytes(13, (view) => {
    view.setUint8(0, 2);
    view.setInt16(6, x * 1000, true);
  });
}

/** Frames of 3 ticks: agent 0 walks from 1 m on, the cupboard opens at tick 6, the mug is seen at tick 9. */
function film(): ArrayBuffer {
  const frames: Uint8Array[][] = [[head(FULL, 0), agent(0, 1), agent(1, 5)]];
  for (let tick = 3; tick <= 60; tick += 3) {
    const x = 1 + tick / 30;
    if (tick === 30) frames.push([head(FULL, tick), agent(0, x), agent(1, 5), furniture(1, true), mug(2)]);
    else {
      const more = tick === 6 ? [furniture(1, true)] : tick === 9 ? [mug(2)] : tick === 45 ? [furniture(1, false)] : [];
      frames.push([head(INCREMENT, tick), agent(0, x), ...more]);
    }
  }
  const parts = frames.flatMap((sections) => {
    const length = sections.reduce((sum, part) => sum + part.length, 0);
    return [bytes(4, (view) => view.setUint32(0, length, true)), ...sections];
  });
  return Uint8Array.from(parts.flatMap((part) => [...part])).buffer;
}

function recorded(): RecordedHome {
  const home = new RecordedHome(smallHome());
  home.load(readFilm(film()));
  return home;
}

test("a film is read frame by frame; one that is cut off, or begins in the middle, is not shown", () => {
  const frames = readFilm(film());
  assert.deepEqual([frames.length, frames[0]!.full, frames.at(-1)!.tick], [21, true, 60]);
  assert.throws(() => readFilm(film().slice(0, -3)), RangeError);
  const first = new DataView(film()).getUint32(0, true) + 4;
  assert.throws(() => readFilm(film().slice(first)), /full frame/);
  assert.throws(() => readFilm(new ArrayBuffer(0)), /full frame/);
});

test("every moment looks the same, whichever way one came to it", () => {
  const look = (home: RecordedHome, tick: number): unknown => {
    home.moveTo(tick);
    return [home.poseOf(0), home.poseOf(1), home.furniture, [...home.objects.values()], home.agents.map((row) => row?.x)];
  };
  const forward = recorded();
  const moments = Array.from({ length: 61 }, (_, tick) => structuredClone(look(forward, tick)));
  const about = recorded();
  for (const tick of [60, 0, 31, 29, 44, 45, 46, 7, 8, 9, 5, 59, 30, 29]) {
    assert.deepEqual(structuredClone(look(about, tick)), moments[tick], `at ${tick}`);
  }
  about.moveTo(5);
  assert.deepEqual([about.furniture[1]!.open, about.objects.size], [false, 0], "what comes later is not known yet");
  about.moveTo(44);
  assert.deepEqual([about.furniture[1]!.open, about.objects.size], [true, 1]);
});

test("agents walk smoothly between frames, and stay where they stand", () => {
  const home = recorded();
  home.moveTo(4.5);
  assert.ok(Math.abs(home.poseOf(0)!.x - 1.15) < 1e-6);
  assert.equal(home.poseOf(1)!.x, 5);
  const path = new PosePath(3);
  path.add(0, { x: 0, z: 0, yaw: 0 });
  path.add(90, { x: 0.3, z: 0, yaw: 0 });
  assert.equal(path.at(80)!.x, 0, "not three seconds of creeping");
  assert.ok(Math.abs(path.at(88.5)!.x - 0.15) < 1e-9);
  assert.equal(path.at(-5)!.x, 0);
  assert.equal(path.at(900)!.x, 0.3);
  assert.equal(new PosePath(3).at(0), null);
});

test("how far the task was is known for every moment it changed", () => {
  const frames = readFilm(film());
  frames[3]!.progress = { complete: 0.5, success: false, over: false };
  frames[20]!.progress = { complete: 1, success: true, over: true };
  const home = new RecordedHome(smallHome());
  assert.deepEqual(home.course, []);
  home.load(frames);
  assert.deepEqual(home.course.map(({ tick, complete }) => [tick, complete]), [[9, 0.5], [60, 1]]);
});

test("before the recording is there, there is nothing to draw and nothing breaks", () => {
  const home = new RecordedHome(smallHome());
  home.moveTo(10);
  assert.equal(home.poseOf(0), null);
  home.load(readFilm(film()));
  assert.ok(Math.abs(home.poseOf(0)!.x - (1 + 10 / 30)) < 0.002, "it begins at the moment one had gone to");
});
