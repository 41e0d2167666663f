"""Data versions of what comes from outside the graph: how Dagster learns that something was changed, or is gone.

They are told as observations, and only as these: for an external asset Dagster compares nothing else. What was never
told before a step ran is no change when it is told first, so whoever starts a run tells them before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

DATA_VERSION = "dagster/data_version"
NOTHING = "nothing"
"""Version of what has nothing in it."""

Wanted = Mapping[tuple[dg.AssetKey, str], tuple[str, Mapping[str, int | str]]]
"""Asset and partition → its version now, and metadata to tell with it."""


def new_observations(instance: dg.DagsterInstance, wanted: Wanted) -> list[dg.AssetObservation]:
    """The observations that say how everything stands now, those left out that would say nothing new."""
    return [
        dg.AssetObservation(asset, partition=key, tags={DATA_VERSION: version}, metadata=dict(metadata))
        for (asset, key), (version, metadata) in wanted.items()
        if told_version(instance, asset, key) != version
    ]


def told_version(instance: dg.DagsterInstance, asset: dg.AssetKey, key: str) -> str:
    """The version last told of an external asset; "" where none was."""
    found = instance.fetch_observations(dg.AssetRecordsFilter(asset, asset_partitions=[key]), limit=1).records
    return _version(record.event_log_entry.tags for record in found)


def made_version(instance: dg.DagsterInstance, asset: dg.AssetKey, key: str) -> str:
    """The version of what was made of an asset last; "" where nothing was."""
    found = instance.fetch_materializations(dg.AssetRecordsFilter(asset, asset_partitions=[key]), limit=1).records
    return _version(record.event_log_entry.tags for record in found)


def _version(tags: Iterable[Mapping[str, str] | None]) -> str:
    return next(((found or {}).get(DATA_VERSION, "") for found in tags), "")


def version_of(body: Sequence[object]) -> str:
    """Hash of plain data, as a data version."""
    return hashlib.sha256(json.dumps(body, separators=(",", ":")).encode("utf-8")).hexdigest()
