/** What a press on a thing, or of a key, comes to: the action it means, sent to the server. */

import {
  openOrClose,
  pick,
  placeBeside,
  placeOnFloor,
  placesAt,
  walkTo,
  type Choice,
} from "../acting/choices.ts";
import type { Names } from "../acting/names.ts";
import type { Targets } from "../acting/targets.ts";
import { chosen } from "../dialogs/dialog.ts";
import type { Thing } from "../drawing/home_model.ts";
import type { LiveHome } from "../household/live_home.ts";
import type { Notices } from "../panels/notices.ts";
import type { Outbox } from "./outbox.ts";

/** Until it is answered, or this long, a second press of the same key is taken for a slip. */
const ANSWER_MS = 1500;
/** Whoever changes their mind on the way may say so at once. */
const LONG_ACTIONS: ReadonlySet<string> = new Set(["Navigate", "Explore", "Rearrange", "Wait"]);

export interface Surroundings {
  /** Whether the person can act at all now; says so where they may wonder why not. */
  able(): boolean;
  targets(): Targets;
  /** Run a dialog with nothing held down, and give the focus back to the home. */
  inDialog<T>(question: () => Promise<T>): Promise<T | null>;
  /** A walk begins. */
  setsOut(): void;
}

export class Deeds {
  private readonly home: LiveHome;
  private readonly names: Names;
  private readonly notices: Notices;
  private readonly outbox: Outbox;
  private readonly around: Surroundings;
  private asked: { seq: number; at: number } | null = null;

  constructor(home: LiveHome, names: Names, notices: Notices, outbox: Outbox, around: Surroundings) {
    this.home = home;
    this.names = names;
    this.notices = notices;
    this.outbox = outbox;
    this.around = around;
  }

  act(choice: Choice): void {
    const now = performance.now();
    if (!this.around.able()) return;
    if (this.asked !== null && now - this.asked.at < ANSWER_MS) return;
    const seq = this.outbox.post({ type: "act", tool: choice.tool, args: choice.args });
    if (!LONG_ACTIONS.has(choice.tool)) {
      this.asked = { seq, at: now };
      return;
    }
    this.notices.say(`${choice.label} …`);
    this.around.setsOut();
  }

  answered(seq: number): void {
    if (this.asked !== null && seq >= this.asked.seq) this.asked = null;
  }

  forget(): void {
    this.asked = null;
  }

  /** Space: pick up or put down what is meant. */
  primary(): void {
    const { primary } = this.around.targets();
    if (primary !== null) return void this.actOn(primary);
    const holding = this.home.held(this.home.human) !== null;
    this.notices.say(
      holding
        ? "There is nothing in reach to put it on. Click the floor to put it there."
        : "There is nothing within reach to pick up.",
      "bad",
    );
  }

  /** Shift and Space. */
  openOrClose(): void {
    const { articulated } = this.around.targets();
    const choice = articulated === null ? null : openOrClose(this.home, this.names, articulated);
    if (choice === null) this.notices.say("There is nothing within reach to open or close.", "bad");
    else this.act(choice);
  }

  /** Do what a press on a thing means, walking there where it is too far. */
  async press(thing: Thing | null): Promise<void> {
    if (thing === null || !this.around.able()) return;
    const { home, names } = this;
    if (thing.kind === "object") {
      const near = home.reach.objects.includes(thing.index) || home.objects.get(thing.index)?.relation === "held";
      if (near) await this.actOn(thing);
      else this.act(walkTo(home.objectName(thing.index), names));
    } else if (thing.kind === "furniture") {
      if (home.reach.furniture.includes(thing.index)) await this.actOn(thing);
      else this.act(walkTo(home.piece(thing.index).name, names));
    } else if (thing.kind === "floor") {
      const room = home.episode.scene.rooms[thing.room];
      const here = placeOnFloor(home, names);
      if (room && here?.args[2] === `floor_${room.name}`) this.act(here);
      else if (room && !this.isIn(thing.room)) this.act(walkTo(room.name, names));
    }
  }

  /** What acting on a thing in reach would be, for hints; null where it means nothing. */
  meaning(thing: Thing | null): Choice | null {
    const { home, names } = this;
    if (thing?.kind === "furniture") return placesAt(home, names, thing.index)[0] ?? null;
    if (thing?.kind !== "object") return null;
    return home.held(home.human) === null ? pick(home, names, thing.index) : placeBeside(home, names, thing.index);
  }

  private async actOn(thing: Thing): Promise<void> {
    const { home, names } = this;
    if (thing.kind === "object") {
      const choice = this.meaning(thing);
      if (choice !== null) this.act(choice);
      return;
    }
    if (thing.kind !== "furniture") return;
    const places = placesAt(home, names, thing.index);
    if (places.length > 1) {
      const values = places.map((value) => ({ label: value.label, value }));
      const place = await this.around.inDialog(() => chosen("Where exactly?", values));
      if (place !== null) this.act(place);
      return;
    }
    const choice = places[0] ?? openOrClose(home, names, thing.index);
    if (choice !== null) this.act(choice);
    else this.notices.say(`The ${names.of(home.piece(thing.index).name)} cannot be opened.`, "bad");
  }

  private isIn(room: number): boolean {
    const pose = this.home.own.pose;
    const bounds = this.home.episode.scene.rooms[room]?.bounds;
    if (pose === null || bounds === undefined) return false;
    return bounds[0] <= pose.x && pose.x <= bounds[2] && bounds[1] <= pose.z && pose.z <= bounds[3];
  }
}
