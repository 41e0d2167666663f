/** The picture of a recorded play: from above or through either agent's eyes, with a second, small view beside it. */

import type { Names } from "../acting/names.ts";
import { h, wantsStillness } from "../dom.ts";
import { FloorPlan } from "../drawing/floor_plan.ts";
import { homeFile } from "../drawing/home_file.ts";
import { HomeModel, type Marked, type Thing } from "../drawing/home_model.ts";
import { writeLabels } from "../drawing/overhead_labels.ts";
import { ReplayStage, type Viewpoint } from "../drawing/replay_stage.ts";
import type { RecordedHome } from "../household/recorded_home.ts";

/** What lies over the corner keeps this from the edges, and the home from it. */
const GAP_PX = 16;

export class ReplayViews {
  readonly element: HTMLElement;
  private readonly canvas = h("canvas", { class: "canvas", attrs: { "aria-hidden": "true" } });
  private readonly labels = h("canvas", { class: "canvas labels", attrs: { "aria-hidden": "true" } });
  private readonly smallEyes = h("canvas", { attrs: { "aria-hidden": "true" } });
  private readonly smallMap = h("canvas", { attrs: { "aria-hidden": "true" } });
  private readonly smallName = h("span", { class: "inset-name" });
  private readonly inset: HTMLButtonElement;
  private readonly corner: HTMLElement;
  private readonly tabs: HTMLButtonElement[];
  private readonly note = h("div", { class: "replay-note", attrs: { role: "status" } });
  private readonly home: RecordedHome;
  private readonly names: Names;
  /** What agents are called, by number. */
  private readonly agents: readonly string[];
  private readonly changed: () => void;
  private readonly stop = new AbortController();
  private model: HomeModel | null = null;
  private stage: ReplayStage | null = null;
  private plan: FloorPlan | null = null;
  private smallPlan: FloorPlan | null = null;
  private view: Viewpoint = "above";
  private before: Viewpoint;
  private target: Thing | null = null;
  private drawn = "";

  /** @param changed called when there is something new to draw. */
  constructor(home: RecordedHome, names: Names, agents: readonly string[], changed: () => void) {
    this.home = home;
    this.names = names;
    this.agents = agents;
    this.changed = changed;
    this.before = home.partner ?? home.human;
    this.inset = h(
      "button",
      { class: "inset", attrs: { type: "button" }, on: { click: () => this.look(this.smallView) } },
      this.smallEyes,
      this.smallMap,
      this.smallName,
    );
    this.tabs = this.viewpoints.map((view, index) =>
      h("button", {
        class: "view-tab",
        text: this.nameOf(view),
        attrs: { type: "button", title: `${this.nameOf(view)} (${index + 1})` },
        on: { click: () => this.look(view) },
      }),
    );
    const tabs = h("div", { class: "view-tabs", attrs: { role: "group", "aria-label": "View" } }, ...this.tabs);
    this.corner = h("div", { class: "corner" }, this.inset, tabs);
    this.element = h(
      "section",
      { class: "pane replay", attrs: { "aria-label": "Replay" } },
      this.canvas,
      this.labels,
      this.corner,
      this.note,
    );
    const watch = new ResizeObserver(() => this.changed());
    watch.observe(this.element);
    this.stop.signal.addEventListener("abort", () => watch.disconnect());
    this.say("Loading the replay…", true);
    this.showView();
  }

  /** From above, then every agent's. */
  get viewpoints(): readonly Viewpoint[] {
    return ["above", ...this.agents.keys()];
  }

  /** The recording is there: draw it from now on. */
  begin(): void {
    this.model = new HomeModel(this.home, wantsStillness());
    try {
      this.stage = new ReplayStage(this.canvas, this.home, this.model);
      this.smallPlan = new FloorPlan(this.smallMap, this.home, this.names);
      void this.furnish(this.model);
    } catch {
      this.plan = new FloorPlan(this.labels, this.home, this.names);
      this.element.classList.add("map-only");
      this.look("above");
      this.say("");
    }
    this.changed();
  }

  private async furnish(model: HomeModel): Promise<void> {
    try {
      model.build(await homeFile(this.home.episode.scene.scene_id, this.stop.signal));
    } catch (error) {
      if (this.stop.signal.aborted) return;
      throw error;
    }
    this.say("");
    this.changed();
  }

  /** Say something instead of showing it. */
  say(text: string, busy = false): void {
    this.note.hidden = text === "";
    const dots = h("span", { class: "dots", attrs: { "aria-hidden": "true" } }, h("i"), h("i"), h("i"));
    this.note.replaceChildren(text, ...(busy ? [dots] : []));
  }

  look(view: Viewpoint): void {
    if (this.plan !== null && view !== "above") return;
    if (view !== this.view) this.before = this.view;
    this.view = view;
    this.showView();
    this.changed();
  }

  /** Mark what a decision, or a correction that is being chosen, is about. */
  mark(target: Thing | null): void {
    this.target = target;
    this.changed();
  }

  /** Draw, if anything has changed since the last time; says whether it has to be called again. */
  draw(now: number, seconds: number, playing: boolean): boolean {
    if (this.model === null) return false;
    if (this.stage !== null && playing && !this.stage.pace.due(now)) return true;
    const marked: Marked = { objects: new Set(), furniture: new Set(), target: this.target };
    if (this.plan !== null) {
      this.plan.draw(now, marked);
      return false;
    }
    if (!this.model.ready) return false;
    const { clientWidth: w, clientHeight: height } = this.canvas;
    const seen = JSON.stringify([this.home.time, this.home.revision, this.view, w, height, this.inset.clientWidth, this.target]);
    if (seen === this.drawn) return false;
    this.drawn = seen;
    // While one jumps about, doors are where they are.
    this.model.follow(now, playing ? seconds : Infinity);
    this.model.mark(marked);
    const { smallView } = this;
    const into = smallView === "above" ? null : { agent: smallView, into: this.smallEyes };
    const covered = { width: this.corner.offsetWidth + GAP_PX, height: this.corner.offsetHeight + GAP_PX };
    this.stage!.draw(this.view, into, covered, now);
    if (smallView === "above") this.smallPlan!.draw(now, marked);
    this.labels.hidden = this.view !== "above";
    if (this.view === "above") {
      const { home, names, agents, target } = this;
      writeLabels(this.labels, (point) => this.stage!.project(point), { home, names, agents, target, now });
    }
    return false;
  }

  dispose(): void {
    this.stop.abort();
    this.stage?.dispose();
    this.model?.dispose();
  }

  /** Beside a view through somebody's eyes, the one from above; beside that one, whoever's eyes one last had. */
  private get smallView(): Viewpoint {
    if (this.view !== "above") return "above";
    return this.before === "above" ? (this.home.partner ?? this.home.human) : this.before;
  }

  private nameOf(view: Viewpoint): string {
    return view === "above" ? "From above" : `${this.agents[view] ?? ""}’s view`;
  }

  private showView(): void {
    this.viewpoints.forEach((view, index) => this.tabs[index]!.setAttribute("aria-pressed", String(view === this.view)));
    this.smallMap.hidden = this.smallView !== "above";
    this.smallEyes.hidden = this.smallView === "above";
    this.smallName.textContent = this.nameOf(this.smallView);
    this.inset.setAttribute("aria-label", `Enlarge: ${this.nameOf(this.smallView)}`);
  }
}
