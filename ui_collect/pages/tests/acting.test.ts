import assert from "node:assert/strict";
import { test } from "node:test";
import { choicesInReach, placesAt } from "../src/acting/choices.ts";
import { completions, type Option } from "../src/acting/completion.ts";
import { Names, answerText, parseAction } from "../src/acting/names.ts";
import { Steering } from "../src/acting/steering.ts";
import { targetsOf } from "../src/acting/targets.ts";
import type { Control } from "../src/household/own_pose.ts";
import { LiveHome } from "../src/household/live_home.ts";
import type { Keyframe } from "../src/wire/keyframes.ts";
import { smallHome } from "./small_home.ts";

function frame(more: Partial<Keyframe>): Keyframe {
  return {
    full: true,
    tick: 0,
    seq: 0,
    agents: [{ index: 0, x: 2, z: 1.6, yaw: Math.PI / 2, held: null, walking: false, busy: false }],
    objects: [
      { index: 0, relation: "on", parent: 0, x: 1.5, y: 0.8, z: 0.6, clean: false, filled: false, on: false },
      { index: 1, relation: "within", parent: 1, x: 3.2, y: 0.4, z: 0.6, clean: null, filled: false, on: false },
    ],
    furniture: [],
    doors: [],
    progress: null,
    reach: { objects: [0], furniture: [0, 1] },
    ...more,
  };
}

function home(more: Partial<Keyframe> = {}, human = 0): { home: LiveHome; names: Names } {
  const episode = { ...smallHome(), human };
  const made = new LiveHome(episode);
  made.apply(frame(more), 0, 0);
  return { home: made, names: new Names(episode) };
}

const HOLDING: Partial<Keyframe> = {
  agents: [{ index: 0, x: 2, z: 1.6, yaw: Math.PI / 2, held: 0, walking: false, busy: false }],
  objects: [
    { index: 0, relation: "held", parent: 0, x: 0, y: 0, z: 0, clean: false, filled: false, on: false },
    { index: 1, relation: "on", parent: 0, x: 1.2, y: 0.8, z: 0.6, clean: null, filled: false, on: false },
  ],
  reach: { objects: [1], furniture: [0, 1] },
};

function actions({ home, names }: { home: LiveHome; names: Names }): string[] {
  return choicesInReach(home, names).map(({ tool, args }) => `${tool}[${args.join(", ")}]`);
}

test("with empty hands one picks and opens what is in reach", () => {
  assert.deepEqual(actions(home()), ["Pick[mug_1]", "Open[cupboard_1]"]);
});

test("with a full hand one places: on, beside, on the floor; into a cupboard only once it is open", () => {
  const closed = ["Place[mug_1, on, table_1, None, None]", "Place[mug_1, on, cupboard_1, None, None]"];
  const after = ["Place[mug_1, on, table_1, next_to, book_1]", "Place[mug_1, on, floor_kitchen_1, None, None]"];
  assert.deepEqual(actions(home(HOLDING)), [...closed, ...after, "Open[cupboard_1]"]);
  const open = home({ ...HOLDING, furniture: [{ index: 1, open: true, on: false }] });
  const said = placesAt(open.home, open.names, 1).map(({ args }) => args[1]);
  assert.deepEqual(said, ["within", "on"]);
  assert.ok(actions(open).includes("Close[cupboard_1]"));
});

test("states are changed only by whoever is able to", () => {
  const able = { ...frame({}).agents[0]!, index: 1 };
  assert.deepEqual(actions(home({ agents: [able] }, 1)), [
    "Pick[mug_1]",
    "Open[cupboard_1]",
    "Clean[mug_1]",
    "PowerOn[cupboard_1]",
  ]);
});

test("the key acts on what one looks at, and the mouse comes first", () => {
  const { home: here } = home({ reach: { objects: [0, 1], furniture: [0, 1] } });
  const middle = (thing: { kind: string; index?: number }): [number, number, number] =>
    thing.index === 0 ? [1.5, 0.8, 0.6] : [3.2, 0.8, 0.6];
  const towards = (x: number): number => Math.atan2(-(0.6 - 1.6), x - 2);
  const pose = { x: 2, z: 1.6, yaw: towards(1.5) };
  const look = (yaw: number, pointed: { kind: "object"; index: number } | null) =>
    targetsOf(here, { ...pose, yaw }, -0.3, pointed, middle as never);
  assert.deepEqual(look(towards(1.5), null).primary, { kind: "object", index: 0 });
  assert.deepEqual(look(towards(3.2), null).primary, { kind: "object", index: 1 });
  assert.deepEqual(look(towards(1.5), { kind: "object", index: 1 }).primary, { kind: "object", index: 1 });
  assert.equal(look(towards(2.6), null).articulated, 1);
  assert.equal(look(Math.PI * 1.5, null).primary, null, "nothing behind one's back is meant");
});

test("names lose their number where there is only one, and numbers stay where there are two", () => {
  const names = new Names(smallHome());
  assert.equal(names.of("mug_1"), "mug");
  assert.equal(names.of("book_2"), "book 2");
  assert.equal(names.of("floor_kitchen_1"), "kitchen floor");
  assert.equal(names.inText("mug_1 must be in bedroom_1"), "mug must be in bedroom");
  assert.equal(names.doing("Place[mug_1, within, cupboard_1, next_to, book_1]"), "puts the mug in the cupboard, next to the book 1");
  assert.deepEqual(parseAction("Wait[]"), { tool: "Wait", args: [] });
  assert.equal(answerText("Unexpected failure! - Failed to pick!"), "Failed to pick!");
});

test("completion ranks what begins as typed before what only holds it", () => {
  const option = (value: string, label: string, hint = ""): Option => ({ value, label, hint, group: "" });
  const options = [
    option("living_room_coffee_table_1", "Living room coffee table", "living room"),
    option("coffee_cup_1", "Coffee cup", "on the living room coffee table"),
    option("toffee_1", "Toffee"),
  ];
  assert.deepEqual(completions(options, "").map(({ value }) => value), options.map(({ value }) => value));
  const found = (typed: string): string[] => completions(options, typed).map(({ value }) => value);
  assert.deepEqual(found("coffee"), ["coffee_cup_1", "living_room_coffee_table_1"]);
  assert.deepEqual(found("liv tab"), ["living_room_coffee_table_1", "coffee_cup_1"]);
  assert.deepEqual(found("TOFF"), ["toffee_1"]);
  assert.deepEqual(found("tfe"), ["toffee_1"]);
  assert.deepEqual(found("zebra"), []);
});

test("steering is told when it changes, starting and stopping at once", () => {
  const sent: Control[] = [];
  const steering = new Steering((control) => sent.push(control));
  const at = (now: number): void => steering.report(steering.control(0), now);
  at(0);
  assert.deepEqual(sent, []);
  steering.press("forward");
  at(1);
  at(2);
  steering.press("left");
  at(3);
  steering.releaseAll();
  at(4);
  const told = sent.map(({ forward, turn }) => [forward, turn]);
  assert.deepEqual(told, [
    [1, 0],
    [1, 1],
    [0, 0],
  ]);
});

test("a drag turns until one faces where it points, then lets go", () => {
  const steering = new Steering(() => undefined);
  steering.lookBy(0.5, 0);
  let yaw = 0;
  for (let i = 0; i < 120; i++) yaw += steering.control(yaw).turn * 2.4 * (1 / 60);
  assert.ok(Math.abs(yaw - 0.5) < 0.02, String(yaw));
  assert.equal(steering.control(yaw).turn, 0);
});
