/** How things and actions are called in front of people: `living_room_table_1` is "living room table". */

import type { EpisodeMessage } from "../wire/protocol.ts";

const NUMBER = /_(\d+)$/;

export class Names {
  private readonly spoken = new Map<string, string>();

  constructor(episode: Pick<EpisodeMessage, "objects" | "furniture"> & { scene: { rooms: readonly { name: string }[] } }) {
    const all = [...episode.objects, ...episode.furniture, ...episode.scene.rooms.map((room) => room.name)];
    const kinds = new Map<string, number>();
    for (const name of all) kinds.set(kindOf(name), (kinds.get(kindOf(name)) ?? 0) + 1);
    for (const name of all) {
      const kind = words(kindOf(name));
      // A number is only worth saying where there is a second one.
      this.spoken.set(name, kinds.get(kindOf(name)) === 1 ? kind : words(name));
    }
  }

  of(name: string): string {
    if (name.startsWith("floor_")) return `${this.of(name.slice("floor_".length))} floor`;
    return this.spoken.get(name) ?? words(name);
  }

  /** A sentence of the server's with the names in it as people say them. */
  inText(text: string): string {
    return text.replace(/\b(?:[a-z]+_)+\d+\b/g, (name) => this.of(name));
  }

  /** `Pick[mug_1]` as what somebody does: "picks up the mug". */
  doing(action: string): string {
    const { tool, args } = parseAction(action);
    const [first = "", relation = "", place = "", constraint = "", beside = ""] = args;
    const thing = `the ${this.of(first)}`;
    switch (tool) {
      case "Navigate":
        return `walks to ${thing}`;
      case "Explore":
        return `looks around the ${this.of(first)}`;
      case "Pick":
        return `picks up ${thing}`;
      case "Place":
      case "Rearrange": {
        const where = `${relation === "within" ? "in" : "on"} the ${this.of(place)}`;
        const next = constraint === "next_to" ? `, next to the ${this.of(beside)}` : "";
        return `${tool === "Place" ? "puts" : "brings"} ${thing} ${where}${next}`;
      }
      case "Open":
        return `opens ${thing}`;
      case "Close":
        return `closes ${thing}`;
      case "Clean":
        return `cleans ${thing}`;
      case "Fill":
        return `fills ${thing}`;
      case "Pour":
        return `pours into ${thing}`;
      case "PowerOn":
        return `switches on ${thing}`;
      case "PowerOff":
        return `switches off ${thing}`;
      case "Wait":
        return "waits";
      case "Done":
        return "thinks all is done";
      default:
        return action;
    }
  }
}

export function parseAction(action: string): { tool: string; args: string[] } {
  const match = /^\s*([A-Za-z]+)\s*\[([^[\]]*)\]\s*$/.exec(action);
  if (match === null) return { tool: "", args: [] };
  const body = match[2]!.trim();
  return { tool: match[1]!, args: body ? body.split(",").map((part) => part.trim()) : [] };
}

export function succeeded(response: string): boolean {
  return response.startsWith("Successful execution");
}

/** An answer of the world without its fixed preamble. */
export function answerText(response: string): string {
  return response.replace(/^Unexpected failure! - /, "");
}

export function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function kindOf(name: string): string {
  return name.replace(NUMBER, "");
}

function words(name: string): string {
  return name.replaceAll("_", " ");
}
