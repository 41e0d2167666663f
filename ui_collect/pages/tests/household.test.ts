import assert from "node:assert/strict";
import { test } from "node:test";
import { FloorGrid } from "../src/household/floor_grid.ts";
import { OwnPose, STILL } from "../src/household/own_pose.ts";
import { between } from "../src/household/pose.ts";
import { PoseTrack } from "../src/household/pose_track.ts";
import { ServerClock, TICK_MS } from "../src/household/server_clock.ts";
import { Outbox } from "../src/play/outbox.ts";
import type { ClientMessage } from "../src/wire/protocol.ts";
import { smallHome } from "./small_home.ts";

const AHEAD = { forward: 1, strafe: 0, turn: 0 };

test("between two poses one turns the shorter way round", () => {
  const { yaw } = between({ x: 0, z: 0, yaw: 3 }, { x: 0, z: 0, yaw: -3 }, 0.5);
  assert.ok(Math.abs(Math.abs(yaw) - Math.PI) < 1e-9);
});

test("a pose between two frames lies between them, and who stood still starts from where they stood", () => {
  const track = new PoseTrack();
  track.add(0, { x: 0, z: 0, yaw: 0 });
  track.add(1, { x: 0.05, z: 0, yaw: 0 });
  assert.ok(Math.abs(track.at(0.5 * TICK_MS)!.x - 0.025) < 1e-9);
  // Nothing for a second, then a step: it must not be drawn as a second of creeping.
  track.add(31, { x: 0.1, z: 0, yaw: 0 });
  assert.ok(Math.abs(track.at(20 * TICK_MS)!.x - 0.05) < 1e-9);
  assert.ok(Math.abs(track.at(30.5 * TICK_MS)!.x - 0.075) < 1e-9);
  assert.equal(track.at(99 * TICK_MS)!.x, 0.1);
});

test("the clock follows the fastest frames, and starts anew after a standstill", () => {
  const clock = new ServerClock();
  assert.equal(clock.at(5), null);
  clock.observe(0, 100, false);
  clock.observe(30, 1180, false); // 80 ms late
  assert.ok(clock.at(1100)! > 990 && clock.at(1100)! <= 1000);
  clock.observe(60, 9000, false); // the home stood still
  assert.ok(Math.abs(clock.at(9000)! - 2000) < 1e-6);
});

test("a key moves at once, walls stop, and the server's word is taken in gently", () => {
  const own = new OwnPose(new FloorGrid(smallHome().scene));
  own.reported({ x: 2, z: 3, yaw: 0 }, 0, 50);
  let now = 0;
  const walk = (milliseconds: number, control = AHEAD): void => {
    for (const end = now + milliseconds; now < end; now += 10) own.advance(control, 0.01, now, 50, null);
  };
  walk(100);
  assert.ok(Math.abs(own.pose!.x - 2.15) < 0.02);
  walk(3000);
  assert.ok(own.pose!.x > 3.5 && own.pose!.x < 3.9, "the wall at 4 m stops it");
  const { x } = own.pose!;
  own.reported({ x: x - 0.2, z: 3, yaw: 0 }, now, 50);
  walk(10, STILL);
  assert.ok(own.pose!.x < x && own.pose!.x > x - 0.1, "not in one jump");
  walk(600, STILL);
  assert.ok(Math.abs(own.pose!.x - (x - 0.2)) < 0.02);
  own.reported({ x: 1, z: 3, yaw: 0 }, now, 50);
  assert.equal(own.pose!.x, 1, "what is far off is no error to be mended");
});

test("a server that is a round trip behind but agrees changes nothing", () => {
  const own = new OwnPose(new FloorGrid(smallHome().scene));
  own.reported({ x: 1, z: 3, yaw: 0 }, 0, 120);
  for (let now = 0; now < 1200; now += 10) {
    own.advance(AHEAD, 0.01, now, 120, null);
    const then = Math.max(0, now - 120);
    if (now % 30 === 0 && now > 120) own.reported({ x: 1 + 1.5 * ((then + 10) / 1000), z: 3, yaw: 0 }, now, 120);
  }
  assert.ok(Math.abs(own.pose!.x - 2.8) < 0.03, String(own.pose!.x));
});

test("what is not saved yet is sent again after a break, steering is not", () => {
  const sent: ClientMessage[] = [];
  const outbox = new Outbox(5, (message) => (sent.push(message), true));
  assert.equal(outbox.post({ type: "act", tool: "Pick", args: ["mug_1"] }), 5);
  outbox.post({ type: "input", forward: 1, strafe: 0, turn: 0 });
  outbox.post({ type: "act", tool: "Open", args: ["cupboard_1"] });
  outbox.saved(5);
  sent.length = 0;
  outbox.resume(6);
  assert.deepEqual(
    sent.map((message) => [message.type, "seq" in message && message.seq]),
    [["act", 7]],
  );
  outbox.saved(7);
  assert.equal(outbox.late(performance.now() + 10_000), false);
  assert.equal(outbox.post({ type: "finish" }), 8);
  assert.equal(outbox.late(performance.now() + 10_000), true);
});
