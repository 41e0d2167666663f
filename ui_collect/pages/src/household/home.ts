/** A home put together from an episode's description and frames; where agents are drawn is left to those who build on it. */

import type { AgentRow, FurnitureRow, Keyframe, ObjectRow, Progress, Reach } from "../wire/keyframes.ts";
import type { EpisodeMessage } from "../wire/protocol.ts";
import type { Furniture, ObjectShape } from "../wire/scene_types.ts";
import type { Pose } from "./pose.ts";

export abstract class Home {
  readonly episode: EpisodeMessage;
  /** What frames have named; others have not been seen yet. */
  readonly objects = new Map<number, ObjectRow>();
  readonly furniture: FurnitureRow[];
  readonly doors: boolean[];
  readonly agents: (AgentRow | null)[];
  progress: Progress = { complete: 0, success: false, over: false };
  reach: Reach = { objects: [], furniture: [] };
  /** Rises with every change of anything but poses. */
  revision = 0;
  private readonly pieces: Furniture[];

  constructor(episode: EpisodeMessage) {
    this.episode = episode;
    const byName = new Map(episode.scene.furniture.map((piece) => [piece.name, piece]));
    this.pieces = episode.furniture.map((name) => {
      const piece = byName.get(name);
      if (piece === undefined) throw new Error(`the scene has no ${name}`);
      return piece;
    });
    this.furniture = episode.furniture.map((_, index) => ({ index, open: false, on: false }));
    this.doors = episode.doors.map(() => false);
    this.agents = episode.abilities.map(() => null);
  }

  /** Where an agent is to be drawn. */
  abstract poseOf(agent: number, now: number): Pose | null;

  get human(): number {
    return this.episode.human;
  }

  get partner(): number | null {
    return this.agents.length > 1 ? 1 - this.human : null;
  }

  /** The object in an agent's hand. */
  held(agent: number): ObjectRow | null {
    const index = this.agents[agent]?.held;
    return index == null ? null : (this.objects.get(index) ?? null);
  }

  piece(index: number): Furniture {
    return this.pieces[index]!;
  }

  objectName(index: number): string {
    return this.episode.objects[index] ?? "";
  }

  /** How an object is drawn; its kind is its name without the number. */
  shape(index: number): ObjectShape | undefined {
    return this.episode.shapes[this.objectName(index).replace(/_\d+$/, "")];
  }

  /** Whether an object is behind a closed door. */
  concealed(thing: ObjectRow): boolean {
    if (thing.relation !== "within") return false;
    return this.piece(thing.parent).articulated && !this.furniture[thing.parent]!.open;
  }

  /** Take in everything a frame says but poses over time. */
  protected take(frame: Keyframe): void {
    if (frame.full) this.forget();
    for (const row of frame.agents) {
      const before = this.agents[row.index];
      if (before === undefined) continue;
      if (before === null || before.held !== row.held || before.busy !== row.busy) this.revision++;
      this.agents[row.index] = row;
    }
    for (const row of frame.objects) this.objects.set(row.index, row);
    for (const row of frame.furniture) this.furniture[row.index] = row;
    for (const door of frame.doors) this.doors[door.index] = door.open;
    if (frame.progress) this.progress = frame.progress;
    if (frame.reach) this.reach = frame.reach;
    if (frame.objects.length || frame.furniture.length || frame.doors.length || frame.progress || frame.reach) {
      this.revision++;
    }
  }

  /** A full frame says everything; what it leaves out is closed, off or unknown. */
  private forget(): void {
    this.objects.clear();
    this.furniture.forEach((_, index) => (this.furniture[index] = { index, open: false, on: false }));
    this.doors.fill(false);
    this.agents.fill(null);
    this.progress = { complete: 0, success: false, over: false };
    this.reach = { objects: [], furniture: [] };
    this.revision++;
  }
}
