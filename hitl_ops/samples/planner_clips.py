"""Clips of planner episodes: whole plays of policies and of people, that people compare.

Two plays are compared where they are of the same episode, those by different players first. A clip has a step for each
decision of either agent. A step's observation is three bags of words: what was to be done, what the agent knew, and how
it stood between its actions and the world's answers; beside them stand the moment and how long it took. Its action is a
bag of what was chosen.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.decision import Decision, EpisodeHeader
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import ClipFacts
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.store import IterationPaths, Store
from hitl_ops.records.clips import Clip, ClipSetFacts, content_hash, write_clip_set
from hitl_ops.records.traces import Trace, list_traces, read_trace, read_trace_header
from hitl_ops.samples.clip_pairs import ask_comparable
from hitl_ops.samples.clip_queries import ClipWorth
from hitl_ops.samples.compared_clips import with_compared
from hitl_ops.samples.text_features import bag_of_words, words
from hitl_ops.worlds.household.tools import STEPS_PER_SECOND

LEFT_OUT = "left_out"
"""Where a set says which plays it has nothing of, and why."""
TOLD, KNOWN, HAPPENED = 48, 144, 62
"""How many numbers of an observation say what was to be done, what was known, and what was done and answered; two more
say when."""
OBSERVATION_WIDTH, ACTION_WIDTH = TOLD + KNOWN + HAPPENED + 2, 64
_LONG_S = 1000.0
"""Seconds that are one in a step's clock, which is logarithmic."""
Float32 = npt.NDArray[np.float32]


class PlannerClipConfig(StrictConfig):
    """Which plays become clips, and which of them are compared."""

    iteration: int | None = Field(default=None, ge=0, description="whose plays; by default the newest iteration's")
    policies: bool = Field(default=True, description="whether plays of policies are among them")
    people: bool = Field(default=True, description="whether plays of people are among them, but withdrawn ones")
    clips: int = Field(default=200, ge=2, le=1000, description="clips in all, at most; the episodes are drawn by lot")
    per_episode: int = Field(default=6, ge=2, description="plays of one episode, at most")
    pairs: int = Field(default=50, ge=1, description="questions, at most")
    seed: int = Field(default=0, ge=0, description="of all that is drawn by lot")


@dataclass(frozen=True, slots=True)
class _Play:
    """A trace of which nothing but its head has been read."""

    path: Path
    header: EpisodeHeader


def make_planner_clips(
    store: Store,
    config: PlannerClipConfig,
    out: Path,
    progress: Progress = silent,
    *,
    worth: ClipWorth | None = None,
    compared: Sequence[Clip] = (),
) -> ClipSetFacts:
    """Make clips of an iteration's plays, and publish them with the pairs to ask about.

    Of people's plays those count that the iteration's list has: withdrawn, broken and practice plays are in none. A
    trace that cannot be read is left out; the set says so.

    Args:
        store: where the plays lie.
        config: which of them.
        out: the set's folder.
        progress: told after each play that was read.
        worth: what an ensemble of rewards says of clips: pairs are asked on which it disagrees; None: by lot.
        compared: clips that people have compared before, which stay in the set; see ``compared_clips``.

    Returns:
        What the set says of itself.

    Raises:
        UserError: there is nothing to compare.
        LabelStoreUnavailable: people's plays are wanted, and the label store does not answer.
        CannotWrite: the disk is full or the place cannot be written.
    """
    iteration = store.newest_iteration("planner") if config.iteration is None else config.iteration
    paths = store.iteration("planner", iteration)
    left_out: dict[str, str] = {}
    plays = list(_plays(store, paths, config, left_out))
    drawn = _drawn(plays, config)
    clips: dict[tuple[str, str], Clip] = {}
    for done, play in enumerate(drawn, 1):
        name = play.path.relative_to(store.root).as_posix()
        try:
            clip = _clip(read_trace(play.path), name)
        except UserError as error:
            left_out[name] = error.what
        else:
            # The same play twice, as of a policy that never wavers, is no question.
            clips.setdefault((clip.facts.episode_id, clip.facts.content_hash), clip)
        progress(done, len(drawn), f"{len(clips)} clips")
    found = list(clips.values())
    pairs = ask_comparable(
        found,
        within=lambda one: one.episode_id,
        apart=[lambda one: one.policy_id],
        count=config.pairs,
        seed=config.seed,
        prefix="planner",
        worth=worth,
    )
    if not pairs:
        why = f" ({next(iter(left_out.values()))})" if left_out else ""
        raise UserError(
            f"no episode has two different plays among the {len(plays)} of iteration {paths.key}{why}",
            "let another policy play the same episodes, or people: `flywheel rollout`, `flywheel collect`",
        )
    made = {
        "program": "planner",
        "iteration": iteration,
        "config": config.model_dump(mode="json"),
        LEFT_OUT: left_out,
    }
    return write_clip_set(out, with_compared(found, compared), pairs, made)


def decision_numbers(header: EpisodeHeader, decisions: Sequence[Decision]) -> tuple[Float32, Float32]:
    """A play's decisions as numbers, in the order they were made.

    Args:
        header: which episode.
        decisions: of both agents.

    Returns:
        Observations [T, 256] and actions [T, 64], of numbers about between -1 and 1.
    """
    told = bag_of_words(words(header.instruction), TOLD)
    observations = np.zeros((len(decisions), OBSERVATION_WIDTH), dtype=np.float32)
    actions = np.zeros((len(decisions), ACTION_WIDTH), dtype=np.float32)
    before: dict[int, list[str]] = defaultdict(list)
    for step, decision in enumerate(sorted(decisions, key=lambda one: one.index)):
        observations[step, :TOLD] = told
        observations[step, TOLD : TOLD + KNOWN] = bag_of_words(_known(decision.world_graph), KNOWN)
        answer = [f"answer {word}" for word in words(decision.response)]
        happened = [decision.role, *answer, *before[decision.agent]]
        observations[step, TOLD + KNOWN : -2] = bag_of_words(happened, HAPPENED)
        observations[step, -2:] = _clock(decision.sim_step), _clock(decision.end_step - decision.sim_step)
        chosen = words(decision.action)
        actions[step] = bag_of_words([*chosen, *(f"{chosen[0]} {word}" for word in chosen[1:])], ACTION_WIDTH)
        before[decision.agent] = [f"before {word}" for word in (*chosen, *words(decision.response))]
    return observations, actions


def _clock(ticks: int) -> float:
    """A time as a number: 0 for none, 1 for a thousand seconds."""
    return math.log1p(max(0, ticks) / STEPS_PER_SECOND) / math.log1p(_LONG_S)


def _known(world_graph: dict[str, Any]) -> Iterator[str]:
    """What an agent knew: each thing, where it is and in which states."""
    for name, said in world_graph.items():
        yield name
        if not isinstance(said, dict):
            yield f"{name} {said}"
            continue
        yield f"{name} {said.get('relation', '')} {said.get('parent', '')}"
        for state, value in (said.get("states") or {}).items():
            yield f"{name} {state} {value}"


def _plays(store: Store, paths: IterationPaths, config: PlannerClipConfig, left_out: dict[str, str]) -> Iterator[_Play]:
    """Every play there is, by path."""
    found: list[Path] = []
    if config.policies:
        for base in (paths.rollouts, paths.evaluation / "rollouts"):
            for folder in sorted(base.glob("*/traces")):
                found += list_traces(folder)
    if config.people and paths.sessions.is_dir():
        from hitl_ops.labels.label_store import LabelStore
        from hitl_ops.samples.collected_plays import listed_plays

        labels = LabelStore.open(store.labels_url)
        # The list may be older than a word of withdrawal.
        withdrawn = {row.id for row in labels.finished_plays(paths.program, paths.iteration, withdrawn=True)}
        plays = [play for play in listed_plays(labels, paths).plays if play.play_id not in withdrawn]
        found += sorted(play.trace(paths.sessions) for play in plays)
    for path in found:
        try:
            yield _Play(path, read_trace_header(path))
        except UserError as error:
            left_out[path.relative_to(store.root).as_posix()] = error.what


def _drawn(plays: Sequence[_Play], config: PlannerClipConfig) -> list[_Play]:
    """Plays of episodes that were played more than once, by lot, as many as there may be clips."""
    by_episode: dict[str, list[_Play]] = defaultdict(list)
    for play in plays:
        by_episode[play.header.episode_id].append(play)
    rng = np.random.default_rng(config.seed)
    several = [episode for episode in sorted(by_episode) if len(by_episode[episode]) > 1]
    drawn: list[_Play] = []
    for number in rng.permutation(len(several)):
        of = by_episode[several[number]]
        chosen = sorted(rng.permutation(len(of))[: min(config.per_episode, config.clips - len(drawn))])
        if len(chosen) < 2:
            break
        drawn += [of[place] for place in chosen]
    return drawn


def _clip(trace: Trace, name: str) -> Clip:
    header = trace.header
    if not trace.decisions:
        raise UserError(f"'{name}' has no decision")
    observations, actions = decision_numbers(header, trace.decisions)
    steps = len(trace.decisions)
    players = " + ".join(header.policies[agent] for agent in sorted(header.policies))
    facts = ClipFacts(
        clip_id=f"planner-{hashlib.sha256(name.encode()).hexdigest()[:16]}",
        kind="planner",
        episode_id=header.episode_id,
        start=0,
        steps=steps,
        # Decisions a second of the home's time; a film shows that several times as fast.
        fps=steps * STEPS_PER_SECOND / max(1, trace.result.sim_steps),
        task=header.instruction[:2000],
        policy_id=players[:200],
        seed=header.seed,
        record=name,
        content_hash=content_hash(observations, actions),
    )
    return Clip(facts, observations, actions)
