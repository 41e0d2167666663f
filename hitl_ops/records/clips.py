"""Clip sets: fragments of episodes that people compare, with every observation and action in them, in one folder.

``clips.json`` says what each clip is, ``pairs.json`` which pairs are asked in which order, ``steps.safetensors`` holds
the numbers. A set is published whole and never changed. Films are made from it later and lie elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import ClipFacts, ClipPair
from hitl_ops.contracts.publish import publish_json, publishing

CLIPS_FILE = "clips.json"
PAIRS_FILE = "pairs.json"
STEPS_FILE = "steps.safetensors"
_REMEDY = "make the clips anew with `flywheel clips`"

Float32 = npt.NDArray[np.float32]
_PAIRS = TypeAdapter(list[ClipPair])


class ClipSetFacts(BaseModel):
    """What stands in ``clips.json``."""

    clips: list[ClipFacts]
    made: dict[str, Any] = Field(default_factory=dict, description="by what it was made, with which settings")


@dataclass(frozen=True, eq=False)
class Clip:
    """A fragment of an episode.

    Attributes:
        facts: what it is.
        observations: [T, D], what was seen before each action.
        actions: [T, A].
        true_rewards: [T], what a simulator says each step was worth; None where nobody knows. Scripted annotators
            answer by it; no page shows it, and no reward model is trained on it.
    """

    facts: ClipFacts
    observations: Float32
    actions: Float32
    true_rewards: Float32 | None = None

    @property
    def true_return(self) -> float | None:
        """Sum of the true rewards, in the world's units; None where nobody knows."""
        return None if self.true_rewards is None else float(self.true_rewards.sum(dtype=np.float64))


def content_hash(observations: Float32, actions: Float32) -> str:
    """The sha256 of a clip's numbers and their shapes."""
    digest = hashlib.sha256()
    for values in (observations, actions):
        digest.update(f"{values.shape}".encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()


def write_clip_set(
    folder: Path, clips: Sequence[Clip], pairs: Sequence[ClipPair], made: Mapping[str, Any] | None = None
) -> ClipSetFacts:
    """Publish a set of clips; one that lies there already is replaced whole.

    Args:
        folder: the set's own folder.
        clips: all of them; each id once.
        pairs: in the order in which they are to be asked.
        made: by what it was made, with which settings.

    Raises:
        UserError: a clip is malformed, an id is there twice, or a pair names a clip that is not there.
        CannotWrite: the folder cannot be written.
    """
    from safetensors.numpy import save_file

    known: set[str] = set()
    tensors: dict[str, npt.NDArray[Any]] = {}
    for clip in clips:
        name = clip.facts.clip_id
        if name in known:
            raise UserError(f"clip '{name}' is there twice", "give every clip an id of its own")
        known.add(name)
        _check(clip)
        tensors[f"{name}/observations"] = np.ascontiguousarray(clip.observations)
        tensors[f"{name}/actions"] = np.ascontiguousarray(clip.actions)
        if clip.true_rewards is not None:
            tensors[f"{name}/true_rewards"] = np.ascontiguousarray(clip.true_rewards)
    _check_pairs(pairs, known, folder)
    facts = ClipSetFacts(clips=[clip.facts for clip in clips], made=dict(made or {}))
    with publishing(folder) as temporary:
        temporary.mkdir()
        publish_json(temporary / CLIPS_FILE, facts)
        publish_json(temporary / PAIRS_FILE, [pair.model_dump(mode="json") for pair in pairs])
        save_file(tensors, temporary / STEPS_FILE)
    return facts


@dataclass(frozen=True, eq=False)
class ClipSet:
    """A set of clips as it stands on disk; see :func:`open_clip_set`.

    Attributes:
        root: its folder.
        facts: what ``clips.json`` says.
        pairs: in the order in which they are to be asked.
    """

    root: Path
    facts: ClipSetFacts
    pairs: tuple[ClipPair, ...]

    @cached_property
    def clips(self) -> dict[str, ClipFacts]:
        """What each clip is, by id, in the set's order."""
        return {facts.clip_id: facts for facts in self.facts.clips}

    @cached_property
    def pairs_by_id(self) -> dict[str, ClipPair]:
        """Every pair, by id, in their order."""
        return {pair.pair_id: pair for pair in self.pairs}

    def files(self) -> list[Path]:
        """The files that make the set."""
        return [self.root / name for name in (CLIPS_FILE, PAIRS_FILE, STEPS_FILE)]

    def clip(self, clip_id: str) -> Clip:
        """A clip with its numbers.

        Raises:
            UserError: there is no such clip, or its numbers are missing, malformed or not the ones it was made with.
        """
        facts = self.clips.get(clip_id)
        if facts is None:
            raise UserError(f"there is no clip '{clip_id}' in '{self.root}'", "choose one that clips.json names")
        return self._read([facts])[0]

    def all_clips(self) -> list[Clip]:
        """Every clip with its numbers; the file is opened once.

        Raises:
            UserError: as :meth:`clip`.
        """
        return self._read(list(self.clips.values()))

    def _read(self, wanted: Sequence[ClipFacts]) -> list[Clip]:
        from safetensors import SafetensorError, safe_open

        path = self.root / STEPS_FILE
        found = []
        try:
            with safe_open(str(path), framework="numpy") as file:
                there = set(file.keys())
                for facts in wanted:
                    name = facts.clip_id
                    missing = [part for part in ("observations", "actions") if f"{name}/{part}" not in there]
                    if missing:
                        raise UserError(f"clip '{name}' has no {missing[0]} in '{path}'", _REMEDY)
                    rewards = f"{name}/true_rewards"
                    clip = Clip(
                        facts,
                        file.get_tensor(f"{name}/observations"),
                        file.get_tensor(f"{name}/actions"),
                        file.get_tensor(rewards) if rewards in there else None,
                    )
                    _check(clip)
                    found.append(clip)
        except (OSError, SafetensorError) as error:
            raise UserError(f"the clips' numbers in '{path}' cannot be read: {error}", _REMEDY) from None
        return found


def open_clip_set(folder: Path) -> ClipSet:
    """Read what a set says of its clips and pairs; the numbers are read when they are asked for.

    Raises:
        UserError: there is no set, or its files do not say what they should.
    """
    try:
        facts = ClipSetFacts.model_validate_json((folder / CLIPS_FILE).read_bytes())
        pairs = tuple(_PAIRS.validate_json((folder / PAIRS_FILE).read_bytes()))
    except FileNotFoundError as error:
        raise UserError(f"there are no clips in '{folder}' ({Path(error.filename).name} is missing)", _REMEDY) from None
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the clip set in '{folder}' cannot be read: {first}", _REMEDY) from None
    found = ClipSet(folder, facts, pairs)
    if len(found.clips) != len(facts.clips):
        raise UserError(f"a clip is there twice in '{folder}'", _REMEDY)
    _check_pairs(pairs, set(found.clips), folder)
    return found


def _check_pairs(pairs: Sequence[ClipPair], known: set[str], folder: Path) -> None:
    asked: set[str] = set()
    for pair in pairs:
        if pair.pair_id in asked:
            raise UserError(f"pair '{pair.pair_id}' is there twice in '{folder}'", "give every pair an id of its own")
        asked.add(pair.pair_id)
        for clip in (pair.left, pair.right):
            if clip not in known:
                raise UserError(f"pair '{pair.pair_id}' names clip '{clip}', which is not in '{folder}'", _REMEDY)


def _check(clip: Clip) -> None:
    facts, name = clip.facts, clip.facts.clip_id
    shapes = {"observations": clip.observations, "actions": clip.actions}
    for part, values in shapes.items():
        if values.ndim != 2 or len(values) != facts.steps or values.dtype != np.float32:
            raise UserError(
                f"clip '{name}' is malformed: its {part} are {values.dtype} of shape {values.shape}, "
                f"and it has {facts.steps} steps",
                _REMEDY,
            )
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise UserError(f"clip '{name}' is malformed: its {part} at step {bad[0]} are not finite", _REMEDY)
    rewards = clip.true_rewards
    if rewards is not None and (rewards.shape != (facts.steps,) or not np.isfinite(rewards).all()):
        raise UserError(f"clip '{name}' is malformed: its true rewards have shape {rewards.shape}", _REMEDY)
    if content_hash(clip.observations, clip.actions) != facts.content_hash:
        raise UserError(f"the numbers of clip '{name}' are not the ones it was made with", _REMEDY)
