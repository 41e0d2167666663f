/**
 * The text messages between page and server, version 1 (ui_collect/protocol.py has the last word).
 *
 * Only types and one reader live here. The page trusts its own server, so reading checks that a message is one of ours
 * and no more: a field that is missing would be a mistake of ours, which the browser tests find.
 */

import type { ObjectShape, SceneDescription } from "./scene_types.ts";

export const PROTOCOL = 1;
export const SUBPROTOCOL = "flywheel-collect-1";
export const WEBSOCKET_PATH = "/ws/collect";

/** Close codes after which connecting again would be wrong. */
export const CLOSED_TAKEN_OVER = 4001;
export const CLOSED_BAD_TOKEN = 4003;
export const CLOSED_ENDED = 4010;

export type Stage = "consent" | "tutorial" | "lobby" | "episode" | "feedback" | "thanks" | "ended";

// --- client → server ---------------------------------------------------------------------------------------------

export interface Feedback {
  type: "feedback";
  key: string;
  success: boolean | null;
  missing: string;
  problem: string;
}

export type ClientMessage =
  | { type: "hello"; token: string; protocol: number }
  | { type: "consent" }
  | { type: "tutorial_done" }
  | { type: "ready"; again: boolean }
  | { type: "input"; seq: number; forward: number; strafe: number; turn: number }
  | { type: "act"; seq: number; tool: string; args: string[] }
  | { type: "override"; seq: number; decision: number; tool: string; args: string[] }
  | { type: "skip"; seq: number }
  | { type: "finish"; seq: number }
  | Feedback
  | { type: "end" }
  | { type: "ping"; t: number };

// --- server → client ---------------------------------------------------------------------------------------------

export interface PlayResult {
  episode_number: number;
  instruction: string;
  success: boolean;
  percent_complete: number;
  missing: string[];
  ended_by: string;
  attempt: number;
  attempts_left: number;
  feedback_given: boolean;
}

export interface Totals {
  episodes: number;
  successes: number;
  minutes: number;
}

export interface StageMessage {
  type: "stage";
  stage: Stage;
  position?: number;
  message?: string;
  result?: PlayResult;
  totals?: Totals;
}

export interface EpisodeMessage {
  type: "episode";
  index: number;
  episode_number: number;
  of: number;
  attempt: number;
  attempts_allowed: number;
  tutorial: boolean;
  resumed: boolean;
  next_seq: number;
  instruction: string;
  scene: SceneDescription;
  shapes: Record<string, ObjectShape>;
  objects: string[];
  furniture: string[];
  doors: string[];
  abilities: string[][];
  human: number;
  reach_m: number;
  policy: string;
}

export interface PartnerMessage {
  type: "partner";
  status: "thinking" | "acting" | "done" | "away";
  action: string;
  response: string;
  decision?: number;
}

export type ServerMessage =
  | { type: "welcome"; protocol: number; server_time: number }
  | StageMessage
  | EpisodeMessage
  | PartnerMessage
  | { type: "missing"; lines: string[] }
  | { type: "answer"; seq: number; action: string; response: string }
  | { type: "saved"; seq: number; n: number }
  | { type: "feedback_saved"; key: string }
  | { type: "idle"; seconds_left?: number }
  | { type: "pong"; t: number }
  | { type: "error"; code: string; message: string };

const SERVER_TYPES: ReadonlySet<string> = new Set<ServerMessage["type"]>([
  "welcome",
  "stage",
  "episode",
  "partner",
  "missing",
  "answer",
  "saved",
  "feedback_saved",
  "idle",
  "pong",
  "error",
]);

/** Read a text message; null for one of a type this version does not know, which a newer server may well send. */
export function readServerMessage(text: string): ServerMessage | null {
  const message: unknown = JSON.parse(text);
  if (typeof message !== "object" || message === null || !("type" in message)) {
    throw new Error("a message without a type");
  }
  return SERVER_TYPES.has(String(message.type)) ? (message as ServerMessage) : null;
}
