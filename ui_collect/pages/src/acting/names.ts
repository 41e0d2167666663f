/** How things and actions are called in front of people: `living_room_table_1` is "living room table". */

import type { EpisodeMessage } from "../wire/protocol.ts";

const NUMBER = /_(\d+)$/;

/** What somebody does, has done, and is to do. */
const VERBS: Record<string, readonly [string, string, string]> = {
  Navigate: ["walks to", "walked to", "walk to"],
  Explore: ["looks around", "looked around", "look around"],
  Pick: ["picks up", "picked up", "pick up"],
  Place: ["puts", "put", "put"],
  Rearrange: ["brings", "brought", "bring"],
  Open: ["opens", "opened", "open"],
  Close: ["closes", "closed", "close"],
  Clean: ["cleans", "cleaned", "clean"],
  Fill: ["fills", "filled", "fill"],
  Pour: ["pours into", "poured into", "pour into"],
  PowerOn: ["switches on", "switched on", "switch on"],
  PowerOff: ["switches off", "switched off", "switch off"],
  Wait: ["waits", "waited", "wait"],
  Done: ["thinks all is done", "said that all is done", "say that all is done"],
};

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

  /** A piece of furniture where one sees which room it is in: "coffee table", not "living room coffee table". */
  short(name: string, room: string): string {
    const prefix = `${this.of(kindOf(room))} `;
    const said = this.of(name);
    return said.startsWith(prefix) ? said.slice(prefix.length) : said;
  }

  /** A sentence of the server's with the names in it as people say them. */
  inText(text: string): string {
    return text.replace(/\b(?:[a-z]+_)+\d+\b/g, (name) => this.of(name));
  }

  /** `Pick[mug_1]` as what somebody does: "picks up the mug". */
  doing(action: string): string {
    return this.sentence(action, 0);
  }

  /** `Pick[mug_1]` as what somebody has done: "picked up the mug". */
  did(action: string): string {
    return this.sentence(action, 1);
  }

  /** `Pick[mug_1]` as what somebody is to do: "pick up the mug". */
  todo(action: string): string {
    return this.sentence(action, 2);
  }

  private sentence(action: string, tense: 0 | 1 | 2): string {
    const { tool, args } = parseAction(action);
    const verb = VERBS[tool]?.[tense];
    if (verb === undefined) return action;
    const [first = "", relation = "", place = "", constraint = "", beside = ""] = args;
    if (!first) return verb;
    let text = `${verb} the ${this.of(first)}`;
    if (place) text += ` ${relation === "within" ? "in" : "on"} the ${this.of(place)}`;
    if (constraint === "next_to") text += `, next to the ${this.of(beside)}`;
    return text;
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
