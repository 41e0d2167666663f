"""What people gave, as data versions: how Dagster learns that a play was judged otherwise, or is gone.

The versions are hashes over what stands in the label store (see ``told_versions``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from hitl_assets.planner_iterations import (
    PROGRAM,
    annotation_labels,
    collected_plays,
    human_input,
    opened_iterations,
)
from hitl_assets.told_versions import NOTHING, made_version, new_observations, version_of
from hitl_ops.contracts.store import Store

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.rows import LabelKind

EARLIER_SAMPLES = ("distilled_samples", "human_gold_samples", "expert_samples")


@dataclass(frozen=True)
class Given:
    """What people gave to one iteration.

    Attributes:
        plays: hash over its finished plays.
        labels: hash over what stands about their decisions.
        last_label: the newest label about them; 0 where there is none.
    """

    plays: str = NOTHING
    labels: str = NOTHING
    last_label: int = 0


def given(labels: LabelStore | None, iteration: int, known: Given | None = None) -> Given:
    """Look at what people gave to an iteration.

    Args:
        labels: the label store; None where nobody was ever invited.
        iteration: its number.
        known: what was found when it was last looked at; labels are then read only if there are new ones.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    if labels is None:
        return Given()
    from hitl_ops.labels.opinions import opinions

    rows = labels.finished_plays(PROGRAM, iteration)
    about = [[play.id, play.episode_id, play.finish_id, play.state_hash, play.reported] for play in rows]
    plays = version_of(about) if about else NOTHING
    if known is not None and known.plays == plays and not newer_labels(labels, iteration, known.last_label):
        return known
    said = opinions(labels, PROGRAM, iteration)
    return Given(plays, said.hash if said.plays else NOTHING, said.last_label_id)


def newer_labels(labels: LabelStore, iteration: int, after: int) -> bool:
    """Whether anything was said about an iteration's decisions after the label with the number ``after``."""
    kinds: tuple[LabelKind, ...] = ("correction", "verdict")
    return any(
        labels.labels(kind, program=PROGRAM, iteration=iteration, after_id=after, limit=1, superseded=True)
        for kind in kinds
    )


def versions(
    instance: dg.DagsterInstance, store: Store, found: Mapping[str, Given], *, leave_out_refused: bool = True
) -> list[dg.AssetObservation]:
    """The observations that say how everything stands now, those left out that would say nothing new.

    Args:
        instance: Dagster's instance.
        store: says which policies the gate refused.
        found: iteration key → what people gave, of all opened iterations.
        leave_out_refused: whether people's samples of refused iterations are left out of later training sets.
    """
    wanted: dict[tuple[dg.AssetKey, str], tuple[str, dict[str, int | str]]] = {}
    before: list[list[str]] = []
    for key in sorted(found, key=int):
        here = found[key]
        wanted[collected_plays.key, key] = here.plays, {}
        wanted[annotation_labels.key, key] = here.labels, {"last label": here.last_label}
        wanted[human_input.key, key] = version_of([*before, [key, here.plays, here.labels]]), {}
        before.append(_for_later(instance, store, key, here, leave_out_refused))
    return new_observations(instance, wanted)


def report_versions(instance: dg.DagsterInstance, store: Store, *, leave_out_refused: bool = True) -> int:
    """Tell Dagster how what people gave stands now, in all opened iterations; returns how many versions are new.

    Args:
        instance: Dagster's instance.
        store: holds the label store.
        leave_out_refused: as for :func:`versions`.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    from resources.store import StoreResource

    labels = StoreResource(home=str(store.root)).labels()
    try:
        found = {key: given(labels, int(key)) for key in opened_iterations(instance)}
    finally:
        if labels is not None:
            labels.close()
    told = versions(instance, store, found, leave_out_refused=leave_out_refused)
    for observation in told:
        instance.report_runless_asset_event(observation)
    return len(told)


def _for_later(instance: dg.DagsterInstance, store: Store, key: str, here: Given, leave_out_refused: bool) -> list[str]:
    """What an iteration gives to those after it: people's words, and the samples that were made of them."""
    from hitl_ops.evaluation.gate import read_gate

    verdict = read_gate(store.iteration(PROGRAM, key).evaluation)
    made = [made_version(instance, dg.AssetKey(name), key) for name in EARLIER_SAMPLES]
    if leave_out_refused and verdict is not None and not verdict.promote:
        return [key, "refused", made[0]]
    return [key, here.plays, here.labels, *made]
