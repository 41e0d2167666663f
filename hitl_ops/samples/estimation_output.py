"""Where estimates of a data set's frames go: Parquet files beside its own, or an overlay.

Episode by episode they stand in a folder outside the data set, under a name that says it is unfinished; when all are
there, the result takes its place in one step. Whoever is killed goes on from the episodes that stand there. The data
set's own files are never written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.file_lock import unlock_and_close
from hitl_ops.contracts.publish import disk_errors_named, publish_json, publishing, sweep_temporaries
from hitl_ops.records.lerobot_layout import LEGACY_VERSION, read_json
from hitl_ops.records.lerobot_overlay import FACTS_FILE, open_overlay, write_overlay

if TYPE_CHECKING:
    import pyarrow as pa

    from hitl_ops.records.lerobot_columns import EpisodeSpan
    from hitl_ops.records.lerobot_reading import LeRobotFolder

SUMMARY_FILE = "estimation.json"
CLAIM_FILE = "claim.json"
Columns = Mapping[str, npt.NDArray[np.float32]]


class EstimationOutput(Protocol):
    """Takes the estimates of one episode after another.

    Attributes:
        place: where the result will stand.
    """

    place: Path

    def finished(self) -> bool:
        """Whether all of it stands there, made from the same.

        Raises:
            UserError: something else stands there.
        """

    def outdated(self) -> bool:
        """Whether estimates made from something else stand there."""

    def has(self, span: EpisodeSpan) -> bool:
        """Whether an episode's estimates stand in the unfinished folder."""

    def write(self, span: EpisodeSpan, columns: Columns) -> None:
        """Keep an episode's estimates."""

    def finish(self) -> None:
        """Put the result in its place."""


@contextlib.contextmanager
def estimation_output(
    folder: LeRobotFolder,
    spans: list[EpisodeSpan],
    name: str,
    made: Mapping[str, Any],
    overlay: Path | None,
    *,
    replace: bool = False,
) -> Iterator[EstimationOutput]:
    """What takes the estimates of a data set.

    Args:
        folder: the data set.
        spans: its episodes.
        name: of the estimates, ``KAI0_100000``.
        made: everything they depend on; estimates made of something else are not gone on with.
        overlay: folder of an overlay to write; where None, ``data_<name>`` in a data set of version 2.1, and an overlay
            ``<data set>_<name>`` beside one of version 3.0.
        replace: whether estimates made of something else, finished or not, are removed first.

    Raises:
        UserError: another process is at it, something else stands there, or the unfinished folder holds estimates made
            of something else.
    """
    legacy = folder.info.version == LEGACY_VERSION
    root = folder.root.resolve()
    output: _Beside | _AsOverlay
    if overlay is None and legacy:
        output = _Beside(root / f"data_{name}", root.with_name(f".{root.name}.data_{name}.unfinished"), made)
    else:
        place = root.with_name(f"{root.name}_{name}") if overlay is None else Path(overlay).resolve()
        if place == root or place.is_relative_to(root / "data"):
            raise UserError(f"'{place}' belongs to the data set", "name another folder for the overlay")
        output = _AsOverlay(place, unfinished_folder(place), made, folder, spans)
    outdated = replace and output.outdated()
    if not outdated and output.finished():
        shutil.rmtree(output.work, ignore_errors=True)  # left where a kill came between the last two steps
        yield output
        return
    with _alone(output.work, output.place):
        if replace:
            _remove_others(output, outdated, made)
        sweep_temporaries(output.work)
        _claim(output.work, made)
        try:
            yield output
        finally:
            if output.work.is_dir() and not any(output.work.rglob("*.parquet")):
                shutil.rmtree(output.work, ignore_errors=True)  # nothing came of it


class _Beside:
    """``data_<name>/chunk-*/episode_*.parquet``: the data set's own rows with further columns."""

    def __init__(self, place: Path, work: Path, made: Mapping[str, Any]) -> None:
        self.place, self.work, self._made = place, work, made

    def finished(self) -> bool:
        if not self.place.exists():
            return False
        file = self.place / SUMMARY_FILE
        said = read_json(file) if file.is_file() else {}
        if said != self._made:
            raise _other(self.place, said, self._made)
        return True

    def outdated(self) -> bool:
        file = self.place / SUMMARY_FILE
        return file.is_file() and _is_outdated(read_json(file), self._made)

    def has(self, span: EpisodeSpan) -> bool:
        return self._file(span).is_file()

    def write(self, span: EpisodeSpan, columns: Columns) -> None:
        import pyarrow.parquet as pq

        with pq.ParquetFile(span.data) as parquet:
            table = parquet.read()
        with publishing(self._file(span)) as temporary:
            pq.write_table(_with_columns(table, columns), temporary)

    def finish(self) -> None:
        publish_json(self.work / SUMMARY_FILE, self._made)
        (self.work / CLAIM_FILE).unlink(missing_ok=True)
        _move(self.work, self.place)

    def _file(self, span: EpisodeSpan) -> Path:
        return self.work / span.data.parent.name / span.data.name


class _AsOverlay:
    """An overlay, for data sets of both versions."""

    def __init__(
        self, place: Path, work: Path, made: Mapping[str, Any], folder: LeRobotFolder, spans: list[EpisodeSpan]
    ) -> None:
        self.place, self.work, self._made, self._folder, self._spans = place, work, made, folder, spans

    def finished(self) -> bool:
        if not self.place.exists():
            return False
        file = self.place / FACTS_FILE
        said = open_overlay(self.place, self._folder).facts.made if file.is_file() else {}
        if said != self._made:
            raise _other(self.place, said, self._made)
        return True

    def outdated(self) -> bool:
        # Not opened as an overlay: it may well be one of a data set that stood here before.
        file = self.place / FACTS_FILE
        return file.is_file() and _is_outdated(read_json(file).get("made"), self._made)

    def has(self, span: EpisodeSpan) -> bool:
        return self._file(span).is_file()

    def write(self, span: EpisodeSpan, columns: Columns) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with publishing(self._file(span)) as temporary:
            pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), temporary)

    def finish(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Files are read by themselves: not as parts of a table whose folders say something.
        tables = [pq.ParquetFile(self._file(span)).read() for span in self._spans]
        whole = pa.concat_tables(tables)
        columns = {name: whole.column(name).to_numpy() for name in whole.column_names}
        write_overlay(self.place, self._folder, columns, made=self._made)
        shutil.rmtree(self.work, ignore_errors=True)

    def _file(self, span: EpisodeSpan) -> Path:
        return self.work / f"episode_{span.index:06d}.parquet"


def _with_columns(table: pa.Table, columns: Columns) -> pa.Table:
    """The table with the columns behind its own, or in place of them; the `datasets` library is told of them."""
    import pyarrow as pa

    metadata = dict(table.schema.metadata or {})
    for name, values in columns.items():
        column = pa.array(values, pa.float32())
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    with contextlib.suppress(KeyError, ValueError, TypeError):  # others need not have told it anything
        told = json.loads(metadata[b"huggingface"])
        told["info"]["features"] |= {name: {"dtype": "float32", "_type": "Value"} for name in columns}
        metadata[b"huggingface"] = json.dumps(told).encode()
    return table.replace_schema_metadata(metadata)


def _is_outdated(said: Any, made: Mapping[str, Any]) -> bool:
    """Whether what is said of a result speaks of estimates, and of others than these."""
    return isinstance(said, dict) and {"estimator", "weights"} <= said.keys() and said != made


def _remove_others(output: _Beside | _AsOverlay, outdated: bool, made: Mapping[str, Any]) -> None:
    """Remove estimates made of something else; whoever calls it is alone.

    What stands there goes under another name first, so that a kill leaves no part of it in its place.
    """
    gone = output.place.with_name(f".{output.place.name}.replaced")
    with disk_errors_named(output.place):
        if gone.exists():
            shutil.rmtree(gone)
        if outdated:
            os.rename(output.place, gone)
            shutil.rmtree(gone)
        if _claimed_by_other(output.work, made) is not None:
            for one in output.work.iterdir():  # not the folder itself, which is locked
                if one.is_dir():
                    shutil.rmtree(one)
                elif one.name != CLAIM_FILE:
                    one.unlink()
            (output.work / CLAIM_FILE).unlink(missing_ok=True)  # last: what a kill leaves is known as another's


def clear_unfinished(work: Path) -> None:
    """Remove an unfinished folder, unless a process is at it."""
    with contextlib.suppress(UserError), _alone(work, work):
        shutil.rmtree(work, ignore_errors=True)


def unfinished_folder(place: Path) -> Path:
    """Where an overlay's estimates stand until all are there."""
    return place.with_name(f".{place.name}.unfinished")


def _differing(said: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    names = [name for name in made if said.get(name) != made[name]]
    return f" (other {', '.join(names)})" if said and names else ""


def _other(place: Path, said: Mapping[str, Any], made: Mapping[str, Any]) -> UserError:
    return UserError(
        f"'{place}' holds something else than these estimates{_differing(said, made)}",
        "move it away, or name the new ones otherwise (--name, --overlay)",
    )


def _claim(work: Path, made: Mapping[str, Any]) -> None:
    """Note what the unfinished estimates are made of, or see that it is the same."""
    said = _claimed_by_other(work, made)
    if said is not None:
        raise UserError(
            f"'{work}' holds unfinished estimates made of something else{_differing(said, made)}",
            "delete it, or name the new ones otherwise (--name, --overlay)",
        )
    publish_json(work / CLAIM_FILE, dict(made))


def _claimed_by_other(work: Path, made: Mapping[str, Any]) -> dict[str, Any] | None:
    """What unfinished estimates are made of where it is something else."""
    for file in (work / CLAIM_FILE, work / SUMMARY_FILE):
        if file.is_file() and (said := read_json(file)) != made:
            return said
    return None


@contextlib.contextmanager
def _alone(work: Path, place: Path) -> Iterator[None]:
    """Keep others out of the unfinished folder; the lock goes with its process."""
    with disk_errors_named(work):
        work.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have put it in its place just now.
            taken = not work.is_dir() or work.stat().st_ino != os.fstat(descriptor).st_ino
        except BlockingIOError:
            taken = True
        if taken:
            raise UserError(f"'{place}' is being written by another process", "wait for it")
        yield
    finally:
        unlock_and_close(descriptor)


def _move(work: Path, place: Path) -> None:
    """Have a whole folder stand where it belongs; across file systems it is copied under another name first."""
    with disk_errors_named(place):
        try:
            os.rename(work, place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with publishing(place) as temporary:
                shutil.copytree(work, temporary)
            shutil.rmtree(work, ignore_errors=True)
