"""Changing a LeRobot data set: judge episodes anew, leave episodes out, bring version 2.1 to 3.0.

The rows are written anew, which takes seconds; videos are linked, or copied where another data set keeps them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hitl_ops.contracts.advantage_prompt import advantage_prompt
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.lerobot_dataset import EpisodeData, VideoPart, writing_dataset
from hitl_ops.records.lerobot_layout import AUTOMATIC, DatasetInfo, with_automatic
from hitl_ops.records.lerobot_reading import EpisodeEntry, LeRobotFolder, open_lerobot
from hitl_ops.records.lerobot_stats import Stats
from hitl_ops.records.norm_stats import FILE_NAME, dataset_norm_stats, write_norm_stats
from hitl_ops.records.station_hdf5 import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

ADVANTAGE = "advantage"
INTERVENTION = "is_intervention"
GOOD, BAD, NOT_JUDGED = 1.0, 0.0, 0.5
KEPT_BYTES = 4 << 20


def rewrite_dataset(
    source: str | Path,
    out: str | Path | None = None,
    *,
    verdicts: Mapping[str, Verdict] | None = None,
    drop: Collection[str] = (),
    progress: Progress = silent,
) -> DatasetInfo:
    """Write a data set as version 3.0, with episodes judged anew or left out.

    Args:
        source: the data set, version 3.0 or 2.1.
        out: where to; in place of the source by default.
        verdicts: what people now say of episodes, by index or episode id; becomes part of their tasks. Frames in which
            a person had the robot in hand stay good.
        drop: episodes to leave out, by index or episode id.
        progress: told after each episode.

    Returns:
        What the new data set's ``info.json`` says.

    Raises:
        UserError: an episode named is not there, the source does not agree with itself, or the disk is full. The
            source, and what stood at ``out``, stay as they were.
    """
    folder = open_lerobot(source)
    target = folder.root if out is None else Path(out)
    ours = target.resolve() == folder.root.resolve()
    judged, dropped = _resolved(folder, verdicts or {}, drop)
    info = DatasetInfo(
        fps=folder.info.fps,
        features=with_automatic(folder.info.features),
        robot_type=folder.info.robot_type,
        extra=folder.info.extra,
    )
    with writing_dataset(target, info, schema=_ordered(folder, info)) as writer:
        for entry, table in folder.episodes():
            if entry.index not in dropped:
                writer.add(_rewritten(folder, entry, table, judged.get(entry.index), ours))
            progress(entry.index + 1, folder.info.total_episodes, "episodes")
        writer.close()
        if (folder.root / FILE_NAME).is_file():
            write_norm_stats(writer.folder / FILE_NAME, dataset_norm_stats(writer.folder, keep=KEPT_BYTES))
    return info


def _resolved(
    folder: LeRobotFolder, verdicts: Mapping[str, Verdict], drop: Collection[str]
) -> tuple[dict[int, Verdict], set[int]]:
    """What was said of episodes, by their indices."""
    if not verdicts and not drop:
        return {}, set()
    numbers: dict[str, int] = {}
    for entry in folder.entries():
        numbers[str(entry.index)] = entry.index
        if "episode_id" in entry.facts:
            numbers[str(entry.facts["episode_id"])] = entry.index
    for name in (*verdicts, *drop):
        if name not in numbers:
            raise UserError(
                f"data set '{folder.root}' has no episode '{name}'",
                f"name an index below {folder.info.total_episodes} or an episode id",
            )
    return {numbers[name]: verdict for name, verdict in verdicts.items()}, {numbers[name] for name in drop}


def _ordered(folder: LeRobotFolder, info: DatasetInfo) -> pa.Schema:
    """The source's own schema, what other libraries noted in it included; columns it lacks behind."""
    import pyarrow as pa

    schema = folder.schema()
    missing = [name for name in info.columns if name not in schema.names]
    kinds = {"float32": pa.float32(), "int64": pa.int64()}
    for name in missing:
        if name not in AUTOMATIC:
            raise UserError(f"data set '{folder.root}' has no column '{name}'", "its info.json does not fit its files")
        schema = schema.append(pa.field(name, kinds[AUTOMATIC[name]]))
    return schema


def _rewritten(
    folder: LeRobotFolder, entry: EpisodeEntry, table: pa.Table, verdict: Verdict | None, ours: bool
) -> EpisodeData:
    tasks = [folder.tasks[number] for number in table.column("task_index").to_pylist()]
    facts: dict[str, Any] = dict(entry.facts)
    stats: dict[str, Stats] = {
        # Version 2.1 has no quantiles: what can be taken again without opening a video is.
        key: one
        for key, one in entry.stats.items()
        if key not in AUTOMATIC and ("q01" in one or key not in folder.info.columns)
    }
    if verdict is not None:
        good = np.full(table.num_rows, verdict == "good")
        if facts.get("interventions_good") and INTERVENTION in table.column_names:
            good |= table.column(INTERVENTION).to_numpy()
        prompts = {task: (advantage_prompt(task, False), advantage_prompt(task, True)) for task in set(tasks)}
        tasks = [prompts[task][int(told)] for task, told in zip(tasks, good, strict=True)]
        facts["advantage"] = verdict == "good"
        if ADVANTAGE in table.column_names:
            column = np.where(good, GOOD, BAD).astype(np.float32)
            table = _replaced(table, ADVANTAGE, column)
            stats.pop(ADVANTAGE, None)
    videos = {
        key: VideoPart(path, start, stop, entry.stats.get(key), ours)
        for key, (path, start, stop) in entry.videos.items()
    }
    return EpisodeData(table, tasks[0] if len(set(tasks)) == 1 else tasks, videos, stats, facts)


def _replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    import pyarrow as pa

    number = table.column_names.index(name)
    return table.set_column(number, table.schema.field(number), pa.array(values))
