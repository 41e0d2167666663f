"""Do the splits share an episode, a home or a seed? A policy must be scored on homes it has never seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.episode import read_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.records.traces import read_traces
from hitl_ops.samples.parquet import sample_batches

Kind = Literal["episode", "home", "seed"]


@dataclass(slots=True)
class SplitContents:
    """What a split is made of.

    Attributes:
        episodes: episode ids.
        homes: scene ids.
        seeds: seeds of the episodes that name one.
    """

    episodes: set[str] = field(default_factory=set)
    homes: set[str] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)

    def add(self, other: SplitContents) -> None:
        """Take in what ``other`` holds."""
        self.episodes |= other.episodes
        self.homes |= other.homes
        self.seeds |= other.seeds


class Overlap(BaseModel):
    """Something two splits share."""

    splits: tuple[str, str]
    kind: Kind
    values: list[str] = Field(description="the shared ids or seeds, sorted")


class LeakageReport(BaseModel):
    """What the splits hold and what they share."""

    counts: dict[str, dict[Kind, int]] = Field(description="split → how many episodes, homes and seeds it holds")
    overlaps: list[Overlap]

    @property
    def clean(self) -> bool:
        """Whether no two splits share anything."""
        return not self.overlaps

    def explain(self) -> str:
        """One line a person can act on."""
        if self.clean:
            return f"{', '.join(self.counts)}: no episode, home or seed shared"
        parts = []
        for overlap in self.overlaps:
            shown = ", ".join(overlap.values[:3]) + (", …" if len(overlap.values) > 3 else "")
            parts.append(f"{' and '.join(overlap.splits)} share {len(overlap.values)} {overlap.kind}(s): {shown}")
        return "; ".join(parts)


SplitSource = Path | SplitContents


def read_split(source: SplitSource) -> SplitContents:
    """Look at a split: a sample file (``.parquet``), an episode file (``.json.gz``) or a folder of traces.

    Raises:
        UserError: the file is missing, corrupt or of another kind.
    """
    if isinstance(source, SplitContents):
        return source
    contents = SplitContents()
    if source.is_dir():
        for trace in read_traces(source):
            contents.episodes.add(trace.header.episode_id)
            contents.homes.add(trace.header.scene_id)
            contents.seeds.add(trace.header.seed)
    elif source.suffix == ".parquet":
        for batch in sample_batches(source, ["episode_id", "scene_id"]):
            contents.episodes.update(batch.column("episode_id").to_pylist())
            contents.homes.update(batch.column("scene_id").to_pylist())
    elif source.name.endswith(".json.gz"):
        for episode in read_episodes(source):
            contents.episodes.add(episode.episode_id)
            contents.homes.add(episode.scene_id)
            # PARTNR's own files name no seed; the default of 0 must not look like a shared one.
            if "seed" in episode.info.get("flywheel", {}):
                contents.seeds.add(episode.seed)
    else:
        raise UserError(
            f"'{source}' is no source of a split",
            "name a .parquet of samples, a .json.gz of episodes or a trace folder",
        )
    return contents


def check_leakage(splits: Mapping[str, SplitSource | Iterable[SplitSource]]) -> LeakageReport:
    """Compare every pair of splits.

    Args:
        splits: split name → where it is kept; several sources of one split are taken together, e.g.
            ``{"train": [samples_parquet, train_episodes], "val": val_episodes, "test": test_episodes}``.

    Returns:
        The report; ``report.clean`` says whether all is well.

    Raises:
        UserError: a source is missing or corrupt.
    """
    contents: dict[str, SplitContents] = {}
    for name, sources in splits.items():
        together = contents.setdefault(name, SplitContents())
        for source in [sources] if isinstance(sources, Path | SplitContents) else sources:
            together.add(read_split(source))
    overlaps = []
    for (first, a), (second, b) in itertools.combinations(contents.items(), 2):
        shared: dict[Kind, Iterable[str]] = {
            "episode": sorted(a.episodes & b.episodes),
            "home": sorted(a.homes & b.homes),
            "seed": [str(seed) for seed in sorted(a.seeds & b.seeds)],
        }
        overlaps += [
            Overlap(splits=(first, second), kind=kind, values=list(values)) for kind, values in shared.items() if values
        ]
    counts: dict[str, dict[Kind, int]] = {
        name: {"episode": len(held.episodes), "home": len(held.homes), "seed": len(held.seeds)}
        for name, held in contents.items()
    }
    return LeakageReport(counts=counts, overlaps=overlaps)
