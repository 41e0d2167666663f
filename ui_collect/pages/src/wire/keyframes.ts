/** Binary keyframes: what has changed in the home since the last one (ui_collect/keyframes.py writes them). */

export interface AgentRow {
  index: number;
  x: number;
  z: number;
  yaw: number;
  /** Index of the object in its hand. */
  held: number | null;
  /** It walks by a skill, not by hand. */
  walking: boolean;
  busy: boolean;
}

export type Relation = "on" | "within" | "floor" | "held";

export interface ObjectRow {
  index: number;
  relation: Relation;
  /** Index of the furniture (on, within), the room (floor) or the agent (held). */
  parent: number;
  x: number;
  y: number;
  z: number;
  /** null: cannot be clean or dirty. */
  clean: boolean | null;
  filled: boolean;
  on: boolean;
}

export interface FurnitureRow {
  index: number;
  open: boolean;
  on: boolean;
}

export interface Progress {
  /** 0 … 1 */
  complete: number;
  success: boolean;
  over: boolean;
}

/** Indices of what the person's agent can act on now. */
export interface Reach {
  objects: number[];
  furniture: number[];
}

export interface Keyframe {
  full: boolean;
  tick: number;
  seq: number;
  agents: AgentRow[];
  objects: ObjectRow[];
  furniture: FurnitureRow[];
  doors: { index: number; open: boolean }[];
  progress: Progress | null;
  reach: Reach | null;
}

const RELATIONS: readonly Relation[] = ["on", "within", "floor", "held"];
const NOTHING_HELD = 0xffff;
const FURNITURE_BIT = 0x8000;
/** Furniture has its index as it is; floors and hands have theirs below two marking bits. */
const PARENT_INDEX = 0x3fff;

/** Reads the frame's numbers one after the other. */
class Cursor {
  at = 0;
  readonly view: DataView;

  constructor(buffer: ArrayBuffer) {
    this.view = new DataView(buffer);
  }

  get ended(): boolean {
    return this.at >= this.view.byteLength;
  }

  u8(): number {
    return this.view.getUint8(this.at++);
  }

  u16(): number {
    this.at += 2;
    return this.view.getUint16(this.at - 2, true);
  }

  i16(): number {
    this.at += 2;
    return this.view.getInt16(this.at - 2, true);
  }

  u32(): number {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }
}

/**
 * Read a frame.
 *
 * @throws RangeError where it is cut off; Error where it holds something unknown.
 */
export function readKeyframe(buffer: ArrayBuffer): Keyframe {
  const cursor = new Cursor(buffer);
  const kind = cursor.u8();
  if (kind !== 1 && kind !== 2) throw new Error(`frames of kind ${kind} are unknown`);
  const frame: Keyframe = {
    full: kind === 1,
    tick: cursor.u32(),
    seq: cursor.u32(),
    agents: [],
    objects: [],
    furniture: [],
    doors: [],
    progress: null,
    reach: null,
  };
  while (!cursor.ended) readSection(cursor, frame);
  return frame;
}

function readSection(cursor: Cursor, frame: Keyframe): void {
  const tag = cursor.u8();
  switch (tag) {
    case 1:
      frame.agents.push(readAgent(cursor));
      break;
    case 2:
      frame.objects.push(readObject(cursor));
      break;
    case 3: {
      const index = cursor.u16();
      const bits = cursor.u8();
      frame.furniture.push({ index, open: (bits & 1) !== 0, on: (bits & 2) !== 0 });
      break;
    }
    case 4:
      frame.doors.push({ index: cursor.u8(), open: cursor.u8() !== 0 });
      break;
    case 5: {
      const share = cursor.u16();
      const flags = cursor.u8();
      frame.progress = { complete: share / 10_000, success: (flags & 1) !== 0, over: (flags & 2) !== 0 };
      break;
    }
    case 6:
      frame.reach = readReach(cursor);
      break;
    default:
      throw new Error(`section ${tag} is unknown`);
  }
}

function readAgent(cursor: Cursor): AgentRow {
  const index = cursor.u8();
  const x = cursor.i16() / 1000;
  const z = cursor.i16() / 1000;
  const yaw = cursor.i16() / 10_000;
  const held = cursor.u16();
  const flags = cursor.u8();
  return {
    index,
    x,
    z,
    yaw,
    held: held === NOTHING_HELD ? null : held,
    walking: (flags & 1) !== 0,
    busy: (flags & 2) !== 0,
  };
}

function readObject(cursor: Cursor): ObjectRow {
  const index = cursor.u16();
  const relation = RELATIONS[cursor.u8()];
  if (relation === undefined) throw new Error("a relation is unknown");
  const parent = cursor.u16() & PARENT_INDEX;
  const x = cursor.i16() / 1000;
  const y = cursor.i16() / 1000;
  const z = cursor.i16() / 1000;
  const states = cursor.u8();
  return {
    index,
    relation,
    parent,
    x,
    y,
    z,
    clean: (states & 1) !== 0 ? (states & 2) !== 0 : null,
    filled: (states & 4) !== 0,
    on: (states & 8) !== 0,
  };
}

function readReach(cursor: Cursor): Reach {
  const reach: Reach = { objects: [], furniture: [] };
  for (let left = cursor.u8(); left > 0; left--) {
    const index = cursor.u16();
    if (index & FURNITURE_BIT) reach.furniture.push(index & ~FURNITURE_BIT);
    else reach.objects.push(index);
  }
  return reach;
}
