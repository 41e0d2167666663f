"""What was played before under the same conditions is not played again.

Rollouts of an evaluation carry a note of what they are made from (``claims``). Where the notes of two agree in
everything that decides an episode, the finished traces of the one are those the other would record: greedy policies
and worlds are deterministic. So a policy that serves is examined once, not again with every candidate.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hitl_assets.claims import made_from_of
from hitl_ops.contracts.publish import publishing
from hitl_ops.contracts.store import Store
from hitl_ops.records.traces import trace_path

EPISODES = "episodes"


def finished_rollouts(store: Store, program: str) -> list[Path]:
    """The rollouts of all evaluations of a program, newest iteration first."""
    return sorted((store.root / program).glob("[0-9]*/evaluation/rollouts/*"), reverse=True)


def take_over(out: Path, made_from: Mapping[str, Any], places: Iterable[Path]) -> int:
    """Bring traces into a rollout's folder that lie finished in another with the same note.

    Args:
        out: the rollout's folder, claimed for ``made_from``.
        made_from: everything that determines its traces; ``episodes`` lists their ids. Where the weights lie is no
            part of it: the policy's card is.
        places: folders of rollouts to look in; ``out`` itself is passed over.

    Returns:
        How many traces were brought.

    Raises:
        UserError: the disk is full.
    """
    missing = {
        str(episode) for episode in made_from[EPISODES] if not trace_path(out / "traces", str(episode)).is_file()
    }
    brought = 0
    for place in places:
        noted = made_from_of(place)
        if not missing or place == out or not isinstance(noted, dict) or _decisive(noted) != _decisive(made_from):
            continue
        for episode in sorted(missing & set(noted.get(EPISODES, ()))):
            source, target = trace_path(place / "traces", episode), trace_path(out / "traces", episode)
            if not source.is_file():
                continue
            with publishing(target) as temporary:
                _link(source, temporary)
            missing.discard(episode)
            brought += 1
    return brought


def _decisive(made_from: Mapping[str, Any]) -> dict[str, Any]:
    """The note without what may differ between two rollouts of the same policy."""
    body = {name: value for name, value in made_from.items() if name != EPISODES}
    rollout = dict(body.get("rollout", {}))
    rollout["planner"] = {name: value for name, value in dict(rollout.get("planner", {})).items() if name != "path"}
    return {**body, "rollout": rollout}


def _link(source: Path, target: Path) -> None:
    """Another name for the same file, or a copy on another file system; traces are never written in place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
