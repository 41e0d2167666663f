"""The data card of a sample file: what is in it, how it is spread, and what looks wrong."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from hitl_ops.contracts.publish import publish_json, publish_text
from hitl_ops.contracts.sample import END_OF_ACTION, Sample
from hitl_ops.samples.parquet import read_manifest, read_samples
from hitl_ops.samples.plots import bars, histogram, publish_plots


class Spread(BaseModel):
    """How a quantity is spread over the samples."""

    minimum: float = 0.0
    mean: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    maximum: float = 0.0
    total: float = 0.0

    @classmethod
    def of(cls, values: list[int] | list[float]) -> Spread:
        """Summarise ``values``; all zero when there are none."""
        if not values:
            return cls()
        array = np.asarray(values, dtype=np.float64)
        return cls(
            minimum=float(array.min()),
            mean=float(array.mean()),
            median=float(np.median(array)),
            p95=float(np.quantile(array, 0.95)),
            maximum=float(array.max()),
            total=float(array.sum()),
        )


class DataCard(BaseModel):
    """What a sample file holds."""

    samples: int
    episodes: int
    homes: int
    manifest_hash: str
    prompt_style: str
    by_task_type: dict[str, int]
    by_split: dict[str, int]
    by_source: dict[str, int]
    by_agent: dict[str, int]
    by_iteration: dict[str, int]
    by_policy: dict[str, int]
    weight_by_source: dict[str, float] = Field(description="sum of the weights, per source")
    actions: dict[str, int] = Field(description="samples by the tool they teach, most frequent first")
    token_unit: str = Field(description="what lengths are counted in: 'words' or 'tokens'")
    prompt_length: Spread
    completion_length: Spread
    samples_per_episode: Spread
    largest_episode_share: float = Field(description="share of the samples the most frequent episode has")
    duplicates: int = Field(description="samples whose prompt and completion both occurred before")
    contradictions: int = Field(description="distinct prompts that teach more than one completion")
    empty: int = Field(description="samples with an empty prompt or completion")

    @property
    def warnings(self) -> list[str]:
        """What a person should look at before training on this."""
        found = []
        if self.samples == 0:
            found.append("there is no sample")
        if self.empty:
            found.append(f"{self.empty} samples have an empty prompt or completion")
        if self.samples and self.duplicates > 0.2 * self.samples:
            found.append(f"{self.duplicates / self.samples:.0%} of the samples are duplicates")
        if self.episodes >= 5 and self.largest_episode_share > 0.25:
            found.append(f"one episode gives {self.largest_episode_share:.0%} of the samples")
        if self.samples and len(self.actions) == 1:
            found.append("every sample teaches the same tool")
        if sum(self.weight_by_source.values()) == 0 and self.samples:
            found.append("every weight is zero")
        return found


def write_data_card(parquet: Path, out_dir: Path, tokenizer: Callable[[str], int] | None = None) -> DataCard:
    """Write ``data_card.json``, ``data_card.md`` and the plots it shows, beside each other in ``out_dir``.

    Args:
        parquet: a sample file.
        out_dir: where the card goes; ``plots/`` is made inside it.
        tokenizer: counts the tokens of a text; whitespace-separated words are counted without it.

    Returns:
        The card.

    Raises:
        UserError: the sample file is missing or corrupt, or the disk is full.
    """
    card, lengths = _take_stock(parquet, tokenizer)
    plots = {
        "task_types": bars(card.by_task_type, "Samples by task type", "samples"),
        "actions": bars(card.actions, "Samples by action", "samples"),
        "prompt_length": histogram(lengths["prompt"], f"Prompt length ({card.token_unit})", "samples"),
        "completion_length": histogram(lengths["completion"], f"Completion length ({card.token_unit})", "samples"),
        "samples_per_episode": histogram(lengths["episode"], "Samples per episode", "episodes"),
    }
    publish_plots(out_dir / "plots", plots)
    publish_text(out_dir / "data_card.md", _markdown(card, parquet, list(plots)))
    publish_json(out_dir / "data_card.json", {**card.model_dump(mode="json"), "warnings": card.warnings})
    return card


def _take_stock(parquet: Path, tokenizer: Callable[[str], int] | None) -> tuple[DataCard, dict[str, list[int]]]:
    count = tokenizer or (lambda text: len(text.split()))
    manifest = read_manifest(parquet)
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("task_type", "split", "source", "agent", "iteration", "policy_id", "episode_id")
    }
    weights: Counter[str] = Counter()
    tools: Counter[str] = Counter()
    homes: set[str] = set()
    # Digests, not texts: the prompts of a large file do not fit into memory.
    pairs: set[bytes] = set()
    taught: dict[bytes, set[bytes]] = {}
    lengths: dict[str, list[int]] = {"prompt": [], "completion": []}
    duplicates = empty = samples = 0
    for sample in read_samples(parquet):
        samples += 1
        for name, counter in counts.items():
            counter[str(getattr(sample, name))] += 1
        weights[sample.source] += sample.weight  # type: ignore[assignment]
        tools[_tool(sample)] += 1
        homes.add(sample.scene_id)
        prompt, completion = _digest(sample.prompt), _digest(sample.completion)
        duplicates += prompt + completion in pairs
        pairs.add(prompt + completion)
        taught.setdefault(prompt, set()).add(completion)
        empty += not sample.prompt.strip() or not sample.completion.removesuffix(END_OF_ACTION).strip()
        lengths["prompt"].append(count(sample.prompt))
        lengths["completion"].append(count(sample.completion))
    per_episode = list(counts["episode_id"].values())
    lengths["episode"] = per_episode
    card = DataCard(
        samples=samples,
        episodes=len(per_episode),
        homes=len(homes),
        manifest_hash=manifest.hash,
        prompt_style=manifest.notes.get("prompt_style", ""),
        by_task_type=_sorted(counts["task_type"]),
        by_split=_sorted(counts["split"]),
        by_source=_sorted(counts["source"]),
        by_agent=_sorted(counts["agent"]),
        by_iteration=_sorted(counts["iteration"]),
        by_policy=_sorted(counts["policy_id"]),
        weight_by_source={name: float(total) for name, total in sorted(weights.items())},
        actions=dict(sorted(tools.items(), key=lambda item: (-item[1], item[0]))),
        token_unit="tokens" if tokenizer else "words",
        prompt_length=Spread.of(lengths["prompt"]),
        completion_length=Spread.of(lengths["completion"]),
        samples_per_episode=Spread.of(per_episode),
        largest_episode_share=max(per_episode, default=0) / samples if samples else 0.0,
        duplicates=duplicates,
        contradictions=sum(len(completions) > 1 for completions in taught.values()),
        empty=empty,
    )
    return card, lengths


def _tool(sample: Sample) -> str:
    return sample.completion.removesuffix(END_OF_ACTION).partition("[")[0].strip() or "(empty)"


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items()))


def _markdown(card: DataCard, parquet: Path, plots: list[str]) -> str:
    def table(title: str, counts: dict[str, int]) -> str:
        rows = "\n".join(
            f"| {name or '–'} | {number} | {number / card.samples:.1%} |" for name, number in counts.items()
        )
        return f"### {title}\n\n| | samples | share |\n|---|---:|---:|\n{rows}\n"

    def spread(name: str, of: Spread) -> str:
        return (
            f"| {name} | {of.minimum:g} | {of.mean:.1f} | {of.median:g} | {of.p95:g} | {of.maximum:g} | {of.total:g} |"
        )

    warnings = card.warnings
    lines = [
        f"# Data card: {parquet.name}",
        "",
        f"{card.samples} samples from {card.episodes} episodes in {card.homes} homes; prompts are {card.prompt_style}.",
        f"Manifest `{card.manifest_hash}`.",
        "",
        *([f"> **Look at this:** {'; '.join(warnings)}.", ""] if warnings else []),
        f"Duplicates: {card.duplicates}. Prompts that teach more than one action: {card.contradictions}. "
        f"Empty: {card.empty}. Largest share of one episode: {card.largest_episode_share:.1%}.",
        "",
        "## Lengths",
        "",
        "| | min | mean | median | p95 | max | total |",
        "|---|---:|---:|---:|---:|---:|---:|",
        spread(f"prompt, {card.token_unit}", card.prompt_length),
        spread(f"completion, {card.token_unit}", card.completion_length),
        spread("samples per episode", card.samples_per_episode),
        "",
        "## Counts",
        "",
        table("Task type", card.by_task_type),
        table("Action", card.actions),
        table("Source", card.by_source),
        table("Split", card.by_split),
        table("Agent", card.by_agent),
        table("Iteration", card.by_iteration),
        table("Policy that acted", card.by_policy),
        "### Weight by source\n\n| | weight |\n|---|---:|",
        *[f"| {name} | {weight:g} |" for name, weight in card.weight_by_source.items()],
        "",
        "## Plots",
        "",
        *[f"![{name.replace('_', ' ')}](plots/{name}.png)" for name in plots],
    ]
    return "\n".join(lines) + "\n"
