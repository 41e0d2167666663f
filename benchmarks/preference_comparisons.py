"""How many comparisons it takes: our loop beside imitation's preference comparisons, in the same world.

Both have the same steps of the world and the same number of comparisons, PPO with the same figures, a scripted person
with as many errors, and are examined on the same targets after every helping of comparisons. imitation runs in an
environment of its own (``python -m benchmarks.preferences.environment`` builds it), as its own script has it: with
fragments by lot and with those that an ensemble disagrees on, as few epochs as its script has and as many as ours,
with a reward that sees everything and with one that sees what ours sees. The best of its ways counts in each case.

What a side needed is what it had been told when it first reached ``success`` of the targets; the figure is the median
over the seeds. A side that did not come there within its comparisons counts as needing more than there were. Sides take
turns; a finished run is kept in ``out`` and not repeated. ``success.png`` shows every run.

Run ``python -m benchmarks.preference_comparisons`` for the rows as JSON.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from benchmarks.preferences.environment import ROOT, python, variables
from benchmarks.preferences.imitation_settings import ImitationSettings
from benchmarks.preferences.journal import finished
from benchmarks.preferences.ours_side import comparisons_of, seeded, steps_of
from benchmarks.preferences.success_plot import draw_success
from hitl_assets.preference_presets import PreferencePreset, PreferencePresetName, chosen_preference_preset
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError

Inputs = Literal["own", "ours"]
Selection = Literal["random", "active"]
Lines = list[dict[str, Any]]

RATIO = 0.5
_OURS = "ours"
_SEEN: dict[Inputs, str] = {"own": "sees everything", "ours": "sees what ours sees"}


class Settings(StrictConfig):
    """What is measured."""

    preset: PreferencePresetName = Field(default="laptop", description="Whose loop, and how long.")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="Runs of each side.")
    success: float = Field(default=0.8, gt=0, le=1, description="Share of targets that a policy has to reach.")
    iterations: int | None = Field(default=None, ge=0, description="Of our loop, instead of the preset's.")
    inputs: tuple[Inputs, ...] = Field(default=("own", "ours"), min_length=1, description="What its reward sees.")
    selections: tuple[Selection, ...] = Field(
        default=("random", "active"), min_length=1, description="How it chooses fragments."
    )
    epochs: tuple[int, ...] = Field(
        default=(3, 100),
        min_length=1,
        description="Its reward's, over all comparisons, after each helping: its script's own, meant for thousands of "
        "comparisons, and about as many as ours has.",
    )
    first_epochs: int = Field(default=600, ge=1, description="Its reward's, over the first comparisons.")
    helpings: int | None = Field(
        default=None, ge=1, description="Of comparisons, after the first; as many as ours where nothing is said."
    )
    comparisons: float = Field(
        default=1.0,
        ge=1,
        description="Times ours that imitation may ask, in as many steps of the world: what it needs shows for certain "
        "that ours is a half of it only where it may ask twice as much.",
    )
    out: Path = Field(default=Path("data/benchmarks/preferences"), description="Where runs are kept.")


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench preference-comparisons``.

    Raises:
        UserError: the environment of imitation's side is not built, or a run fails.
    """
    settings = settings or Settings()
    theirs = python()
    loop = _loop(settings)
    variants = list(itertools.product(settings.inputs, settings.selections, settings.epochs))
    runs: dict[str, list[Lines]] = {_OURS: [], **{_name(*variant): [] for variant in variants}}
    for seed in settings.seeds:
        ours = seeded(loop, seed)
        module = "benchmarks.preferences.ours_side"
        runs[_OURS].append(_run(Path(sys.executable), module, ours, settings.out / f"{_OURS}-{seed}.jsonl"))
        for variant in variants:
            told = _imitation(settings, loop, seed, *variant)
            out = settings.out / f"{_name(*variant)}-{seed}.jsonl"
            found = _run(theirs, "benchmarks.preferences.imitation_side", told, out)
            runs[_name(*variant)].append(found)
    draw_success(runs, settings.success, settings.out / "success.png")
    return _rows(settings, comparisons_of(loop), _allowed(settings, loop), runs)


def _loop(settings: Settings) -> PreferencePreset:
    more = [] if settings.iterations is None else [f"loop.iterations={settings.iterations}"]
    return chosen_preference_preset(settings.preset, more)


def _allowed(settings: Settings, loop: PreferencePreset) -> int:
    """Comparisons that imitation may ask."""
    return round(settings.comparisons * comparisons_of(loop))


def _name(inputs: Inputs, selection: Selection, epochs: int) -> str:
    return f"imitation-{inputs}-{selection}-{epochs}"


def _imitation(
    settings: Settings, loop: PreferencePreset, seed: int, inputs: Inputs, selection: Selection, epochs: int
) -> ImitationSettings:
    return ImitationSettings(
        world=loop.world,
        ppo=loop.ppo.replace(seed=0),
        evaluation=loop.evaluation,
        comparisons=_allowed(settings, loop),
        steps=steps_of(loop),
        helpings=settings.helpings or max(1, loop.loop.iterations),
        fragment=loop.clips.steps,
        errors=loop.annotator.errors,
        selection=selection,
        sees=loop.reward.model if inputs == "ours" else None,
        epochs=epochs,
        first_epochs=settings.first_epochs,
        seed=seed,
    )


def _run(interpreter: Path, module: str, told: StrictConfig, out: Path) -> Lines:
    """A run's lines: those that are there, if they are of these settings, or of a run now."""
    kept = finished(out, told)
    if kept is not None:
        return kept
    print(f"{out.stem} …", file=sys.stderr, flush=True)
    words = [str(interpreter), "-m", module, "--settings", told.model_dump_json(), "--out", str(out.resolve())]
    env = variables() if interpreter != Path(sys.executable) else {**os.environ, "OMP_NUM_THREADS": "1"}
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_suffix(".log")
    with log.open("wb") as said:
        done = subprocess.run(words, cwd=ROOT, env=env, stdout=said, stderr=said)
    lines = finished(out, told)
    if done.returncode != 0 or lines is None:
        raise UserError(f"the run {out.stem} failed", f"read {log}; finished runs are kept")
    return lines


def needed(lines: Lines, success: float) -> float:
    """Comparisons after which a run first reached so many targets; infinite where it never did."""
    return next((float(line["comparisons"]) for line in lines if line["success"] >= success), math.inf)


def _rows(settings: Settings, budget: int, theirs: int, runs: dict[str, list[Lines]]) -> list[dict[str, Any]]:
    took = {name: statistics.median(needed(lines, settings.success) for lines in found) for name, found in runs.items()}
    last = {name: statistics.median(lines[-1]["success"] for lines in found) for name, found in runs.items()}
    rows = []
    for inputs in settings.inputs:
        ways = [(inputs, *way) for way in itertools.product(settings.selections, settings.epochs)]
        best = min(ways, key=lambda way: (took[_name(*way)], -last[_name(*way)]))
        told = f"imitation, {best[1]} fragments, {best[2]} epochs, {_SEEN[inputs]}"
        rows.append(_needed_row(settings, (budget, theirs), took[_OURS], took[_name(*best)], told))
        told += "" if theirs == budget else f", after {theirs}"
        rows.append(_row(f"success after {budget} comparisons", "", last[_OURS], last[_name(*best)], told, None))
    for name, found in runs.items():
        for seed, lines in zip(settings.seeds, found, strict=True):
            one = needed(lines, settings.success)
            metric = f"comparisons needed for {settings.success:.0%} success: {name}, seed {seed}"
            if math.isinf(one):
                metric += f" (not reached within {budget if name == _OURS else theirs})"
            rows.append(_row(metric, "", None if math.isinf(one) else one, None, None, None))
    return rows


def _needed_row(settings: Settings, budgets: tuple[int, int], ours: float, theirs: float, told: str) -> dict[str, Any]:
    """Ours beside imitation's; where it did not come there, it needs more than there were: the ratio is less still."""
    metric = f"comparisons needed for {settings.success:.0%} success, median of {len(settings.seeds)} seeds"
    if math.isinf(ours):
        metric += f" (ours not reached within {budgets[0]})"
    if math.isinf(theirs):
        told += f" (not reached within {budgets[1]}: that many at least)"
    row = _row(metric, "", None if math.isinf(ours) else ours, float(min(theirs, budgets[1])), told, RATIO)
    return {**row, "holds": row["ratio"] is not None and row["ratio"] <= RATIO}


def _row(
    metric: str, unit: str, ours: float | None, reference: float | None, name: str | None, target: float | None
) -> dict[str, Any]:
    return {
        "metric": metric,
        "unit": unit,
        "ours": ours,
        "reference": reference,
        "reference_name": name,
        "ratio": None if ours is None or not reference else round(ours / reference, 3),
        "target": target,
        "holds": None,
    }


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
