/**
 * What page and server say to each other about recorded plays (ui_collect/annotate/ has the last word).
 *
 * As in ../wire/protocol.ts, the page trusts its own server: these are types, not checks.
 */

import type { EpisodeMessage } from "../wire/protocol.ts";

export interface Joined {
  token: string;
  /** Id. */
  annotator: string;
  name: string;
  program: string;
  iteration: number;
}

export type Filter = "all" | "failed" | "chosen";
export type PlayState = "open" | "taken" | "reviewed_by_me" | "reviewed";
export type ReviewStatus = "finished" | "skipped";

export interface QueueItem {
  play: string;
  episode_id: string;
  instruction: string;
  success: boolean;
  percent_complete: number;
  /** How much a correction would teach; the queue is ordered by it. */
  value: number;
  reasons: string[];
  /** Indices of decisions worth a look. */
  look_at: number[];
  state: PlayState;
  /** Who has it open now. */
  by: string | null;
  /** It is oneself who has it open. */
  mine: boolean;
  my_review: ReviewStatus | null;
  /** Finished ones, of all annotators. */
  reviews: number;
  /** Standing ones, of all annotators. */
  corrections: number;
}

export interface Queue {
  items: QueueItem[];
  iteration: number;
  /** Annotation of the iteration was closed by hand. */
  finished: boolean;
}

/** A decision marked as an error. */
export interface Mark {
  verdict: "error";
  corrected: string;
  reason: string;
}

export interface OthersMark extends Mark {
  annotator: string;
}

export interface PlayDecision {
  index: number;
  agent: number;
  role: "human" | "ai";
  policy_id: string;
  sim_step: number;
  end_step: number;
  action: string;
  response: string;
  percent_complete: number;
  admissible: string[];
  /** 0 … 1; null where the policy did not say. */
  uncertainty: number | null;
  /** A person chose in its place while playing. */
  overridden: boolean;
  worth_a_look: boolean;
  /** The AI's own choice; what people did or ordered is not corrected. */
  can_be_marked: boolean;
  mine: Mark | null;
  others: OthersMark[];
}

export interface Reviewed {
  status: ReviewStatus;
  errors: number;
}

export interface RecordedPlay {
  episode: EpisodeMessage;
  ticks: number;
  ticks_per_second: number;
  decisions: PlayDecision[];
  review: { mine: Reviewed | null; others: (Reviewed & { annotator: string })[] };
  /** Share of decisions on which those who finished agree, 0 … 1; null below two of them. */
  agreement: number | null;
}

export interface Opened {
  play: string;
  /** Somebody else who has it open. */
  taken_by: string | null;
  lease_s: number;
}

export interface MarkRequest {
  key: string;
  play: string;
  decision: number;
  verdict: "error" | "withdrawn";
  tool: string;
  args: string[];
  reason: string;
  /** Of attention this mark took. */
  seconds: number;
}

export interface ReviewRequest {
  key: string;
  play: string;
  status: ReviewStatus;
  /** Of attention no mark has counted yet. */
  seconds: number;
}

export interface MarkSaved {
  decision: number;
  mine: Mark | null;
  others: OthersMark[];
}

export interface Figures {
  reviewed: number;
  queued: number;
  corrections: number;
  /** Of attention, all annotators together. */
  seconds: number;
  agreement: number | null;
  /** Cohen's kappa of what is marked. */
  kappa: number | null;
  /** Plays to be reviewed; 0 where none is set. */
  target: number;
  my_reviewed: number;
  my_corrections: number;
  my_seconds: number;
  annotators: number;
  finished: boolean;
}
