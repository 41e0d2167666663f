"""The station: from a new policy to an epoch of labelled episodes on the server, and round again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import SEEDS_PER_EPOCH
from hitl_ops.records.station_episode import StationEpisodeWriter
from robot_client.emergency import EmergencyExit
from robot_client.episode_run import EpisodeProgress, EpisodeRun
from robot_client.pacing import Jitter
from robot_client.people import Person, Situation
from robot_client.policy_connection import Link, PolicyConnection, ServedPolicy
from robot_client.recordings import Recordings
from robot_client.robots.robot import Robot, RobotFault
from robot_client.screens import Screen, StationView
from robot_client.states import FOLLOWS, State
from robot_client.station_config import StationConfig
from robot_client.sync.sending import Sending, Sync

EMERGENCY_CODE = 130
_LOOK_S = 0.02
_RENEW_S = 2.0


class _Emergency(Exception):
    """The emergency exit was taken."""


@dataclass(frozen=True)
class StationParts:
    """What a station is made of.

    Attributes:
        robot: the robot.
        policy: the connection to the policy server.
        recordings: where episodes are kept.
        sync: how they reach the server.
        person: who presses the keys.
        screen: where it is shown.
        emergency: the emergency exit.
    """

    robot: Robot
    policy: PolicyConnection
    recordings: Recordings
    sync: Sync
    person: Person
    screen: Screen
    emergency: EmergencyExit


class Station:
    """Runs the state machine.

    Args:
        config: the station's.
        parts: what it is made of.
        start_immediately: begin with whatever policy there is, without waiting for a new one.
        epochs: end after so many; by default after the configuration's last.
    """

    def __init__(
        self,
        config: StationConfig,
        parts: StationParts,
        *,
        start_immediately: bool = False,
        epochs: int | None = None,
    ) -> None:
        self.view = StationView(task=config.task.description)
        self.jitters: list[Jitter] = []
        """Of every episode, in order."""
        self._config = config
        self._parts = parts
        self._start_immediately = start_immediately
        self._epochs_left = epochs
        self._recorder: StationEpisodeWriter | None = None
        self._abort_reason = ""
        self._save_error: UserError | None = None
        self._success: bool | None = None
        self._served = ServedPolicy()
        self._collected = False
        self._entered = time.monotonic()
        self._connections_before = 0
        self._steps: dict[State, Callable[[], State]] = {
            State.WAITING: self._waiting,
            State.READY: self._choosing,
            State.EXECUTING: self._executing,
            State.LABELING: self._labeling,
            State.DAMPING: self._damping,
            State.SAVING: self._saving,
            State.DECIDING: self._choosing,
            State.SYNCING: self._syncing,
        }

    def run(self) -> int:
        """Run until the session is over or the emergency exit is taken.

        Returns:
            The exit code.
        """
        parts, view = self._parts, self.view
        for repaired in parts.recordings.repaired:
            what = f"{repaired.frames} frames" if repaired.path else "nothing"
            parts.screen.say(f"a killed recording was repaired: {repaired.journal.name}, {what} kept")
        view.epoch = parts.recordings.first_unfinished()
        view.tally = parts.recordings.tally(view.epoch)
        try:
            self._enter(State.WAITING)
            while view.state is not State.FINISHED:
                following = self._steps[view.state]()
                if following is not view.state and following not in FOLLOWS[view.state]:
                    raise AssertionError(f"{following} cannot follow {view.state}")
                self._enter(following)
        except _Emergency:
            return self._leave_at_once()
        return 0

    # --- the states -------------------------------------------------------------------------------------------------

    def _waiting(self) -> State:
        """Poll until there is a policy that no epoch was collected with yet; send first what was never sent."""
        parts, view = self._parts, self.view
        link = self._first_connection()
        while True:
            unsent = parts.recordings.unsent(self._epoch_of(link))
            if unsent:
                view.epoch = unsent[0]
                return State.SYNCING
            if self._start_immediately or (link.connected and self._is_new(link)):
                self._start_immediately = False
                self._begin_epoch(link)
                self._pressed()  # what was pressed while nothing could be started starts nothing now
                return State.READY
            self._look(link)
            if parts.emergency.wait(self._config.policy_server.poll_interval_s):
                raise _Emergency
            # What a server serves it says on connecting; one that names no policy is watched without a break instead.
            named = link.policy.iteration is not None or not link.connected
            link = parts.policy.renew(_RENEW_S) if named else parts.policy.link

    def _first_connection(self) -> Link:
        policy = self._parts.policy
        until = time.monotonic() + _RENEW_S
        while not policy.link.connected and time.monotonic() < until:
            self._look(policy.link)
            if self._parts.emergency.wait(_LOOK_S):
                raise _Emergency
        return policy.link

    def _epoch_of(self, link: Link) -> int:
        served, recordings = link.policy.iteration, self._parts.recordings
        return recordings.first_unfinished() if served is None or recordings.finished(served) else served

    def _is_new(self, link: Link) -> bool:
        if link.policy.iteration is not None:
            return not self._parts.recordings.finished(link.policy.iteration)
        # A plain openpi server says nothing: it is started anew with new weights.
        return link.connections > self._connections_before

    def _begin_epoch(self, link: Link) -> None:
        view = self.view
        view.epoch = self._epoch_of(link)
        self._served = link.policy
        view.progress = EpisodeProgress()
        view.transfer = ""
        self._count()
        view.link = link

    def _choosing(self) -> State:
        """READY and DECIDING: another episode, or the epoch is complete."""
        parts, view = self._parts, self.view
        while True:
            for key in self._pressed():
                if key == "y" and self._can_start():
                    return State.EXECUTING
                if key == "n":
                    if view.tally.complete:
                        return self._epoch_complete()
                    parts.screen.say("no complete episode yet: press y, or Ctrl+C to leave", wrong=True)
            self._rest()

    def _epoch_complete(self) -> State:
        parts = self._parts
        try:
            parts.recordings.close_epoch(self.view.epoch)
        except UserError as error:
            parts.screen.say(str(error), wrong=True)
            return self.view.state
        self._collected = True
        return State.SYNCING

    def _can_start(self) -> bool:
        parts, view = self._parts, self.view
        link = parts.policy.renew(_RENEW_S)
        self._look(link)
        if not link.connected:
            parts.screen.say(f"{link.error}; the robot holds", wrong=True)
            return False
        if (link.policy.policy_id, link.policy.iteration) != (self._served.policy_id, self._served.iteration):
            if self._served.metadata:
                parts.screen.say(f"the server serves {link.policy.policy_id or 'another policy'} now")
            if view.tally.complete:
                self._served = link.policy
            else:
                self._begin_epoch(link)
        return True

    def _executing(self) -> State:
        parts, view = self._parts, self.view
        before = State.DECIDING if view.tally.complete + view.tally.aborted else State.READY
        link = parts.policy.link
        self._abort_reason, self._success, view.label = "", None, None
        parts.screen.say("Resetting robot to starting pose...")
        try:
            self._reset()
            self._recorder = parts.recordings.begin(
                view.epoch,
                parts.robot.spec,
                link.policy.policy_id,
                simulated=parts.robot.simulated,
                waits=parts.robot.lockstep,
            )
        except UserError as error:
            parts.screen.say(str(error), wrong=True)
            self._hold()
            return before
        run = EpisodeRun(
            self._config,
            parts.robot,
            parts.policy,
            self._recorder,
            stop_wanted=self._stop_wanted,
            emergency=lambda: parts.emergency.taken,
        )
        view.progress = run.progress
        end = run.run()
        view.link = parts.policy.link
        self.jitters.append(run.jitter)
        run.progress.jitter = run.jitter
        self._success = self._truth()
        if len(run.progress.policies) > 1:
            parts.screen.say(f"several policies acted: {', '.join(run.progress.policies)}", wrong=True)
        if end.kind == "stopped" and run.progress.frames:
            parts.screen.say(f"{end.reason}; {run.progress.frames} frames, jitter {run.jitter}")
            return State.LABELING
        self._abort_reason = end.reason if end.kind != "stopped" else "stopped before anything was recorded"
        if end.kind == "emergency":
            raise _Emergency
        parts.screen.say(f"robot holds: {self._abort_reason}", wrong=True)
        return State.SAVING

    def _stop_wanted(self, seconds: float) -> bool:
        self.view.link = self._parts.policy.link
        situation = Situation(State.EXECUTING, seconds, self.view.tally.complete, None, self._truth())
        return "s" in self._parts.person.keys(situation)

    def _labeling(self) -> State:
        parts, view = self._parts, self.view
        asked = self._config.training.labeling_mode == "human_labeling"
        while True:
            for key in self._pressed():
                if key in "gb":
                    view.label = "good" if key == "g" else "bad"
                    parts.screen.show(view)
                    advantage = f"{view.label.upper()} (Advantage={view.label == 'good'})"
                    parts.screen.say(f"Episode labeled as {advantage}")
                elif key in "rd" and asked and view.label is None:
                    parts.screen.say("label the episode first: g (good) or b (bad); the robot holds", wrong=True)
                elif key == "r":
                    parts.screen.say("Resetting robot to starting pose...")
                    try:
                        self._reset()
                    except RobotFault as error:
                        parts.screen.say(str(error), wrong=True)
                        self._hold()
                    return State.SAVING
                elif key == "d":
                    return State.DAMPING
            self._rest()

    def _damping(self) -> State:
        parts = self._parts
        try:
            parts.robot.damp()
        except RobotFault as error:
            parts.screen.say(str(error), wrong=True)
        while "e" not in self._pressed():
            self._rest()
        self._hold()
        return State.SAVING

    def _saving(self) -> State:
        """Save the episode; while the disk is full it stays in its journal, and it is tried again and again."""
        told = ""
        while not self._saved():
            error = self._save_error.what if self._save_error else ""
            if error != told:
                self._parts.screen.say(f"{error}; the data is kept, and it is tried again", wrong=True)
                told = error
            if self._parts.emergency.wait(1.0):
                raise _Emergency
        self._count()
        return State.DECIDING

    def _saved(self) -> bool:
        """Publish the episode; returns whether it is, with the reason in ``_save_error`` where it is not."""
        recorder = self._recorder
        if recorder is None:
            return True
        try:
            if self._abort_reason:
                path = recorder.abort(self._abort_reason, success=self._success)
                said = f"aborted episode saved: {path.name}" if path else "nothing was recorded"
            else:
                said = f"saved {recorder.finish(self.view.label, success=self._success).name}"
        except UserError as error:
            self._save_error = error
            return False
        self._recorder = None
        self._parts.screen.say(said)
        return True

    def _syncing(self) -> State:
        """Send the epoch until all of it is verified on the server."""
        parts, view = self._parts, self.view
        while True:
            sending = Sending(parts.sync, parts.recordings.folder(view.epoch), self._config.data.station)
            while not sending.over:
                view.transfer = sending.words
                if parts.emergency.wait(_LOOK_S):
                    sending.stop()
                    sending.join(2.0)
                    raise _Emergency
            if sending.manifest is not None:
                try:
                    parts.recordings.finish(sending.manifest)
                    break
                except UserError as error:
                    sending.error = error
            view.transfer = f"failed: {sending.error}"
            parts.screen.say(f"{sending.error}; tried again in {self._config.data.retry_s:g} s", wrong=True)
            if parts.emergency.wait(self._config.data.retry_s):
                raise _Emergency
        view.transfer = sending.words
        parts.screen.say(f"epoch {view.epoch}: {sending.words}")
        self._connections_before = parts.policy.link.connections
        self._pressed()  # nor does what was pressed meanwhile
        if not self._collected:
            return State.WAITING
        self._collected = False
        if self._epochs_left is not None:
            self._epochs_left -= 1
        over = self._epochs_left == 0 or view.epoch + 1 >= self._config.training.max_epochs
        return State.FINISHED if over else State.WAITING

    # --- what several states need -----------------------------------------------------------------------------------

    def _enter(self, state: State) -> None:
        self.view.state = state
        self._entered = time.monotonic()
        self._parts.screen.show(self.view)

    def _pressed(self) -> list[str]:
        if self._parts.emergency.taken:
            raise _Emergency
        view = self.view
        since = time.monotonic() - self._entered
        return self._parts.person.keys(Situation(view.state, since, view.tally.complete, view.label, self._success))

    def _rest(self) -> None:
        self._look(self._parts.policy.link)
        time.sleep(_LOOK_S)

    def _look(self, link: Link) -> None:
        view = self.view
        if link is not view.link:
            if view.link.connected and not link.connected:
                self._parts.screen.say(link.error or "the policy server has gone", wrong=True)
            view.link = link

    def _count(self) -> None:
        view = self.view
        view.tally = self._parts.recordings.tally(view.epoch)
        view.episode = self._parts.recordings.next_number(view.epoch) + 1
        for damaged in view.tally.damaged:
            self._parts.screen.say(damaged, wrong=True)

    def _reset(self) -> None:
        view = self.view
        number = self._parts.recordings.next_number(view.epoch)
        seed = self._config.robot.seed + SEEDS_PER_EPOCH * view.epoch + number
        self._parts.robot.reset(seed, lambda: self._parts.emergency.taken)

    def _hold(self) -> None:
        try:
            self._parts.robot.hold()
        except RobotFault as error:
            self._parts.screen.say(str(error), wrong=True)

    def _truth(self) -> bool | None:
        try:
            return self._parts.robot.success()
        except RobotFault:
            return None

    def _leave_at_once(self) -> int:
        """The robot holds, the episode is saved as far as it came, and what was said of it is kept."""
        parts = self._parts
        self._hold()
        parts.screen.say("emergency exit: the robot holds", wrong=True)
        if self._recorder is not None and not self._saved():
            parts.screen.say(f"{self._save_error}; the next start repairs '{self._recorder.journal}'", wrong=True)
        return EMERGENCY_CODE
