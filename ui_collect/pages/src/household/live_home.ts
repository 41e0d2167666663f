/** The home as it is now, put together from the episode's description and the frames since. */

import type { AgentRow, FurnitureRow, Keyframe, ObjectRow, Progress, Reach } from "../wire/keyframes.ts";
import type { EpisodeMessage } from "../wire/protocol.ts";
import type { Furniture, ObjectShape } from "../wire/scene_types.ts";
import { FloorGrid } from "./floor_grid.ts";
import { OwnPose, steeringLag, type Control } from "./own_pose.ts";
import type { Pose } from "./pose.ts";
import { PoseTrack } from "./pose_track.ts";
import { ServerClock } from "./server_clock.ts";

/** How far in the past others are drawn: two frames and some jitter, so that there is always a later one to go to. */
const BEHIND_MS = 90;

export class LiveHome {
  readonly episode: EpisodeMessage;
  /** What the person's agent knows of; others have not been seen yet. */
  readonly objects = new Map<number, ObjectRow>();
  readonly furniture: FurnitureRow[];
  readonly doors: boolean[];
  readonly agents: (AgentRow | null)[];
  readonly own: OwnPose;
  progress: Progress = { complete: 0, success: false, over: false };
  reach: Reach = { objects: [], furniture: [] };
  /** Rises with every change of anything but poses. */
  revision = 0;
  /** Highest number of the person's messages the world has taken in. */
  appliedSeq = 0;
  private readonly tracks: PoseTrack[];
  private readonly clock = new ServerClock();
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
    this.tracks = episode.abilities.map(() => new PoseTrack());
    this.own = new OwnPose(new FloorGrid(episode.scene));
  }

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

  apply(frame: Keyframe, now: number, roundTrip: number): void {
    if (frame.full) this.forget();
    this.clock.observe(frame.tick, now, frame.full);
    this.appliedSeq = Math.max(this.appliedSeq, frame.seq);
    for (const row of frame.agents) {
      const before = this.agents[row.index];
      if (before === undefined) continue;
      if (before === null || before.held !== row.held || before.busy !== row.busy) this.revision++;
      this.agents[row.index] = row;
      this.tracks[row.index]!.add(frame.tick, row);
    }
    const own = this.agents[this.human];
    // Frames name an agent only when it has changed; while it stands, its last pose is still what the server says.
    if (own) this.own.reported(own, now, steeringLag(roundTrip));
    for (const row of frame.objects) this.objects.set(row.index, row);
    for (const row of frame.furniture) this.furniture[row.index] = row;
    for (const door of frame.doors) this.doors[door.index] = door.open;
    if (frame.progress) this.progress = frame.progress;
    if (frame.reach) this.reach = frame.reach;
    if (frame.objects.length || frame.furniture.length || frame.doors.length || frame.progress || frame.reach) {
      this.revision++;
    }
  }

  /** Move the person's own agent on to now. */
  advance(control: Control, seconds: number, now: number, roundTrip: number): void {
    this.own.advance(control, seconds, now, steeringLag(roundTrip), this.tracked(this.human, now));
  }

  /** Where an agent is to be drawn. */
  poseOf(agent: number, now: number): Pose | null {
    return agent === this.human ? this.own.pose : this.tracked(agent, now);
  }

  private tracked(agent: number, now: number): Pose | null {
    const time = this.clock.at(now);
    return time === null ? null : (this.tracks[agent]?.at(time - BEHIND_MS) ?? null);
  }

  /** A full frame says everything; what it leaves out is closed, off or unknown. */
  private forget(): void {
    this.objects.clear();
    this.furniture.forEach((_, index) => (this.furniture[index] = { index, open: false, on: false }));
    this.doors.fill(false);
    this.agents.fill(null);
    for (const track of this.tracks) track.clear();
    this.own.clear();
    this.progress = { complete: 0, success: false, over: false };
    this.reach = { objects: [], furniture: [] };
    this.revision++;
  }
}
