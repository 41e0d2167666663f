/** The page: joins, keeps the connection, and shows the stage the server says the person is in. */

import { closeDialog } from "./dialogs/dialog.ts";
import { h } from "./dom.ts";
import { Notices } from "./panels/notices.ts";
import { Play } from "./play/play.ts";
import { consentPage } from "./stages/consent.ts";
import { endedPage, strayPage, thanksPage } from "./stages/farewell.ts";
import { feedbackPage, type Next } from "./stages/feedback.ts";
import { lobbyPage } from "./stages/lobby.ts";
import { Connection, type ConnectionState } from "./wire/connection.ts";
import type { EpisodeMessage, Feedback, ServerMessage, StageMessage } from "./wire/protocol.ts";
import { JoinRefused, forgetToken, join, markOver, storedToken, takeInvitation } from "./wire/session_token.ts";
import "./style/page.css";

const SLOW_CONNECTION_MS = 600;

class Page {
  private readonly root = document.getElementById("app")!;
  private readonly notices = new Notices(document.body);
  private connection: Connection | null = null;
  private play: Play | null = null;
  /** What is shown now, so that being told the same again changes nothing a person may be filling in. */
  private shown = "";
  /** Feedback not yet known to be stored, and what is to follow it. */
  private pending: { feedback: Feedback; next: Next } | null = null;
  private idleTimer = 0;
  private idling = false;
  private retryTimer = 0;

  async start(): Promise<void> {
    const invitation = takeInvitation();
    const kept = storedToken(invitation);
    if (kept !== null) return this.connect(kept);
    if (invitation === null) {
      this.put("stray", strayPage("You need an invitation", "Open the link you were given. It leads here and lets you in."));
      return;
    }
    try {
      this.connect(await join(invitation));
    } catch (error) {
      if (!(error instanceof JoinRefused)) throw error;
      this.put("stray", strayPage("This invitation does not work", error.message));
    }
  }

  private connect(token: string): void {
    this.connection = new Connection(token, {
      message: (message) => this.hear(message),
      keyframe: (frame, at) => this.play?.keyframe(frame, at),
      state: (state, retryAt) => this.connected(state, retryAt),
      latency: (milliseconds) => this.play?.latency(milliseconds),
    });
    this.connection.open();
  }

  private hear(message: ServerMessage): void {
    switch (message.type) {
      case "stage":
        return this.showStage(message);
      case "episode":
        return this.showEpisode(message);
      case "idle":
        return this.warnOfIdling(message.seconds_left ?? null);
      case "feedback_saved":
        return this.feedbackSaved(message.key);
      case "error":
        return this.notices.say(message.message, "bad");
      default:
        this.play?.message(message);
    }
  }

  // --- stages ----------------------------------------------------------------------------------------------------

  private showStage(message: StageMessage): void {
    const { stage } = message;
    if (stage !== "episode" && stage !== "tutorial") this.endPlay();
    this.warnOfIdling(null);
    const send = this.connection!;
    switch (stage) {
      case "consent":
        return this.put("consent", () => consentPage(() => send.send({ type: "consent" })));
      case "lobby": {
        const ready = (): void => void send.send({ type: "ready", again: false });
        return this.put(`lobby ${message.position}`, () => lobbyPage(message.position, message.message, ready));
      }
      case "feedback": {
        const key = `feedback ${message.result?.episode_number} ${message.result?.attempt}`;
        this.put(key, () => feedbackPage(message.result, message.message, (feedback, next) => this.feedback(feedback, next)));
        // The line broke while it was on its way.
        if (this.pending !== null) send.send(this.pending.feedback);
        return;
      }
      case "thanks":
        markOver();
        return this.put("thanks", () => thanksPage(message.totals, message.message));
      case "ended":
        markOver();
        return this.put("ended", () => endedPage(message.totals, message.message));
      default:
        if (this.play === null) this.put("preparing", () => strayPage("One moment", "Your home is being prepared."));
    }
  }

  private showEpisode(episode: EpisodeMessage): void {
    if (this.play !== null && this.play.index === episode.index && episode.resumed) {
      this.play.resume(episode);
      this.notices.warn(null);
      return;
    }
    this.endPlay();
    this.shown = "play";
    document.title = `${episode.tutorial ? "Tutorial" : "Task"} · Flywheel`;
    this.play = new Play(episode, this.notices, (message) => this.connection?.send(message) ?? false);
    this.play.show(this.root);
    if (episode.resumed) this.notices.say("Welcome back. The task goes on where you left it.");
  }

  private endPlay(): void {
    this.play?.dispose();
    this.play = null;
  }

  private feedback(feedback: Feedback, next: Next): void {
    this.pending = { feedback, next };
    this.connection?.send(feedback);
  }

  private feedbackSaved(key: string): void {
    if (this.pending?.feedback.key !== key) return;
    const { next } = this.pending;
    this.pending = null;
    if (next === "stop") this.connection?.send({ type: "end" });
    else this.connection?.send({ type: "ready", again: next === "again" });
  }

  /** Show a page, unless it is the one already there. */
  private put(key: string, page: HTMLElement | (() => HTMLElement)): void {
    if (this.shown === key) return;
    this.shown = key;
    closeDialog();
    const element = typeof page === "function" ? page() : page;
    this.root.replaceChildren(element);
    const heading = element.querySelector("h1");
    document.title = `${heading?.textContent ?? "Collect"} · Flywheel`;
    heading?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  // --- what may be wrong -----------------------------------------------------------------------------------------

  private warnOfIdling(secondsLeft: number | null): void {
    window.clearInterval(this.idleTimer);
    if (secondsLeft === null) {
      // The band may be saying something else meanwhile.
      if (this.idling) this.notices.warn(null);
      this.idling = false;
      return;
    }
    this.idling = true;
    const end = performance.now() + secondsLeft * 1000;
    const show = (): void => {
      const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      this.notices.warn(`Are you still there? The session ends in ${left} s.`, {
        label: "I am here",
        run: () => {
          if (this.play) this.play.stir();
          this.warnOfIdling(null);
        },
      });
    };
    show();
    // Not every second: each change is read out.
    this.idleTimer = window.setInterval(show, 10_000);
  }

  private connected(state: ConnectionState, retryAt: number | null): void {
    window.clearTimeout(this.retryTimer);
    const hurry = { label: "Try now", run: () => this.connection?.hurry() };
    switch (state) {
      case "open":
        // A play is only back with its episode.
        if (this.play === null) this.notices.warn(null);
        return;
      case "connecting":
        // The first moments need no words.
        this.retryTimer = window.setTimeout(() => this.notices.warn("Connecting …"), SLOW_CONNECTION_MS);
        return;
      case "waiting": {
        this.play?.offline();
        const seconds = Math.ceil(((retryAt ?? 0) - performance.now()) / 1000);
        const when = seconds > 2 ? ` Trying again in ${seconds} s.` : " Trying again …";
        return this.notices.warn(`The connection is lost. Nothing you did is gone.${when}`, hurry);
      }
      case "taken_over":
        return this.stopped("You are playing somewhere else", "This session was opened in another window. Go on there, or take it back.", {
          label: "Play here",
          run: () => window.location.reload(),
        });
      case "bad_token":
        forgetToken();
        return this.stopped("This session is not known any more", "Open your invitation link again.");
      case "ended":
        if (this.shown !== "thanks" && this.shown !== "ended") this.stopped("The session has ended", "Everything up to here is saved.");
        markOver();
        return this.notices.warn(null);
    }
  }

  private stopped(title: string, text: string, action?: { label: string; run: () => void }): void {
    this.endPlay();
    this.notices.warn(null);
    this.put(`stopped ${title}`, () => strayPage(title, text, action));
  }
}

// Without this element nothing would be heard of a script that fails while it loads.
window.addEventListener("error", () => {
  if (!document.querySelector(".card, .play")) {
    document.getElementById("app")?.replaceChildren(
      h("main", { class: "card-page" }, h("article", { class: "card" }, h("h1", { text: "This page could not start" }), h("p", { text: "Reload it, or try another browser." }))),
    );
  }
});

void new Page().start();
