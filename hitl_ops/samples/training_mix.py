"""One training set out of all iterations so far, every sample weighted by where it comes from.

What is joined are the sample files of iterations 0 to N: the teacher's, people's plays, people's corrections. Of two
samples that say the same of the same prompt in different iterations the earlier stays. A correction is the last word
on its prompt: what the teacher or somebody's play says there is left out, and so is an earlier correction that a later
iteration contradicts.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, Field, ValidationError

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.episode import original_episode_id
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.sample import Sample
from hitl_ops.contracts.store import IterationPaths, Store
from hitl_ops.samples.data_card import write_data_card
from hitl_ops.samples.parquet import read_manifest, read_samples, write_samples

MIX_NAME = "training_mix"
MixSource = Literal["distilled", "human_gold", "expert"]
_SOURCES: tuple[MixSource, ...] = get_args(MixSource)
_OF_PEOPLE: tuple[MixSource, ...] = ("human_gold", "expert")
# Where the gate leaves its verdict, below the iteration's evaluation.
_GATE_FILE = "gate.json"


class MixConfig(StrictConfig):
    """What a training set is made of."""

    expert: float = Field(default=5.0, ge=0, description="weight of a sample out of a correction; 0 leaves them out")
    human_gold: float = Field(default=1.0, ge=0, description="weight of a sample out of a play; 0 leaves them out")
    distilled: float = Field(default=0.5, ge=0, description="weight of a sample of the teacher; 0 leaves them out")
    sources: tuple[MixSource, ...] = Field(
        default=_SOURCES, min_length=1, description="which files are read at all, of every iteration"
    )
    refused_iterations: Literal["leave_out", "keep"] = Field(
        default="leave_out",
        description="people's samples of earlier iterations whose policy the gate refused: they may be why",
    )

    def weight_of(self, source: MixSource) -> float:
        """What a sample of this source counts."""
        return {"expert": self.expert, "human_gold": self.human_gold, "distilled": self.distilled}[source]


class MixSummary(BaseModel):
    """What a training set is made of."""

    samples: int = 0
    episodes: int = Field(default=0, description="different episodes, variations not counted")
    by_source: dict[str, int] = Field(default_factory=dict)
    weight_by_source: dict[str, float] = Field(default_factory=dict, description="sum of the weights")
    by_iteration: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="iteration key → source → samples taken"
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="<iteration key>/<source> → the manifest hash of the file read"
    )
    dropped: dict[str, int] = Field(default_factory=dict, description="samples left out, by reason")
    refused: list[str] = Field(default_factory=list, description="keys of iterations left out because of the gate")
    prompt_style: str = ""
    manifest_hash: str = Field(default="", description="as of every sample file")


@dataclass(frozen=True, slots=True)
class _Input:
    """A sample file that is read."""

    key: str
    source: MixSource
    file: Path
    samples: int
    prompt_style: str
    hash: str


@dataclass(slots=True)
class _Word:
    """What corrections say at one prompt: those of the last iteration that has any."""

    iteration: str
    completions: set[str] = field(default_factory=set)


def mix_path(paths: IterationPaths) -> Path:
    """Where an iteration's training set lies; its data card is in the folder of the same name beside it."""
    return paths.samples / f"{MIX_NAME}.parquet"


def build_training_mix(
    store: Store,
    program: str,
    iteration: int,
    config: MixConfig,
    progress: Progress = silent,
    *,
    file: Path | None = None,
) -> MixSummary:
    """Join the samples of iterations 0 to ``iteration`` in ``<iteration>/samples/training_mix.parquet``.

    Rows lie by iteration, source and their order there; every sample keeps the iteration it is of, its id begins with
    that iteration's key, and its weight is the configuration's. The same files and configuration give the same bytes.
    A data card is written beside the file.

    Args:
        store: where all iterations lie.
        program: the loop.
        iteration: the last iteration to take in.
        config: sources, weights, and what becomes of refused iterations.
        progress: told after each file.
        file: where the training set is to be published instead, to try another configuration.

    Raises:
        UserError: there is no sample at all, files were recorded in different dialects of prompts, a sample file or
            the gate's verdict is corrupt, or the disk is full.
    """
    paths = store.iteration(program, iteration)
    inputs, refused = _inputs(store, program, iteration, config)
    styles = sorted({one.prompt_style for one in inputs if one.samples})
    if len(styles) > 1:
        raise UserError(
            f"samples up to iteration {paths.key} were recorded in {len(styles)} dialects of prompts"
            f" ({', '.join(styles)})",
            "train on one: leave a source out, or record it again",
        )
    if not styles:
        raise UserError(
            f"there is no sample of {' or '.join(config.sources)} in iterations 000 to {paths.key}",
            "materialise distilled_samples of iteration 000 first, or collect plays",
        )
    words = _words(inputs)
    summary = MixSummary(
        refused=refused, prompt_style=styles[0], inputs={f"{i.key}/{i.source}": i.hash for i in inputs}
    )
    dropped: Counter[str] = Counter()
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    episodes: set[str] = set()

    def stream() -> Iterator[Sample]:
        # Said first in which iteration, by what is said.
        said: dict[bytes, str] = {}
        for position, one in enumerate(inputs, start=1):
            for sample in read_samples(one.file):
                reason = _reason_against(sample, one, words, said)
                if reason is not None:
                    dropped[reason] += 1
                    continue
                taken[one.key][one.source] += 1
                episodes.add(original_episode_id(sample.episode_id))
                yield sample.model_copy(
                    update={"sample_id": f"{one.key}/{sample.sample_id}", "weight": config.weight_of(one.source)}
                )
            progress(position, len(inputs), f"{sum(counts.total() for counts in taken.values())} samples")
        notes["taken"] = json.dumps(taken, sort_keys=True)

    notes = {
        "config": config.model_dump_json(),
        "inputs": json.dumps(summary.inputs, sort_keys=True),
        "refused": json.dumps(refused),
    }
    file = file or mix_path(paths)
    manifest = write_samples(file, stream(), prompt_style=summary.prompt_style, notes=notes)
    summary.samples, summary.manifest_hash, summary.episodes = manifest.samples, manifest.hash, len(episodes)
    summary.by_iteration = {key: dict(sorted(taken[key].items())) for key in sorted(taken)}
    for source in _SOURCES:
        count = sum(counts[source] for counts in taken.values())
        if count:
            summary.by_source[source] = count
            summary.weight_by_source[source] = count * config.weight_of(source)
    summary.dropped = dict(sorted(dropped.items()))
    write_data_card(file, file.with_suffix(""))
    return summary


def _inputs(store: Store, program: str, iteration: int, config: MixConfig) -> tuple[list[_Input], list[str]]:
    """The files to read, in order, and the iterations that the gate keeps out."""
    found: list[_Input] = []
    refused: list[str] = []
    for number in range(iteration + 1):
        paths = store.iteration(program, number)
        # An iteration's own verdict comes after its training; when that is repeated, it must be the same training.
        shut = number < iteration and config.refused_iterations == "leave_out" and _was_refused(paths)
        if shut:
            refused.append(paths.key)
        for source in _SOURCES:
            file = paths.samples / f"{source}.parquet"
            if source not in config.sources or config.weight_of(source) == 0 or (shut and source in _OF_PEOPLE):
                continue
            if file.is_file():
                manifest = read_manifest(file)
                style = manifest.notes.get("prompt_style", "")
                found.append(_Input(paths.key, source, file, manifest.samples, style, manifest.hash))
    return found, refused


class _Verdict(BaseModel):
    """As much of the gate's verdict as matters here."""

    promote: bool


def _was_refused(paths: IterationPaths) -> bool:
    file = paths.evaluation / _GATE_FILE
    try:
        return not _Verdict.model_validate_json(file.read_bytes()).promote
    except FileNotFoundError:
        return False
    except (OSError, ValidationError) as error:
        raise UserError(
            f"the gate's verdict '{file}' is corrupt ({' '.join(str(error).split())[:200]})",
            "materialise planner_promotion of that iteration again",
        ) from None


def _words(inputs: list[_Input]) -> dict[bytes, _Word]:
    """What corrections say, by prompt."""
    words: dict[bytes, _Word] = {}
    for one in inputs:
        if one.source == "expert":
            for sample in read_samples(one.file):
                word = words.setdefault(_digest(sample.prompt), _Word(one.key))
                if word.iteration != one.key:
                    word.iteration = one.key
                    word.completions.clear()
                word.completions.add(sample.completion)
    return words


def _reason_against(sample: Sample, one: _Input, words: dict[bytes, _Word], said: dict[bytes, str]) -> str | None:
    """Why a sample is not taken; None where it is."""
    word = words.get(_digest(sample.prompt))
    if word is not None and one.source != "expert":
        return "corrected"
    if word is not None and sample.completion not in word.completions:
        return "corrected otherwise later"
    if said.setdefault(_digest(one.source, sample.prompt, sample.completion), one.key) != one.key:
        return "said in an earlier iteration"
    return None


def _digest(*texts: str) -> bytes:
    whole = hashlib.blake2b(digest_size=16)
    for text in texts:
        whole.update(text.encode("utf-8"))
        whole.update(b"\0")
    return whole.digest()
