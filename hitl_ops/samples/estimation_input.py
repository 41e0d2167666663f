"""What an estimator looks at in a data set, as digests: estimates of other pictures or states are not gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_columns import EpisodeSpan
from hitl_ops.records.lerobot_layout import STATE
from hitl_ops.records.lerobot_reading import LeRobotFolder
from hitl_ops.records.video_fingerprint import video_fingerprint


def videos_digest(folder: LeRobotFolder, cameras: Sequence[str]) -> str:
    """Tells the videos of some cameras from others: each file's length and ends, and where episodes begin in it.

    Args:
        folder: the data set.
        cameras: the features that are looked at.

    Raises:
        UserError: a video is missing or cannot be read.
    """
    digest, seen = hashlib.sha256(), set()
    for entry in folder.entries():
        for key in cameras:
            if key not in entry.videos:
                continue  # whoever decodes it says so
            path, begins, _ = entry.videos[key]
            digest.update(f"\n{entry.index} {key} {path.relative_to(folder.root)} {begins}".encode())
            if path in seen:
                continue
            if not path.is_file():
                raise UserError(
                    f"video '{path}' of episode {entry.index} is missing (frame 0)",
                    "convert the data set again, or leave the episode out",
                )
            seen.add(path)
            digest.update(video_fingerprint(path).encode())
    return digest.hexdigest()


def states_digest(spans: Sequence[EpisodeSpan]) -> str:
    """Tells the states of a data set's frames from others; no other column is read.

    Where there are none, or none that can be used, whoever looks at them says so.

    Args:
        spans: its episodes.

    Raises:
        UserError: a file is missing or corrupt.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    digest = hashlib.sha256()
    for file, group in groupby(spans, key=lambda span: span.data):
        digest.update(f"\n{file.parent.name}/{file.name}".encode())
        try:
            with pq.ParquetFile(file) as parquet:
                if STATE not in parquet.schema_arrow.names:
                    continue
                for batch in parquet.iter_batches(columns=[STATE], use_threads=False):
                    column = batch.column(0)
                    digest.update(f" {column.type} {len(column)} {column.null_count} ".encode())
                    flat = column if pa.types.is_primitive(column.type) else pc.list_flatten(column)
                    digest.update(np.ascontiguousarray(flat.to_numpy(zero_copy_only=False)).tobytes())
        except (pa.ArrowException, OSError, ValueError) as error:
            said, first = " ".join(str(error).split()), next(iter(group)).index
            raise UserError(
                f"'{file}' with the frames of episode {first} is corrupt ({said})",
                "convert it again from its recordings",
            ) from None
    return digest.hexdigest()
