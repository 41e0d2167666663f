/** Two rooms, a table, a cupboard and three objects: enough to ask every question about choices and targets. */

import type { EpisodeMessage } from "../src/wire/protocol.ts";
import type { Furniture } from "../src/wire/scene_types.ts";

function piece(name: string, x: number, z: number, more: Partial<Furniture>): Furniture {
  return {
    name,
    kind: name.replace(/_\d+$/, ""),
    room: "kitchen_1",
    position: [x, 0, z],
    yaw: 0,
    size: [1, 0.8, 0.6],
    parts: [],
    on_slots: [[x, 0.8, z]],
    within_slots: [],
    access: [[x, z + 1]],
    articulated: false,
    has_faucet: false,
    powerable: false,
    ...more,
  };
}

export function smallHome(): EpisodeMessage {
  const furniture = [
    piece("table_1", 1.5, 0.6, {}),
    piece("cupboard_1", 3.2, 0.6, { articulated: true, within_slots: [[3.2, 0.4, 0.6]], powerable: true }),
  ];
  return {
    type: "episode",
    index: 0,
    episode_number: 1,
    of: 5,
    attempt: 1,
    attempts_allowed: 3,
    tutorial: false,
    resumed: false,
    next_seq: 0,
    instruction: "Put the mug into the cupboard.",
    scene: {
      scene_id: "flywheel_train_0",
      seed: 0,
      split: "train",
      rooms: [
        { name: "kitchen_1", kind: "kitchen", bounds: [0, 0, 4, 4], floor_color: [0.8, 0.8, 0.7] },
        { name: "bedroom_1", kind: "bedroom", bounds: [4, 0, 8, 4], floor_color: [0.7, 0.7, 0.8] },
      ],
      walls: [
        { start: [0, 0], end: [8, 0], height: 2.4, thickness: 0.1 },
        { start: [4, 0], end: [4, 1.5], height: 2.4, thickness: 0.1 },
        { start: [4, 2.5], end: [4, 4], height: 2.4, thickness: 0.1 },
      ],
      doors: [
        { name: "door_1", rooms: ["kitchen_1", "bedroom_1"], start: [4, 1.5], end: [4, 2.5], height: 2, open_at_start: false },
      ],
      furniture,
      floor_slots: { kitchen_1: [], bedroom_1: [] },
      spawns: [],
    },
    shapes: {},
    objects: ["mug_1", "book_1", "book_2"],
    furniture: furniture.map(({ name }) => name),
    doors: ["door_1"],
    abilities: [
      ["Navigate", "Pick", "Place", "Open", "Close"],
      ["Navigate", "Pick", "Place", "Open", "Close", "Clean", "PowerOn"],
    ],
    human: 0,
    reach_m: 2,
    policy: "oracle",
  };
}
