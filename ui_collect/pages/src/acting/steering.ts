/**
 * What the person holds down, gathered from keys, stick and dragging, and sent when it changes.
 *
 * The server moves the agent at a fixed rate until it hears otherwise; so a change is sent at once, small ones of
 * dragging not more often than is felt.
 */

import { STILL, TURNING_SPEED, type Control } from "../household/own_pose.ts";
import { wrapped } from "../household/pose.ts";

const SEND_EVERY_MS = 50;
/** Closer than this to where the drag points is there, radians. */
const THERE = 0.012;

export class Steering {
  private readonly held = new Set<string>();
  private stick: Control = { ...STILL };
  /** Where a drag wants the person to face. */
  private wanted: number | null = null;
  private sent: Control = { ...STILL };
  private sentAt = -Infinity;
  private readonly send: (control: Control) => void;

  constructor(send: (control: Control) => void) {
    this.send = send;
  }

  /** Whether the person steers just now. */
  get busy(): boolean {
    const { forward, strafe, turn } = this.stick;
    return this.held.size > 0 || forward !== 0 || strafe !== 0 || turn !== 0;
  }

  press(key: SteeringKey): void {
    this.wanted = null;
    this.held.add(key);
  }

  release(key: SteeringKey): void {
    this.held.delete(key);
  }

  setStick(forward: number, turn: number): void {
    this.wanted = null;
    this.stick = { forward, strafe: 0, turn };
  }

  /** Turn by an angle from where one faces, or is already going to face. */
  lookBy(angle: number, yaw: number): void {
    const from = this.wanted ?? yaw;
    // Never more than half a turn ahead of oneself: the shorter way round would be the wrong one.
    const ahead = Math.max(-3, Math.min(3, wrapped(from - yaw) + angle));
    this.wanted = wrapped(yaw + ahead);
  }

  /** Let go of everything: a dialog opened, the window lost its focus. */
  releaseAll(): void {
    this.held.clear();
    this.stick = { ...STILL };
    this.wanted = null;
    // At once: a hidden page draws no further frame that would tell.
    this.report(STILL, performance.now());
  }

  /** What the person does now, given where they face. */
  control(yaw: number): Control {
    const on = (key: SteeringKey): number => (this.held.has(key) ? 1 : 0);
    let turn = on("left") - on("right") + this.stick.turn;
    if (this.wanted !== null) {
      const left = wrapped(this.wanted - yaw);
      if (Math.abs(left) < THERE) this.wanted = null;
      else turn = Math.max(-1, Math.min(1, (left * 9) / TURNING_SPEED));
    }
    return {
      forward: limited(on("forward") - on("back") + this.stick.forward),
      strafe: limited(on("strafe_right") - on("strafe_left")),
      turn: limited(turn),
    };
  }

  /** Tell the server if anything has changed. */
  report(control: Control, now: number): void {
    const { sent } = this;
    const changes = [control.forward - sent.forward, control.strafe - sent.strafe, control.turn - sent.turn];
    if (changes.every((change) => change === 0)) return;
    // Starting and stopping are sent at once; a drag's fine changes may wait for each other.
    const switched = (["forward", "strafe", "turn"] as const).some((axis) => !control[axis] !== !sent[axis]);
    if (!switched && now - this.sentAt < SEND_EVERY_MS) return;
    this.resend(control, now);
  }

  /** Tell the server in any case, after a connection was made anew. */
  resend(control: Control, now: number): void {
    this.sent = control;
    this.sentAt = now;
    this.send({ forward: rounded(control.forward), strafe: rounded(control.strafe), turn: rounded(control.turn) });
  }
}

export type SteeringKey = "forward" | "back" | "strafe_left" | "strafe_right" | "left" | "right";

function limited(value: number): number {
  return Math.max(-1, Math.min(1, value));
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
