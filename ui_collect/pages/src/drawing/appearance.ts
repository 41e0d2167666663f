/** Colours of what a description leaves open, and how states change them; the same as in videos and reports. */

import type { Color } from "../wire/scene_types.ts";

export const WALL: Color = [0.9, 0.87, 0.81];
export const DOOR_LEAF: Color = [0.58, 0.42, 0.28];
export const BACKGROUND: Color = [0.93, 0.94, 0.96];

export const AGENT_HEAD: Color = [0.96, 0.9, 0.82];
export const AGENT_VISOR: Color = [0.12, 0.13, 0.16];
export const AGENT_LEGS: Color = [0.27, 0.28, 0.33];

/** What marks a thing that can be acted on, and the one that will be. */
export const MARK: Color = [0.06, 0.62, 0.56];

const AGENTS: readonly Color[] = [
  [0.93, 0.48, 0.13],
  [0.13, 0.47, 0.8],
];
const DIRT: Color = [0.33, 0.22, 0.1];
const WATER: Color = [0.3, 0.58, 0.92];
const LIGHT: Color = [1, 0.95, 0.72];

export interface States {
  /** null: cannot be clean or dirty. */
  clean: boolean | null;
  filled: boolean;
  on: boolean;
}

export const NO_STATES: States = { clean: null, filled: false, on: false };

/** How much a thing without a lamp part shows that it is switched on. */
export const UNLIT_SHARE = 0.3;

export function agentColor(agent: number): Color {
  return AGENTS[agent % AGENTS.length]!;
}

export function mixed(color: Color, other: Color, share: number): Color {
  return [
    color[0] + (other[0] - color[0]) * share,
    color[1] + (other[1] - color[1]) * share,
    color[2] + (other[2] - color[2]) * share,
  ];
}

/**
 * A part's colour in its owner's states, and how much it shines by itself.
 *
 * @param lamp how much the part shows that its owner is on: 1 a lamp, 0 not at all.
 */
export function tinted(color: Color, states: States, lamp: number): { color: Color; glow: number } {
  let glow = 0;
  if (states.on) {
    color = mixed(color, LIGHT, 0.8 * lamp);
    glow = 0.8 * lamp;
  } else if (lamp === 1) {
    color = mixed(color, [0, 0, 0], 0.35);
  }
  if (states.clean === false) color = mixed(color, DIRT, 0.5);
  if (states.filled) color = mixed(color, WATER, 0.4);
  return { color, glow };
}

/** A colour as CSS writes it, made paler by a share of white. */
export function css(color: Color, paler = 0, alpha = 1): string {
  const [r, g, b] = mixed(color, [1, 1, 1], paler).map((v) => Math.round(255 * Math.min(1, Math.max(0, v))));
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}
