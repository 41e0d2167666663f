"""Samples as single text files, ``{iteration}/{source}/{episode_id}/sample_{i}.txt``: what PARTNR's trainer reads."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing
from hitl_ops.contracts.sample import Source
from hitl_ops.samples.parquet import read_samples


def export_sample_texts(parquet: Path, out_dir: Path) -> int:
    """Write every sample as ``out_dir/iteration_<n>/<source>/<episode_id>/sample_<i>.txt``.

    A text is prompt and completion in one: header, world, history, ``Next Agent_Action:``, marker, action and
    ``<end_act>``. Files are numbered in the order of the rows. The folder of an iteration and source is replaced
    as a whole when all its texts are written; other iterations and sources stay as they are.

    Args:
        parquet: a sample file.
        out_dir: folder the tree starts in.

    Returns:
        The number of texts written.

    Raises:
        UserError: the sample file is missing or corrupt, an episode id cannot name a folder, or the disk is full.
    """
    written = 0
    numbers: Counter[tuple[int, Source, str]] = Counter()
    with contextlib.ExitStack() as open_folders:
        folders: dict[tuple[int, Source], Path] = {}
        for sample in read_samples(parquet):
            group = (sample.iteration, sample.source)
            if group not in folders:
                target = out_dir / f"iteration_{sample.iteration}" / sample.source
                folders[group] = open_folders.enter_context(publishing(target))
            if sample.episode_id in ("", "..") or Path(sample.episode_id).name != sample.episode_id:
                raise UserError(f"episode id {sample.episode_id!r} cannot name a folder", "rename the episode")
            episode = folders[group] / sample.episode_id
            episode.mkdir(parents=True, exist_ok=True)
            number = numbers[*group, sample.episode_id]
            (episode / f"sample_{number}.txt").write_text(sample.prompt + sample.completion, encoding="utf-8")
            numbers[*group, sample.episode_id] += 1
            written += 1
    return written
