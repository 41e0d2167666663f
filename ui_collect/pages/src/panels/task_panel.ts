/** The task: what to do, how far it is, which attempt this is, and whether all is well with the line. */

import { h, setText } from "../dom.ts";
import type { Progress } from "../wire/keyframes.ts";
import type { EpisodeMessage } from "../wire/protocol.ts";

export class TaskPanel {
  readonly element: HTMLElement;
  private readonly bar: HTMLProgressElement;
  private readonly percent: HTMLElement;
  private readonly latency: HTMLElement;
  private readonly saved: HTMLElement;

  constructor(episode: EpisodeMessage) {
    this.bar = h("progress", { attrs: { max: 100, value: 0, "aria-label": "Task progress" } });
    this.percent = h("span", { class: "percent", text: "0 %" });
    this.latency = h("span", { class: "chip", attrs: { title: "Time a key press takes to the server and back" } });
    this.saved = h("span", { class: "chip saved", text: "Saved" });
    this.element = h(
      "header",
      { class: "task", attrs: { "aria-label": "Task" } },
      h(
        "div",
        { class: "task-line" },
        h("p", { class: "eyebrow", text: headline(episode) }),
        h("div", { class: "chips" }, this.latency, this.saved),
      ),
      h("h1", { text: episode.instruction }),
      h("div", { class: "progress" }, this.bar, this.percent),
    );
    this.showLatency(null);
  }

  showProgress(progress: Progress): void {
    const percent = Math.round(progress.complete * 100);
    if (this.bar.value !== percent) this.bar.value = percent;
    setText(this.percent, progress.success ? "Done" : `${percent} %`);
    this.element.classList.toggle("done", progress.success);
  }

  /** Milliseconds there and back; null while there is no line. */
  showLatency(milliseconds: number | null): void {
    setText(this.latency, milliseconds === null ? "– ms" : `${Math.round(milliseconds)} ms`);
    this.latency.classList.toggle("bad", milliseconds !== null && milliseconds > 250);
  }

  showSaved(saved: boolean): void {
    setText(this.saved, saved ? "Saved" : "Saving…");
    this.saved.classList.toggle("pending", !saved);
  }
}

function headline(episode: EpisodeMessage): string {
  if (episode.tutorial) return "Tutorial";
  const task = episode.of ? `Task ${episode.episode_number} of ${episode.of}` : `Task ${episode.episode_number}`;
  return episode.attempt > 1 ? `${task} · attempt ${episode.attempt} of ${episode.attempts_allowed}` : task;
}
