/** One play: the home, what the person does in it, and everything shown about it. */

import { choicesInReach, openOrClose, walkTo } from "../acting/choices.ts";
import { listenToKeys } from "../acting/keyboard.ts";
import { Names, answerText, capitalized, parseAction, succeeded } from "../acting/names.ts";
import { listenToPointer } from "../acting/pointer.ts";
import { Steering } from "../acting/steering.ts";
import type { Targets } from "../acting/targets.ts";
import { askForAction } from "../dialogs/action_dialog.ts";
import { closeDialog, confirmed, dialogIsOpen } from "../dialogs/dialog.ts";
import { showHelp } from "../dialogs/help_dialog.ts";
import { askWhereTo } from "../dialogs/navigate_dialog.ts";
import type { Thing } from "../drawing/home_model.ts";
import { GLANCE } from "../drawing/stage_view.ts";
import { LiveHome } from "../household/live_home.ts";
import { wrapped } from "../household/pose.ts";
import { ActionsPanel } from "../panels/actions_panel.ts";
import { MissingPanel } from "../panels/missing_panel.ts";
import type { Notices } from "../panels/notices.ts";
import { PartnerPanel } from "../panels/partner_panel.ts";
import { TaskPanel } from "../panels/task_panel.ts";
import { TutorialPanel } from "../panels/tutorial_panel.ts";
import type { Keyframe } from "../wire/keyframes.ts";
import type { ClientMessage, EpisodeMessage, PartnerMessage, ServerMessage } from "../wire/protocol.ts";
import { Deeds } from "./deeds.ts";
import { playLayout, type PlayLayout } from "./layout.ts";
import { Outbox } from "./outbox.ts";
import { PlayViews } from "./views.ts";
import { TutorialWatch } from "./tutorial_watch.ts";

export class Play {
  readonly index: number;
  private readonly home: LiveHome;
  private readonly names: Names;
  private readonly notices: Notices;
  private readonly outbox: Outbox;
  private readonly steering: Steering;
  private readonly deeds: Deeds;
  private readonly layout: PlayLayout;
  private readonly views: PlayViews;
  private readonly task: TaskPanel;
  private readonly partner: PartnerPanel;
  private readonly missing = new MissingPanel();
  private readonly actions: ActionsPanel;
  private readonly tutorial: TutorialWatch | null = null;
  private readonly stop = new AbortController();
  private roundTrip = 60;
  private last = 0;
  private decision: number | null = null;
  private partnerAction = "";
  private complete = false;
  private over = false;
  private online = true;

  private readonly skipTutorial: () => void;

  constructor(episode: EpisodeMessage, notices: Notices, send: (message: ClientMessage) => boolean) {
    this.index = episode.index;
    this.home = new LiveHome(episode);
    this.names = new Names(episode);
    this.notices = notices;
    this.skipTutorial = () => void send({ type: "tutorial_done" });
    this.outbox = new Outbox(episode.next_seq, send);
    this.steering = new Steering((control) => {
      if (!this.over && this.online) this.outbox.post({ type: "input", ...control });
    });
    this.deeds = new Deeds(this.home, this.names, notices, this.outbox, {
      able: () => this.able(),
      targets: () => this.views.targets,
      inDialog: (question) => this.inDialog(question),
      setsOut: () => this.views.lookTowards(GLANCE),
    });
    this.task = new TaskPanel(episode);
    this.partner = new PartnerPanel(this.names, () => void this.overridePartner());
    this.actions = new ActionsPanel(
      (choice) => this.deeds.act(choice),
      () => void this.doSomethingElse(),
    );
    const panels = [this.partner.element, this.missing.element, this.actions.element];
    if (episode.tutorial) {
      const lessons = new TutorialPanel(this.skipTutorial);
      this.tutorial = new TutorialWatch(lessons);
      panels.splice(0, 2, lessons.element);
    }
    const commands = {
      primary: () => this.deeds.primary(),
      openOrClose: () => this.deeds.openOrClose(),
      navigate: () => void this.navigate(),
      swapMap: () => this.views.swap(),
      finish: () => void this.finish(),
      skip: () => void this.skip(),
      help: () => this.help(),
      stick: (forward: number, turn: number) => this.steering.setStick(forward, turn),
    };
    this.layout = playLayout(this.task.element, panels, commands);
    this.views = new PlayViews(this.layout, this.home, this.names);
    if (!this.views.firstPerson) {
      notices.say("This browser cannot draw in three dimensions. You can play on the map.", "bad");
    }
    listenToKeys(this.steering, commands, this.stop.signal);
    this.listenToPointers();
  }

  /** Put the play onto the page and begin. */
  show(into: HTMLElement): void {
    into.replaceChildren(this.layout.element);
    this.layout.stage.focus({ preventScroll: true });
    const frame = (now: number): void => {
      if (this.stop.signal.aborted) return;
      this.frame(now);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  dispose(): void {
    this.stop.abort();
    closeDialog();
    this.views.dispose();
    this.notices.warn(null);
    this.notices.clear();
  }

  // --- what the server says --------------------------------------------------------------------------------------

  keyframe(frame: Keyframe, now: number): void {
    this.home.apply(frame, now, this.roundTrip);
    const complete = this.home.progress.success;
    if (frame.progress) this.task.showProgress(this.home.progress);
    if (complete && !this.complete && !this.home.progress.over && this.tutorial === null) {
      this.notices.say("Everything is done. Finish the task with F, or with the button.", "good");
    }
    this.complete = complete;
    if (this.home.progress.over && !this.over) {
      this.over = true;
      this.steering.releaseAll();
      closeDialog();
    }
  }

  message(message: ServerMessage): void {
    switch (message.type) {
      case "partner":
        this.partnerDid(message);
        break;
      case "missing":
        this.missing.show(message.lines.map((line) => capitalized(this.names.inText(line))));
        break;
      case "answer":
        this.answered(message.seq, message.action, message.response);
        break;
      case "saved":
        this.outbox.saved(message.seq);
        break;
    }
  }

  latency(milliseconds: number): void {
    this.roundTrip = milliseconds;
    this.task.showLatency(milliseconds);
  }

  /** The line broke: the home stands still until it is back. */
  offline(): void {
    this.online = false;
    this.steering.releaseAll();
    this.task.showLatency(null);
  }

  /** The line broke and is back; the play goes on where it was. */
  resume(episode: EpisodeMessage): void {
    this.online = true;
    this.outbox.resume(episode.next_seq);
    this.deeds.forget();
    this.steering.resend(this.steering.control(this.home.own.pose?.yaw ?? 0), performance.now());
  }

  /** Tell the server that somebody is here. */
  stir(): void {
    this.outbox.post({ type: "input", forward: 0, strafe: 0, turn: 0 });
  }

  private partnerDid(message: PartnerMessage): void {
    this.decision = message.decision ?? this.decision;
    if (message.action) this.partnerAction = message.action;
    this.partner.show({ ...message, ...(this.decision === null ? {} : { decision: this.decision }) });
    this.layout.partnerFrame.hidden = message.status === "away";
  }

  private answered(seq: number, action: string, response: string): void {
    this.deeds.answered(seq);
    const good = succeeded(response);
    if (good) this.tutorial?.did(action);
    if (good && !this.over) this.face(parseAction(action));
    const text = good ? `You ${this.names.did(action)}.` : this.names.inText(answerText(response));
    this.notices.say(text, good ? "good" : "bad");
  }

  private able(): boolean {
    if (!this.online) this.notices.say("The home is not connected just now. Try again in a moment.", "bad");
    return this.online && !this.over;
  }

  /** Having walked to a thing one looks at it, not past it. */
  private face({ tool, args }: { tool: string; args: string[] }): void {
    const { home, steering } = this;
    const name = args[0] ?? "";
    const thing: Thing = home.episode.furniture.includes(name)
      ? { kind: "furniture", index: home.episode.furniture.indexOf(name) }
      : { kind: "object", index: home.episode.objects.indexOf(name) };
    const aim = tool === "Navigate" ? this.views.directionOf(thing) : null;
    if (aim === null || steering.busy) return;
    steering.lookBy(wrapped(aim.yaw - aim.from), aim.from);
    this.views.lookTowards(aim.pitch);
  }

  // --- what the person does --------------------------------------------------------------------------------------

  /** Run a dialog with nothing held down, and give the focus back to the home. */
  private async inDialog<T>(question: () => Promise<T>): Promise<T | null> {
    if (dialogIsOpen() || this.over) return null;
    this.steering.releaseAll();
    const answer = await question();
    this.layout.stage.focus({ preventScroll: true });
    return answer;
  }

  private async navigate(): Promise<void> {
    const name = await this.inDialog(() => askWhereTo(this.home, this.names));
    if (name !== null) this.deeds.act(walkTo(name, this.names));
  }

  private async overridePartner(): Promise<void> {
    const { home, names, decision } = this;
    if (decision === null || home.partner === null) return;
    const now = this.partnerAction ? `Its last choice: it ${names.doing(this.partnerAction)}. ` : "";
    const action = await this.inDialog(() =>
      askForAction(home, names, {
        title: "What should your partner do instead?",
        text: `${now}Your choice replaces what it does next; after that it decides for itself again.`,
        agent: home.partner ?? 0,
        submit: "Tell it",
        without: [],
      }),
    );
    if (action === null) return;
    this.outbox.post({ type: "override", decision, ...action });
    this.notices.say("Your partner has been told.", "good");
  }

  private async doSomethingElse(): Promise<void> {
    const { home, names } = this;
    const action = await this.inDialog(() =>
      askForAction(home, names, {
        title: "What do you want to do?",
        text: "Most of it only works within reach.",
        agent: home.human,
        submit: "Do it",
        without: ["Done", "Wait"],
      }),
    );
    if (action !== null) this.deeds.act({ ...action, label: "On it" });
  }

  private async finish(): Promise<void> {
    if (this.tutorial !== null) return this.leaveTutorial();
    const percent = Math.round(this.home.progress.complete * 100);
    const text = `${percent} % of the task is done. Finish when you think that nothing more is to be done.`;
    const sure = await this.inDialog(() => confirmed("Finish this task?", text, "Finish"));
    if (sure) this.outbox.post({ type: "finish" });
  }

  private async skip(): Promise<void> {
    if (this.tutorial !== null) return this.leaveTutorial();
    const text = "You give this task up. What you did so far is kept.";
    const sure = await this.inDialog(() => confirmed("Skip this task?", text, "Skip it", true));
    if (sure) this.outbox.post({ type: "skip" });
  }

  private async leaveTutorial(): Promise<void> {
    const text = "You can go on to the first task at any time.";
    if (await this.inDialog(() => confirmed("Leave the tutorial?", text, "Go on"))) this.skipTutorial();
  }

  private help(): void {
    void this.inDialog(showHelp);
  }

  private listenToPointers(): void {
    const { signal } = this.stop;
    listenToPointer(
      this.layout.stage,
      {
        look: (left, up) => {
          const pose = this.home.own.pose;
          if (pose !== null) this.steering.lookBy(left, pose.yaw);
          this.views.tilt(up);
        },
        point: (place) => this.views.pointAt(place),
        press: (place, finger) => {
          this.layout.stage.focus({ preventScroll: true });
          if (this.views.mapIsMain) this.views.swap();
          else void this.deeds.press(this.views.thingAt(place, finger));
        },
      },
      signal,
    );
    this.layout.mapPane.addEventListener(
      "click",
      (event) => {
        const box = this.layout.map.getBoundingClientRect();
        // A small map is only looked at; pressing it makes it large.
        if (!this.views.mapIsMain && box.width < 240) this.views.swap();
        else void this.deeds.press(this.views.thingOnMap({ x: event.clientX - box.left, y: event.clientY - box.top }));
        this.layout.stage.focus({ preventScroll: true });
      },
      { signal },
    );
  }

  // --- time ------------------------------------------------------------------------------------------------------

  private frame(now: number): void {
    const seconds = Math.min(0.1, (now - this.last) / 1000 || 0);
    this.last = now;
    const before = this.home.own.pose === null ? null : { ...this.home.own.pose };
    if (before !== null && !this.over && this.online) {
      const control = this.steering.control(before.yaw);
      this.steering.report(control, now);
      this.home.advance(control, seconds, now, this.roundTrip);
      this.tutorial?.moved(before, this.home.own.pose!, control);
    }
    const looked = this.views.draw(now, seconds);
    if (looked === null) return;
    this.actions.show(choicesInReach(this.home, this.names));
    this.showTargets(looked);
    this.task.showSaved(!this.outbox.late(now));
  }

  private showTargets({ primary, articulated }: Targets): void {
    const { home, names, layout } = this;
    const held = home.held(home.human);
    layout.hand.textContent = held === null ? "" : `In your hand: ${names.of(home.objectName(held.index))}`;
    const first = this.deeds.meaning(primary);
    const door = articulated === null ? null : openOrClose(home, names, articulated);
    layout.primary.textContent = first?.label ?? (held === null ? "Pick up" : "Put down");
    layout.primary.disabled = first === null;
    layout.second.textContent = door?.label ?? "Open";
    layout.second.disabled = door === null;
    this.views.showHint(first?.label ?? null, door?.label ?? null);
  }
}
