/**
 * The live connection: says hello, keeps measuring the latency, and comes back by itself when it is lost.
 *
 * Messages of a play carry a rising number, so whatever was not confirmed as saved when the connection broke is sent
 * again after it is back: the server ignores what it already has.
 */

import { readKeyframe, type Keyframe } from "./keyframes.ts";
import {
  CLOSED_BAD_TOKEN,
  CLOSED_ENDED,
  CLOSED_TAKEN_OVER,
  PROTOCOL,
  SUBPROTOCOL,
  WEBSOCKET_PATH,
  readServerMessage,
  type ClientMessage,
  type ServerMessage,
} from "./protocol.ts";

export type ConnectionState = "connecting" | "open" | "waiting" | "taken_over" | "bad_token" | "ended";

export interface ConnectionEvents {
  message(message: ServerMessage): void;
  keyframe(frame: Keyframe, at: number): void;
  /** `retryAt`: when the next try comes, on the clock of `performance.now()`. */
  state(state: ConnectionState, retryAt: number | null): void;
  latency(milliseconds: number): void;
}

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 15_000;
/** A line that has held for so long is a good one. */
const SETTLED_MS = 5000;
const PING_EVERY_MS = 2000;
/** Without any sign of life for this long the line is taken for dead, though nobody has closed it. */
const SILENCE_MS = 9000;

export class Connection {
  /** Median round trip of the last few pings. */
  latency = 60;
  state: ConnectionState = "connecting";
  private socket: WebSocket | null = null;
  private welcomed = false;
  private wait = FIRST_WAIT_MS;
  private timer = 0;
  private pinging = 0;
  private settled = 0;
  private heard = 0;
  private doubted = false;
  private readonly rounds: number[] = [];
  private readonly token: string;
  private readonly events: ConnectionEvents;

  constructor(token: string, events: ConnectionEvents) {
    this.token = token;
    this.events = events;
    window.addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.hurry();
    });
  }

  open(): void {
    window.clearTimeout(this.timer);
    this.change("connecting", null);
    const scheme = window.location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${window.location.host}${WEBSOCKET_PATH}`, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.welcomed = false;
    socket.onopen = () => {
      this.heard = performance.now();
      this.doubted = false;
      this.write({ type: "hello", token: this.token, protocol: PROTOCOL });
      window.clearInterval(this.pinging);
      this.pinging = window.setInterval(() => this.ping(), PING_EVERY_MS);
    };
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => this.hear(event.data);
    socket.onclose = (event) => {
      if (this.socket === socket) this.lost(event.code);
    };
  }

  /** Send a message; false where there is no line now. */
  send(message: ClientMessage): boolean {
    if (!this.welcomed) return false;
    return this.write(message);
  }

  close(): void {
    window.clearTimeout(this.timer);
    window.clearInterval(this.pinging);
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
  }

  /** Try now instead of at the end of the wait. */
  hurry(): void {
    if (this.state === "waiting") this.open();
  }

  private write(message: ClientMessage): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  private hear(data: string | ArrayBuffer): void {
    this.heard = performance.now();
    if (typeof data !== "string") {
      this.events.keyframe(readKeyframe(data), this.heard);
      return;
    }
    const message = readServerMessage(data);
    if (message === null) return;
    if (message.type === "welcome") {
      this.welcomed = true;
      // A line that breaks again at once is no reason to try again at once.
      this.settled = window.setTimeout(() => (this.wait = FIRST_WAIT_MS), SETTLED_MS);
      this.change("open", null);
      this.ping();
    } else if (message.type === "pong") {
      this.measured(performance.now() - message.t);
      return;
    }
    this.events.message(message);
  }

  private ping(): void {
    const silent = performance.now() - this.heard > SILENCE_MS;
    // Asked twice: a page that was held up itself finds what has come meanwhile in between.
    if (silent && this.doubted) {
      const socket = this.socket;
      this.socket = null;
      socket?.close();
      this.lost(1006);
      return;
    }
    this.doubted = silent;
    this.write({ type: "ping", t: performance.now() });
  }

  private measured(milliseconds: number): void {
    this.rounds.push(milliseconds);
    if (this.rounds.length > 5) this.rounds.shift();
    const sorted = [...this.rounds].sort((a, b) => a - b);
    this.latency = sorted[Math.floor(sorted.length / 2)] ?? milliseconds;
    this.events.latency(this.latency);
  }

  private lost(code: number): void {
    window.clearInterval(this.pinging);
    window.clearTimeout(this.settled);
    this.welcomed = false;
    this.socket = null;
    if (code === CLOSED_TAKEN_OVER) return this.change("taken_over", null);
    if (code === CLOSED_BAD_TOKEN) return this.change("bad_token", null);
    if (code === CLOSED_ENDED) return this.change("ended", null);
    // Spread out, so that a restarted server is not met by everybody in the same instant.
    const wait = this.wait * (0.75 + Math.random() * 0.5);
    this.wait = Math.min(this.wait * 1.8, LONGEST_WAIT_MS);
    this.change("waiting", performance.now() + wait);
    this.timer = window.setTimeout(() => this.open(), wait);
  }

  private change(state: ConnectionState, retryAt: number | null): void {
    this.state = state;
    this.events.state(state, retryAt);
  }
}
