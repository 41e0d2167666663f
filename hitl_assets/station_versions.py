"""What stations sent and what people said of it, as data versions (see ``told_versions``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from hitl_assets.station_iterations import PROGRAM, STATION_LOOP, station_epoch, station_input
from hitl_assets.told_versions import NOTHING, new_observations, version_of
from hitl_ops.contracts.store import Store

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore


def station_observations(
    instance: dg.DagsterInstance,
    store: Store,
    labels: LabelStore | None,
    keys: Iterable[str],
    *,
    leave_out_refused: bool = False,
) -> list[dg.AssetObservation]:
    """The observations that say how everything stands now, those left out that would say nothing new.

    Args:
        instance: Dagster's instance.
        store: holds what came in, and says which policies the gate refused.
        labels: the label store; None where nobody ever said anything.
        keys: partition keys of the iterations, those that are being opened included.
        leave_out_refused: whether what was collected for refused policies is left out of later data sets.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    from hitl_ops.evaluation.gate import read_gate

    found: dict[tuple[dg.AssetKey, str], tuple[str, dict[str, int | str]]] = {}
    before: list[list[str]] = []
    for key in sorted(keys, key=int):
        here = _epoch_version(store, labels, int(key))
        found[station_epoch.key, key] = here, {}
        found[station_input.key, key] = version_of([*before, [key, here]]), {}
        verdict = read_gate(store.iteration(PROGRAM, key).evaluation)
        refused = leave_out_refused and verdict is not None and not verdict.promote
        before.append([key, "refused" if refused else here])
    return new_observations(instance, found)


def report_station_versions(instance: dg.DagsterInstance, store: Store, *, leave_out_refused: bool = False) -> int:
    """Tell Dagster how everything stands now, in all opened iterations; returns how many versions are new.

    Args:
        instance: Dagster's instance.
        store: holds what came in, and the label store.
        leave_out_refused: as for :func:`station_observations`.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    from resources.store import StoreResource

    with StoreResource(home=str(store.root)).opened_labels() as labels:
        told = station_observations(
            instance, store, labels, STATION_LOOP.opened(instance), leave_out_refused=leave_out_refused
        )
    for observation in told:
        instance.report_runless_asset_event(observation)
    return len(told)


def _epoch_version(store: Store, labels: LabelStore | None, iteration: int) -> str:
    """Hash over one epoch of every task: its manifests, and the last word on each episode."""
    from hitl_ops.contracts.station_epoch import EpochFolder
    from hitl_ops.samples.station_epochs import arrived_epoch

    incoming = store.station_incoming
    tasks = sorted(folder.name for folder in incoming.iterdir() if folder.is_dir()) if incoming.is_dir() else []
    arrived = [[task, arrived_epoch(EpochFolder(incoming, task, iteration)).version] for task in tasks]
    body = [found for found in arrived if found[1]]
    if labels is not None:
        from hitl_ops.labels.station_verdicts import standing_verdicts

        said = standing_verdicts(labels, iteration)
        words = sorted([name, value.said] for name, (_, value) in said.items() if value.said != "withdrawn")
        body += [["said", *word] for word in words]
    return version_of(body) if body else NOTHING
