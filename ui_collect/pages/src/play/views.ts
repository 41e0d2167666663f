/** The two views of a play, which of them is the large one, and what is marked in them. */

import type { Names } from "../acting/names.ts";
import { targetsOf, type Targets } from "../acting/targets.ts";
import { h, wantsStillness } from "../dom.ts";
import { FloorPlan } from "../drawing/floor_plan.ts";
import { homeFile } from "../drawing/home_file.ts";
import { HomeModel, type Marked, type Thing } from "../drawing/home_model.ts";
import { EYE_HEIGHT, GLANCE, StageView } from "../drawing/stage_view.ts";
import type { LiveHome } from "../household/live_home.ts";
import type { PlayLayout } from "./layout.ts";

/** Looking for what is meant, casting rays and writing buttons: often enough to feel at once. */
const LOOK_EVERY_MS = 100;
const PLAN_EVERY_MS = 66;
const LOOK_UP = 0.6;
const LOOK_DOWN = -1.2;
/** How fast one comes to look up or down by oneself, per second. */
const TILTING = 5;
/** As far from the middle of a small thing a finger still means it: half of WCAG's 44 pixels (2.5.5). */
const FINGER_PX = 22;
const HINT_ABOVE_PX = 12;
/** Nearer to a hint's side there is no tip, for its corners are round. */
const HINT_CORNER_PX = 14;
const NOTHING: Marked = { objects: new Set(), furniture: new Set(), target: null };

interface Place {
  x: number;
  y: number;
}

export class PlayViews {
  /** null where the browser has no WebGL; the map is then all there is. */
  readonly firstPerson: StageView | null;
  targets: Targets = { primary: null, articulated: null };
  private readonly model: HomeModel;
  private readonly plan: FloorPlan;
  private readonly layout: PlayLayout;
  private readonly home: LiveHome;
  private pointed: Place | null = null;
  private lookedAt = -Infinity;
  private plannedAt = -Infinity;
  private drawnAt = 0;
  private marked: Marked = NOTHING;
  private pitchGoal: number | null = null;
  private readonly stop = new AbortController();

  constructor(layout: PlayLayout, home: LiveHome, names: Names) {
    this.layout = layout;
    this.home = home;
    this.model = new HomeModel(home, wantsStillness());
    this.plan = new FloorPlan(layout.map, home, names);
    this.firstPerson = this.makeStage();
    if (this.firstPerson === null) layout.element.classList.add("map-main", "map-only");
    else void this.furnish();
  }

  get mapIsMain(): boolean {
    return this.layout.element.classList.contains("map-main");
  }

  get pitch(): number {
    return this.firstPerson?.pitch ?? GLANCE;
  }

  /** Look up or down by an angle. */
  tilt(by: number): void {
    this.pitchGoal = null;
    this.setPitch(this.pitch + by);
  }

  /** Come to look up or down by so much within a moment. */
  lookTowards(pitch: number): void {
    this.pitchGoal = Math.min(GLANCE, pitch);
  }

  /** Where a thing is from the person's eyes, and where they face now; null while that is not known. */
  directionOf(thing: Thing): { yaw: number; pitch: number; from: number } | null {
    const middle = this.model.middleOf(thing);
    const pose = this.home.own.pose;
    if (middle === null || pose === null) return null;
    const [dx, dy, dz] = [middle[0] - pose.x, middle[1] - EYE_HEIGHT, middle[2] - pose.z];
    return { yaw: Math.atan2(-dz, dx), pitch: Math.atan2(dy, Math.hypot(dx, dz)), from: pose.yaw };
  }

  private setPitch(value: number): void {
    if (this.firstPerson !== null) this.firstPerson.pitch = Math.min(LOOK_UP, Math.max(LOOK_DOWN, value));
  }

  swap(): void {
    if (this.firstPerson === null) return;
    const main = this.layout.element.classList.toggle("map-main");
    this.layout.stage.setAttribute("aria-description", main ? "The map is the large view now." : "");
    this.plannedAt = -Infinity;
  }

  pointAt(place: Place | null): void {
    this.pointed = place;
  }

  /** What is seen at a place; a finger that comes close to a small thing in reach means that, not what is behind. */
  thingAt(place: Place, finger = false): Thing | null {
    const seen = this.firstPerson?.thingAt(place) ?? null;
    if (!finger || this.firstPerson === null || seen?.kind === "object") return seen;
    let nearest: { thing: Thing; far: number } | null = null;
    for (const index of this.home.reach.objects) {
      const thing: Thing = { kind: "object", index };
      const middle = this.model.middleOf(thing);
      const shown = middle === null ? null : this.firstPerson.project(middle);
      const far = shown === null ? Infinity : Math.hypot(shown.x - place.x, shown.y - place.y);
      if (far <= FINGER_PX && (nearest === null || far < nearest.far)) nearest = { thing, far };
    }
    return nearest?.thing ?? seen;
  }

  thingOnMap(place: Place): Thing | null {
    return this.plan.thingAt(place);
  }

  /** Draw what is due; returns the targets where they were looked for again, else null. */
  draw(now: number, seconds: number): Targets | null {
    if (this.pitchGoal !== null) {
      const left = this.pitchGoal - this.pitch;
      this.setPitch(this.pitch + left * (1 - Math.exp(-seconds * TILTING)));
      if (Math.abs(left) < 0.01) this.pitchGoal = null;
    }
    this.drawnAt += seconds;
    if (this.firstPerson !== null && this.model.ready && this.firstPerson.pace.due(now)) {
      this.model.follow(now, this.drawnAt);
      this.drawnAt = 0;
      this.firstPerson.draw(now);
    }
    if (now - this.plannedAt >= PLAN_EVERY_MS) {
      this.plannedAt = now;
      this.plan.draw(now, this.marked);
    }
    if (now - this.lookedAt < LOOK_EVERY_MS) return null;
    this.lookedAt = now;
    return this.look();
  }

  /** Say beside the thing what a key would do to it. */
  showHint(first: string | null, door: string | null): void {
    const { hint } = this.layout;
    const { primary, articulated } = this.targets;
    const thing: Thing | null = primary ?? (articulated === null ? null : { kind: "furniture", index: articulated });
    const middle = thing === null ? null : this.model.middleOf(thing);
    const place = middle === null || this.mapIsMain ? null : (this.firstPerson?.project(middle) ?? null);
    hint.hidden = place === null;
    if (place === null) return;
    const lines = [
      ["Space", first],
      ["Shift + Space", door],
    ] as const;
    const text = lines.map(([key, what]) => `${key}|${what ?? ""}`).join();
    if (hint.dataset["text"] !== text) {
      hint.dataset["text"] = text;
      const rows = lines.flatMap(([key, what]) => (what === null ? [] : [h("p", {}, h("kbd", { text: key }), what)]));
      hint.replaceChildren(...rows);
    }
    // Over the thing, with a tip that points at it; never out of the picture.
    const { clientWidth: width, clientHeight: height } = this.layout.view;
    const x = Math.max(8, Math.min(width - hint.offsetWidth - 8, place.x - hint.offsetWidth / 2));
    const over = place.y - hint.offsetHeight - HINT_ABOVE_PX;
    const y = Math.max(8, Math.min(height - hint.offsetHeight - 8, over));
    hint.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
    hint.style.setProperty("--tip", `${Math.round(place.x - x)}px`);
    const pointing = y === over && place.x > x + HINT_CORNER_PX && place.x < x + hint.offsetWidth - HINT_CORNER_PX;
    hint.classList.toggle("pointing", pointing);
  }

  dispose(): void {
    this.stop.abort();
    this.firstPerson?.dispose();
    this.model.dispose();
  }

  private async furnish(): Promise<void> {
    try {
      this.model.build(await homeFile(this.home.episode.scene.scene_id, this.stop.signal));
    } catch (error) {
      if (!this.stop.signal.aborted) throw error;
    }
  }

  private look(): Targets {
    const pose = this.home.own.pose;
    if (pose === null) return this.targets;
    const pointed = this.pointed === null || this.mapIsMain ? null : this.thingAt(this.pointed);
    this.targets = targetsOf(this.home, pose, this.pitch, pointed, (thing) => this.model.middleOf(thing));
    const { primary, articulated } = this.targets;
    const target: Thing | null = primary ?? (articulated === null ? null : { kind: "furniture", index: articulated });
    this.marked = {
      objects: new Set(this.home.reach.objects),
      furniture: new Set(this.home.reach.furniture),
      target,
    };
    this.model.mark(this.marked);
    this.layout.stage.classList.toggle("pointing", pointed !== null && pointed.kind !== "wall" && pointed.kind !== "agent");
    return this.targets;
  }

  private makeStage(): StageView | null {
    try {
      return new StageView(this.layout.view, this.layout.partnerView, this.home, this.model);
    } catch {
      return null;
    }
  }
}
