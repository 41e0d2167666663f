/** What the annotator holds of a play's decisions: as the server has it, with what is still on its way on top. */

import { parseAction } from "../acting/names.ts";
import type { Mark, MarkSaved, OthersMark, PlayDecision } from "./messages.ts";
import { keep, readKept, type Keeper } from "./stored.ts";
import { clientKey, type Unsent } from "./unsent.ts";

/** One step that can be taken back: how a decision stood before it. */
interface Step {
  decision: number;
  before: Mark | null;
}

const STEPS_KEPT = 100;

export class Marks {
  private readonly play: string;
  private readonly decisions: ReadonlyMap<number, PlayDecision>;
  private readonly keeper: Keeper;
  private readonly key: string;
  private readonly post: (item: Unsent) => void;
  private readonly seconds: () => number;
  private steps: Step[];

  /**
   * @param decisions of the play; their `mine` and `others` are kept up to date here.
   * @param waiting what was said earlier and has not reached the server.
   * @param seconds of attention to be counted with the next mark.
   */
  constructor(
    play: string,
    annotator: string,
    decisions: readonly PlayDecision[],
    waiting: readonly Unsent[],
    keeper: Keeper,
    seconds: () => number,
    post: (item: Unsent) => void,
  ) {
    this.play = play;
    this.decisions = new Map(decisions.map((decision) => [decision.index, decision]));
    this.keeper = keeper;
    this.key = `flywheel.annotate.steps.${annotator}.${play}`;
    this.steps = readKept<Step[]>(keeper, this.key, []);
    this.seconds = seconds;
    this.post = post;
    for (const { path, body } of waiting) {
      if (path === "labels" && body.play === play) this.hold(body.decision, markOf(body));
    }
  }

  /** Of mine. */
  get errors(): number {
    return [...this.decisions.values()].filter(({ mine }) => mine !== null).length;
  }

  get canUndo(): boolean {
    return this.steps.length > 0;
  }

  of(decision: number): Mark | null {
    return this.decisions.get(decision)?.mine ?? null;
  }

  /** Mark a decision as an error, or change what was said about it. */
  mark(decision: number, corrected: string, reason: string): void {
    this.step(decision);
    this.say(decision, { verdict: "error", corrected, reason });
  }

  /** It was no error after all. */
  withdraw(decision: number): void {
    if (this.of(decision) === null) return;
    this.step(decision);
    this.say(decision, null);
  }

  /** Take the last step back; returns the decision it was about, null where there is none. */
  undo(): number | null {
    const step = this.steps.pop();
    if (step === undefined) return null;
    this.keepSteps();
    this.say(step.decision, step.before);
    return step.decision;
  }

  /** The server has stored one. */
  stored(saved: Partial<MarkSaved>, waiting: readonly Unsent[]): void {
    const { decision, mine, others } = saved;
    if (decision === undefined) return;
    // What is said later counts, and is still on its way.
    const later = waiting.some(({ path, body }) => path === "labels" && body.play === this.play && body.decision === decision);
    if (!later && mine !== undefined) this.hold(decision, mine);
    if (others !== undefined) this.hear(decision, others);
  }

  /** What the server says now, where nothing of mine is on its way. */
  refresh(fresh: readonly PlayDecision[], waiting: readonly Unsent[]): void {
    for (const { index: decision, mine, others } of fresh) this.stored({ decision, mine, others }, waiting);
  }

  private say(decision: number, mark: Mark | null): void {
    this.hold(decision, mark);
    const { tool, args } = mark === null ? { tool: "", args: [] } : parseAction(mark.corrected);
    const verdict = mark === null ? "withdrawn" : "error";
    const body = { key: clientKey(), play: this.play, decision, verdict, tool, args, reason: mark?.reason ?? "" } as const;
    this.post({ path: "labels", body: { ...body, seconds: this.seconds() } });
  }

  private hold(decision: number, mark: Mark | null): void {
    const held = this.decisions.get(decision);
    if (held !== undefined) held.mine = mark;
  }

  private hear(decision: number, others: OthersMark[]): void {
    const held = this.decisions.get(decision);
    if (held !== undefined) held.others = others;
  }

  private step(decision: number): void {
    this.steps.push({ decision, before: this.of(decision) });
    this.steps = this.steps.slice(-STEPS_KEPT);
    this.keepSteps();
  }

  private keepSteps(): void {
    keep(this.keeper, this.key, this.steps);
  }
}

function markOf(body: Extract<Unsent, { path: "labels" }>["body"]): Mark | null {
  if (body.verdict === "withdrawn") return null;
  return { verdict: "error", corrected: `${body.tool}[${body.args.join(", ")}]`, reason: body.reason };
}
