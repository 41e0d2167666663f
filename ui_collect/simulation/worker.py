"""A simulation worker: many plays in one process, thirty ticks a second, every message of a tick in one.

Nothing here waits: sockets are read when a tick begins and written when it ends, disks are left to the log's threads,
and plays are opened and closed by a thread of their own. Run by the pool as ``python -m ui_collect.simulation.worker``.
"""

from __future__ import annotations

import argparse
import gc
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.serving.child_process import end_with_parent, resident_mb
from hitl_ops.serving.decision_client import DecisionClient
from hitl_ops.serving.wire import Link, WireError
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.habitat.open_scene import close_scene
from hitl_ops.worlds.household.scene import SceneLost
from ui_collect.simulation.lost_scenes import SCENE_TRIES, LostScenes
from ui_collect.simulation.messages import (
    WORKER_MESSAGES,
    ClientOp,
    Close,
    Join,
    Leave,
    OpenPlay,
    PlayEvent,
    Stop,
    WorkerStats,
)
from ui_collect.simulation.opening import OpenedPlay, open_play_in_the_end
from ui_collect.simulation.partners import Switchboard, partner_of
from ui_collect.simulation.play import Answers, Play, over_of
from ui_collect.simulation.tick_schedule import PERIOD_S, TickSchedule

if TYPE_CHECKING:
    from hitl_ops.rollouts.live_session import LiveSession

_UNSENT = 4 * 2**20
"""Bytes the web server may leave unread before frames are held back; increments then grow, nothing is lost."""
_STATS_EVERY_S = 1.0
_COLLECT_EVERY_S = 5.0
_OPENED_AT_ONCE = 4
"""Scenes in processes of their own that are opened at once: that is mostly waiting."""
_OpDuringOpening = ClientOp | Join | Leave | Close


class Worker:
    """Simulates the plays it is given.

    Args:
        link: the way to the web server; when it breaks, the worker ends.
        decisions: the way to the inference process.
        store: where logs are kept.
        schedule: when ticks are due.
        scenes: what plays are played in.
    """

    def __init__(
        self,
        link: Link,
        decisions: DecisionClient,
        store: Store,
        schedule: TickSchedule,
        scenes: SceneConfig | None = None,
    ) -> None:
        self._link = link
        self._decisions = decisions
        self._store = store
        self._schedule = schedule
        self._scenes = scenes or SceneConfig()
        self._lost_scenes = LostScenes()
        self._switchboard = Switchboard(decisions)
        self._plays: dict[str, Play] = {}
        self._opening: dict[str, list[_OpDuringOpening]] = {}
        self._asked: dict[str, OpenPlay] = {}
        self._answers: dict[str, Answers] = {}
        self._closing: set[str] = set()
        self._outgoing: list[PlayEvent] = []
        self._chores: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        count = 1 if self._scenes.kind == "kinematic" else _OPENED_AT_ONCE
        self._aside = [
            threading.Thread(target=self._work_aside, name=f"opening and closing {number}", daemon=True)
            for number in range(count)
        ]
        self._stopping = False
        self._ticks = 0
        self._busy_s = 0.0
        self._stats_at = 0.0
        self._collected_at = time.monotonic()
        self._policy = ""

    def run(self) -> None:
        """Simulate until told to stop, or until the web server has gone."""
        for thread in self._aside:
            thread.start()
        try:
            while not self._stopping:
                due = self._schedule.wait()
                began = time.monotonic()
                self._round(due)
                now = time.monotonic()
                self._busy_s += now - began
                self._collect(now)
        except WireError:
            pass  # the web server has gone; what was done is in the logs
        self._stop()

    def _collect(self, now: float) -> None:
        """Collect garbage in the gaps between ticks, and set aside what has survived.

        Homes are most of what there is and stay; plays hold no cycles and go by themselves. A collection thus looks
        only at what is new, a millisecond instead of a hundred.
        """
        if now - self._collected_at > _COLLECT_EVERY_S and self._schedule.left() > PERIOD_S / 2:
            gc.collect()
            gc.freeze()
            self._collected_at = now

    def _round(self, due: int) -> None:
        for message in self._link.receive():
            self._take(message)
        while not self._done.empty():
            self._done.get()()
        self._switchboard.receive()
        looks = self._lost_scenes.look_now()
        for play in list(self._plays.values()):
            try:
                if play.moves:
                    for _ in range(due):
                        if play.moves:
                            play.tick()
                if self._link.unsent < _UNSENT:
                    play.tell()
                play.check_log()
                if looks:
                    self._lost_scenes.look_at(play)
            except SceneLost as error:
                self._scene_lost(play, error)
                continue
            except Exception:
                self._broken(play)
            if play.over is not None and play.play_id not in self._closing:
                self._close(play)
        self._ticks += due
        self._tell_stats()
        if self._outgoing:
            events, self._outgoing = self._outgoing, []
            self._link.send(events)
        else:
            self._link.flush()

    # --- messages -----------------------------------------------------------------------------------------

    def _take(self, message: Any) -> None:
        try:
            asked = WORKER_MESSAGES.validate_python(message)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"a message is refused: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            play_id = message.get("play_id") if isinstance(message, dict) else None
            if isinstance(play_id, str) and (play_id in self._plays or play_id in self._opening):
                self._send(play_id, "error", {"code": "bad_message", "message": reason})
            else:
                _say(reason)
            return
        if isinstance(asked, Stop):
            self._stopping = True
        elif isinstance(asked, OpenPlay):
            self._open(asked)
        elif asked.play_id in self._opening:
            self._opening[asked.play_id].append(asked)
        elif (play := self._plays.get(asked.play_id)) is not None:
            self._hand_to(play, asked)

    def _hand_to(self, play: Play, asked: _OpDuringOpening) -> None:
        try:
            self._pass_on(play, asked)
        except SceneLost as error:
            self._scene_lost(play, error)
        except Exception:
            self._broken(play)

    @staticmethod
    def _pass_on(play: Play, asked: _OpDuringOpening) -> None:
        match asked:
            case Join():
                play.join()
            case Leave():
                play.leave()
            case Close():
                play.close(asked.reason)
            case _:
                play.take(asked)

    def _send(self, play_id: str, kind: Any, payload: Any) -> None:
        self._outgoing.append(PlayEvent(play_id, kind, payload))

    # --- opening and closing ------------------------------------------------------------------------------

    def _work_aside(self) -> None:
        while (chore := self._chores.get()) is not None:
            self._done.put(chore())

    def _open(self, asked: OpenPlay) -> None:
        if asked.play_id in self._plays or asked.play_id in self._opening:
            return
        self._opening[asked.play_id] = []
        self._chores.put(lambda: self._try_to_open(asked))

    def _try_to_open(self, asked: OpenPlay) -> Callable[[], None]:
        """Open a play, aside; what is to be done with it is returned."""
        policy = {"policy": self._policy, "oracle": "oracle-partial", "none": ""}[asked.partner]
        try:
            opened = open_play_in_the_end(asked, self._store, policy, self._scenes, tries=SCENE_TRIES, say=_say)
        except UserError as error:
            reason = str(error)
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
        else:
            return lambda: self._opened(opened)
        return lambda: self._not_opened(asked.play_id, reason)

    def _not_opened(self, play_id: str, reason: str) -> None:
        del self._opening[play_id]
        self._answers.pop(play_id, None)
        self._send(play_id, "error", {"code": "cannot_open", "message": reason})

    def _opened(self, opened: OpenedPlay) -> None:
        asked = opened.asked
        waiting, answers = self._opening.pop(asked.play_id), self._answers.pop(asked.play_id, None)
        self._send(asked.play_id, "opened", opened.told)
        if opened.log is None:
            self._send(asked.play_id, "over", over_of(opened.session, opened.log_name).model_dump())
            self._close_scene(opened.session)
            return
        play = Play(
            asked.play_id,
            opened.session,
            opened.log,
            log_name=opened.log_name,
            partner=partner_of(
                asked.partner, opened.session, self._switchboard, play_id=asked.play_id, style=asked.style
            ),
            send=lambda kind, payload: self._send(asked.play_id, kind, payload),
            answers=answers,
        )
        self._plays[asked.play_id] = play
        self._asked[asked.play_id] = asked
        for op in waiting:
            if asked.play_id in self._opening:
                self._opening[asked.play_id].append(op)
            else:
                self._hand_to(play, op)

    def _close(self, play: Play) -> None:
        """Close the log of a play that is over; how it ended is told once that is on disk."""
        self._closing.add(play.play_id)

        def chore() -> Callable[[], None]:
            told = ""
            while True:
                try:
                    play.log.close()
                    return lambda: self._closed(play)
                except UserError as error:
                    # The disk is full: what happened is kept until there is room, unless this process is ended.
                    if str(error) != told:
                        told = str(error)
                        _say(told)
                    if self._stopping:
                        return lambda: None
                    time.sleep(_STATS_EVERY_S)

        # Apart from the others: one full disk must not keep plays on another from opening.
        threading.Thread(target=lambda: self._done.put(chore()), name="closing", daemon=True).start()

    def _closed(self, play: Play) -> None:
        assert play.over is not None
        play.check_log()
        self._forget(play)
        self._closing.discard(play.play_id)
        self._send(play.play_id, "over", play.over.model_dump())

    def _broken(self, play: Play) -> None:
        """A defect in one play ends that play and no other."""
        traceback.print_exc()
        try:
            play.close("server")
        except Exception:
            traceback.print_exc()
        if play.over is None:
            play.log.close()
            self._forget(play)
            self._send(play.play_id, "error", {"code": "broken", "message": "This play cannot go on."})

    def _forget(self, play: Play) -> None:
        del self._plays[play.play_id]
        del self._asked[play.play_id]
        self._lost_scenes.forget(play.play_id)
        self._close_scene(play.session)

    def _close_scene(self, session: LiveSession) -> None:
        """Give a play's scene back; ending its process takes a while."""

        def chore() -> Callable[[], None]:
            close_scene(session.world.scene)
            return lambda: None

        self._chores.put(chore)

    def _scene_lost(self, play: Play, error: SceneLost) -> None:
        """The process of a play's scene has ended: the play goes on from its log, in another one.

        As after the death of this process: everything its log took in is done again, the rest is sent again by nobody,
        because nobody was told that it happened; answers that were not told yet are.
        """
        _say(f"play {play.play_id}: {error}")
        if play.over is not None:
            return  # only its closing is left, which asks no scene
        if not self._lost_scenes.worth_another_try(play):
            self._broken(play)
            return
        asked = self._asked[play.play_id].model_copy(update={"resume": True})
        play.give_up()
        del self._plays[play.play_id], self._asked[play.play_id]
        self._opening[play.play_id], self._answers[play.play_id] = [], play.answers
        self._close_scene(play.session)

        def chore() -> Callable[[], None]:
            try:
                play.log.close()
            except UserError as full:
                # What waits for room is kept here; the play comes back once it is on the disk.
                _say(str(full))
                time.sleep(_STATS_EVERY_S)
                if not self._stopping:
                    self._chores.put(chore)
                return lambda: None
            return self._try_to_open(asked)

        self._chores.put(chore)

    # --- the rest -----------------------------------------------------------------------------------------

    def _tell_stats(self) -> None:
        now = time.monotonic()
        past = now - self._stats_at
        if past < _STATS_EVERY_S:
            return
        late = sorted(self._schedule.late_ms) or [0.0]
        status = self._decisions.status
        self._policy = status.policy_id if status is not None else ""
        stats = WorkerStats(
            plays=len(self._plays),
            running=sum(play.moves for play in self._plays.values()),
            ticks=self._ticks,
            slipped=self._schedule.slipped,
            late_ms_p50=late[len(late) // 2],
            late_ms_p99=late[min(len(late) - 1, int(len(late) * 0.99))],
            late_ms_max=late[-1],
            busy=min(1.0, self._busy_s / past) if self._stats_at else 0.0,
            waiting=self._switchboard.waiting,
            away=status is None or not status.policy_id,
            refusal=self._switchboard.last_refusal,
            memory_mb=resident_mb(),
        )
        self._busy_s, self._stats_at = 0.0, now
        self._decisions.ask_status()
        inference = status.model_dump() if status is not None else None
        self._send("", "stats", {**stats.model_dump(), "inference": inference})

    def _stop(self) -> None:
        """Pause every play and make its log durable."""
        self._stopping = True
        for _ in self._aside:
            self._chores.put(None)
        for play in self._plays.values():
            try:
                if play.over is None:
                    play.leave()
            except SceneLost as error:
                _say(str(error))
            except (UserError, ValueError) as error:
                _say(str(error))
            try:
                play.log.close()
            except (UserError, ValueError) as error:
                _say(str(error))
        for play in self._plays.values():
            close_scene(play.session.world.scene)
        self._decisions.close()
        self._link.close()


def _say(text: str) -> None:
    print(f"worker: {' '.join(text.split())}", file=sys.stderr, flush=True)


def _load_ahead() -> None:
    """Import what would otherwise be imported by the first play that needs it, in the middle of a tick."""
    import scipy.sparse.csgraph  # noqa: F401  # routes

    import hitl_ops.experts.oracle  # noqa: F401


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate until the web server says stop or goes away."""
    parser = argparse.ArgumentParser(prog="python -m ui_collect.simulation.worker", description=__doc__)
    parser.add_argument("--link", type=int, required=True, help="descriptor of the socket to the web server")
    parser.add_argument("--decisions", type=Path, required=True, help="Unix socket of the inference process")
    parser.add_argument("--root", type=Path, required=True, help="the store's root")
    parser.add_argument("--scene", type=SceneConfig.model_validate_json, default=SceneConfig(), help="as JSON")
    parser.add_argument("--parent", type=int, default=0, help="process id to end with")
    given = parser.parse_args(arguments)
    if given.parent:
        end_with_parent(given.parent)
    # Threads that open plays or write logs must give way to a tick within a millisecond.
    sys.setswitchinterval(0.001)
    _load_ahead()
    link = Link(socket.socket(fileno=given.link))
    worker = Worker(link, DecisionClient(given.decisions), Store.at(given.root), TickSchedule(), given.scene)
    # What is there now stays: collections need not look at it again, and are made between ticks (see Worker.run).
    gc.collect()
    gc.freeze()
    gc.disable()
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
