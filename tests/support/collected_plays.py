"""Collected plays for tests: people who come in by an invitation and play tasks through, with all that stays of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import HistoryEntry, Observation
from hitl_ops.contracts.store import Store
from hitl_ops.experts.oracle import Oracle
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import EpisodePlay, SessionRow
from hitl_ops.records.session_export import episode_file_path
from hitl_ops.records.session_log import SessionLogHeader, SessionLogWriter, closed_log_path, log_path
from hitl_ops.records.traces import trace_path
from hitl_ops.rollouts.session_closing import close_play
from tests.support.plays import Player


class Anything(list[str]):
    """Admits every action: a person is not asked."""

    def __contains__(self, action: object) -> bool:
        return True


def play_through(player: Player) -> None:
    """Play a task to success: the person by name and hand as the oracle would, the partner as it says."""
    session, oracle = player.session, Oracle("full")
    oracle.start(session.episode, session.world)
    human = session.human
    done: list[HistoryEntry] = []
    instruction = session.episode.instruction
    for _ in range(20_000):
        if session.success:
            return
        question = session.wants_decision()
        if question is not None:
            action = oracle.decide(question).action
            # Somebody who is done can't be asked again; a partner that waits can.
            player.decide("Wait[]" if action == "Done[]" else action)
        if not session.world.busy(human):
            choice = oracle.decide(Observation(human, "human", instruction, "", Anything(), history=done)).action
            if choice not in ("Done[]", "Wait[]"):
                player.act(choice)
        for ended in player.run(1):
            if ended.agent == human:
                done.append(HistoryEntry(human, str(ended.action), ended.response))
    raise AssertionError(f"{session.episode.episode_id} was not solved: {session.missing()}")


@dataclass
class Collected:
    """A store in which people play."""

    store: Store
    iteration: int = 0
    labels: LabelStore = field(init=False)
    people: dict[str, SessionRow] = field(default_factory=dict)
    acknowledged: float = field(default=0.0, init=False)  # when the last event so far was safely on disk

    def __post_init__(self) -> None:
        self.labels = LabelStore.open(self.store.labels_url)

    def session(self, person: str) -> SessionRow:
        """The sitting of a person, who comes in the first time they are named."""
        if person not in self.people:
            _, token = self.labels.create_invitation("planner", self.iteration)
            self.people[person] = self.labels.use_invitation(token, display_name=person).session
        return self.people[person]

    def play(
        self,
        episode: Episode,
        person: str = "ann",
        *,
        solve: bool = True,
        through: Callable[[Player], None] = play_through,
        idle_ticks: int = 30,
        attempt: int = 1,
        tutorial: bool = False,
        close: bool = True,
        **header: Any,
    ) -> EpisodePlay:
        """One whole play as the app records it, solved or given up; returns it as the label store has it.

        Args:
            episode: the task.
            person: who plays.
            solve: whether it is played to success; skipped otherwise.
            through: plays it, where it is played.
            idle_ticks: ticks before anything is done.
            attempt: the person's how manieth.
            tutorial: whether it counts nowhere.
            close: whether its record is closed; left as it is when the disk is full.
            header: what else the log's header is to say.
        """
        sitting = self.session(person)
        row = self.labels.start_play(sitting.id, episode.episode_id, attempt, tutorial=tutorial)
        fields: dict[str, Any] = {
            "session_id": sitting.id,
            "play_id": row.id,
            "episode": episode,
            "attempt": attempt,
            "participant": sitting.participant_id,
            "partner_policy": "policy-1",
            "iteration": self.iteration,
            "tutorial": tutorial,
            "started": time.time(),
        }
        head = SessionLogHeader(**{**fields, **header})
        log = log_path(self.sessions / sitting.id, row.id)
        with SessionLogWriter.create(log, head) as writer:
            player = Player(head, writer=writer)
            player.mark()
            player.run(idle_ticks)
            if solve:
                through(player)
            end = player.finish("person" if solve else "skip")
            writer.flush()
            self.acknowledged = time.time()
        record = close_play(log).log if close else None
        return self.labels.finish_play(
            row.id,
            percent_complete=end.percent_complete,
            success=end.success,
            ended_by=end.reason,
            seconds=player.session.seconds_active,
            record_file="" if record is None else f"{sitting.id}/{record.name}",
            state_hash=end.state_hash,
        )

    @property
    def sessions(self) -> Path:
        """Where the iteration's sessions lie."""
        return self.store.iteration("planner", self.iteration).sessions

    def report(self, play: EpisodePlay) -> None:
        """Somebody reports a problem with a play."""
        self.labels.add_label(
            "problem",
            program="planner",
            iteration=self.iteration,
            annotator="ann",
            client_key=play.id,
            value={"problem": "the mug fell through the table"},
            episode_play_id=play.id,
        )

    def files(self, play: EpisodePlay) -> dict[str, Path]:
        """A play's files by what they are."""
        folder = self.sessions / play.session_id
        return {
            "log": closed_log_path(folder, play.id),
            "episode": episode_file_path(folder, play.id),
            "trace": trace_path(folder / "traces", play.id),
        }


def collection(root: Path) -> tuple[Collected, list[EpisodePlay]]:
    """Five plays of three tasks: ann fails the first, then solves it; bob is quicker; the second is solved
    and reported; nobody solves the third.
    """
    from hitl_assets.presets import PRESETS
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.rollouts.episode_sets import episode_file, generate_episode_sets

    store = Store.at(root)
    generate_episode_sets(PRESETS["tiny_ci"].episodes, store.episodes)
    first, second, third = read_episodes(episode_file(store.episodes, "train"))[:3]
    collected = Collected(store)
    plays = [
        collected.play(first, "ann", solve=False),
        collected.play(first, "ann", attempt=2, idle_ticks=900),
        collected.play(first, "bob", idle_ticks=60),
        collected.play(second, "bob"),
        collected.play(third, "cleo", solve=False),
    ]
    collected.report(plays[3])
    return collected, plays
