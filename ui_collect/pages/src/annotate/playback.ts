/** The clock of a replay: runs, stops, goes faster, and has a picture drawn when there is something new to see. */

import type { RecordedHome } from "../household/recorded_home.ts";
import { keep, readKept, type Keeper } from "./stored.ts";
import { SPEEDS } from "./transport.ts";

const SPEED_KEY = "flywheel.annotate.speed";
const FIRST_SPEED = 2;
/** A page that was hidden for a while does not jump ahead when it comes back. */
const LONGEST_STEP_S = 0.25;

export interface PlaybackEvents {
  /** Time has come this far. */
  reached(tick: number): void;
  playing(playing: boolean): void;
  speed(speed: number): void;
  /** Draw; says whether it has to be called again. */
  draw(now: number, seconds: number, playing: boolean): boolean;
}

export class Playback {
  playing = false;
  speed: number;
  private readonly home: RecordedHome;
  private readonly end: number;
  private readonly ticksPerSecond: number;
  private readonly keeper: Keeper;
  private readonly events: PlaybackEvents;
  private last = 0;
  private awake = 0;
  private over = false;

  constructor(home: RecordedHome, end: number, ticksPerSecond: number, keeper: Keeper, events: PlaybackEvents) {
    this.home = home;
    this.end = end;
    this.ticksPerSecond = ticksPerSecond;
    this.keeper = keeper;
    this.events = events;
    this.speed = readKept<number>(keeper, SPEED_KEY, FIRST_SPEED);
  }

  /** Run or stop; from the end it begins anew. Nothing runs before the recording is there. */
  set(playing: boolean): void {
    if (playing && this.home.time >= this.end) this.events.reached(0);
    this.playing = playing && this.home.loaded;
    this.last = 0;
    this.events.playing(this.playing);
    this.wake();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    keep(this.keeper, SPEED_KEY, speed);
    this.events.speed(speed);
  }

  faster(direction: -1 | 1): void {
    const at = SPEEDS.findIndex((speed) => speed >= this.speed) + direction;
    this.setSpeed(SPEEDS[Math.min(Math.max(at, 0), SPEEDS.length - 1)]!);
  }

  /** There is something new to see: draw soon. */
  wake(): void {
    if (this.awake || this.over) return;
    this.awake = requestAnimationFrame((now) => {
      this.awake = 0;
      this.frame(now);
    });
  }

  dispose(): void {
    this.over = true;
    cancelAnimationFrame(this.awake);
  }

  private frame(now: number): void {
    const seconds = this.last === 0 ? 0 : Math.min(LONGEST_STEP_S, (now - this.last) / 1000);
    this.last = this.playing ? now : 0;
    if (this.playing) {
      const time = this.home.time + seconds * this.speed * this.ticksPerSecond;
      this.events.reached(time);
      if (time >= this.end) this.set(false);
    }
    const again = this.events.draw(now, seconds, this.playing);
    if (again || this.playing) this.wake();
  }
}
