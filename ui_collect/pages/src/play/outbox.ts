/** The person's messages of one play: numbered, kept until they are on the server's disk, sent again after a break. */

import type { ClientMessage } from "../wire/protocol.ts";

type Numbered = Extract<ClientMessage, { seq: number }>;
type WithoutSeq<T> = T extends unknown ? Omit<T, "seq"> : never;

/** Longer than this, milliseconds, and a message has been waiting for longer than is usual. */
const LATE_MS = 600;

export class Outbox {
  private next: number;
  private readonly waiting = new Map<number, { message: Numbered; at: number }>();
  private readonly send: (message: ClientMessage) => boolean;

  constructor(firstSeq: number, send: (message: ClientMessage) => boolean) {
    this.next = firstSeq;
    this.send = send;
  }

  /** Number a message and send it; returns its number. */
  post(message: WithoutSeq<Numbered>): number {
    const numbered = { ...message, seq: this.next++ } as Numbered;
    // What the person steers is only true at its moment; sending it again later would walk somewhere else.
    if (numbered.type !== "input") this.waiting.set(numbered.seq, { message: numbered, at: performance.now() });
    this.send(numbered);
    return numbered.seq;
  }

  saved(seq: number): void {
    for (const waiting of this.waiting.keys()) if (waiting <= seq) this.waiting.delete(waiting);
  }

  /** The play goes on after a break: the server has everything before `firstSeq`, the rest is sent again. */
  resume(firstSeq: number): void {
    this.saved(firstSeq - 1);
    this.next = Math.max(this.next, firstSeq);
    for (const { message } of this.waiting.values()) this.send(message);
  }

  /** Whether something has been waiting for longer than is usual. */
  late(now: number): boolean {
    for (const { at } of this.waiting.values()) if (now - at > LATE_MS) return true;
    return false;
  }
}
