/** The home as it is now, for the person in it: frames as they arrive, and their own next step ahead of the server. */

import type { Keyframe } from "../wire/keyframes.ts";
import type { EpisodeMessage } from "../wire/protocol.ts";
import { FloorGrid } from "./floor_grid.ts";
import { Home } from "./home.ts";
import { OwnPose, steeringLag, type Control } from "./own_pose.ts";
import type { Pose } from "./pose.ts";
import { PoseTrack } from "./pose_track.ts";
import { ServerClock } from "./server_clock.ts";

/** How far in the past others are drawn: two frames and some jitter, so that there is always a later one to go to. */
const BEHIND_MS = 90;

export class LiveHome extends Home {
  readonly own: OwnPose;
  /** Highest number of the person's messages the world has taken in. */
  appliedSeq = 0;
  private readonly tracks: PoseTrack[];
  private readonly clock = new ServerClock();

  constructor(episode: EpisodeMessage) {
    super(episode);
    this.tracks = episode.abilities.map(() => new PoseTrack());
    this.own = new OwnPose(new FloorGrid(episode.scene));
  }

  apply(frame: Keyframe, now: number, roundTrip: number): void {
    if (frame.full) {
      for (const track of this.tracks) track.clear();
      this.own.clear();
    }
    this.take(frame);
    this.clock.observe(frame.tick, now, frame.full);
    this.appliedSeq = Math.max(this.appliedSeq, frame.seq);
    for (const row of frame.agents) this.tracks[row.index]?.add(frame.tick, row);
    const own = this.agents[this.human];
    // Frames name an agent only when it has changed; while it stands, its last pose is still what the server says.
    if (own) this.own.reported(own, now, steeringLag(roundTrip));
  }

  /** Move the person's own agent on to now. */
  advance(control: Control, seconds: number, now: number, roundTrip: number): void {
    this.own.advance(control, seconds, now, steeringLag(roundTrip), this.tracked(this.human, now));
  }

  override poseOf(agent: number, now: number): Pose | null {
    return agent === this.human ? this.own.pose : this.tracked(agent, now);
  }

  private tracked(agent: number, now: number): Pose | null {
    const time = this.clock.at(now);
    return time === null ? null : (this.tracks[agent]?.at(time - BEHIND_MS) ?? null);
  }
}
