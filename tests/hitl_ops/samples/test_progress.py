"""Progress of whole data sets: three sources to one overlay, and what cannot be taken as progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.episode_ids import episode_ids
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.progress_marks import EpisodeMarks, Mark, say_marks, standing_marks
from hitl_ops.records.lerobot_overlay import open_overlay
from hitl_ops.records.lerobot_reading import LeRobotFolder
from hitl_ops.records.station_hdf5 import Verdict
from hitl_ops.samples.progress import ProgressConfig, make_progress, stored_marks
from hitl_ops.samples.progress_rules import marks_progress, verdict_progress
from tests.support.lerobot_sets import make_set

LENGTHS = (12, 30, 1)


def _set(root: Path, version: str = "v2.1", **columns: Any) -> LeRobotFolder:
    return make_set(root, LENGTHS, columns, version=version)


def _overlay(out: Path, folder: LeRobotFolder) -> list[np.ndarray[Any, Any]]:
    overlay = open_overlay(out, folder)
    stage, whole = overlay.column("stage_progress_gt"), overlay.column("progress_gt")
    assert stage.dtype == np.float32 and (stage == whole).all()
    return np.split(stage, np.cumsum(LENGTHS)[:-1])


def _reached(*frames: int) -> list[Mark]:
    return [Mark(frame=frame, stage=number + 1) for number, frame in enumerate(frames)]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_marks_become_an_overlay_and_the_data_set_stays(tmp_path: Path, version: str) -> None:
    folder = _set(tmp_path / "set", version)
    before = {file: file.read_bytes() for file in folder.root.rglob("*") if file.is_file()}
    marks = {0: _reached(4, 9), 1: [*_reached(5), Mark(frame=20, stage=1, lost=True)], 2: []}
    told: list[int] = []
    summary = make_progress(
        ProgressConfig(stages=2),
        folder.root,
        tmp_path / "over",
        marks=marks,
        progress=lambda done, *_: told.append(done),
    )
    parts = _overlay(tmp_path / "over", folder)
    for index, part in enumerate(parts):
        np.testing.assert_array_equal(part, marks_progress(marks[index], LENGTHS[index], 2))
    assert summary.reached == {1: pytest.approx(2 / 3), 2: pytest.approx(1 / 3)}
    assert summary.falling == [1] and not summary.monotone and summary.finished == pytest.approx(1 / 3)
    assert (summary.episodes, summary.frames, told) == (3, 43, [1, 2, 3])
    assert {file: file.read_bytes() for file in folder.root.rglob("*") if file.is_file()} == before


def test_what_was_not_marked_or_cannot_be_is_named(tmp_path: Path) -> None:
    folder = _set(tmp_path / "set")
    with pytest.raises(UserError, match=r"episode 1 is not marked \(2 of 3 are not\)"):
        make_progress(ProgressConfig(), folder.root, tmp_path / "over", marks={0: []})
    with pytest.raises(UserError, match=r"episode 2, frame 1: the mark lies beyond"):
        make_progress(ProgressConfig(), folder.root, tmp_path / "over", marks={0: [], 1: [], 2: _reached(1)})
    falling = {0: [], 1: [*_reached(5), Mark(frame=20, stage=1, lost=True)], 2: []}
    with pytest.raises(UserError, match=r"episode 1, frame 20: progress falls"):
        make_progress(ProgressConfig(monotone=True), folder.root, tmp_path / "over", marks=falling)
    assert not (tmp_path / "over").exists()


def test_verdicts_become_normalised_returns(tmp_path: Path) -> None:
    folder = _set(tmp_path / "set")
    config = ProgressConfig(source="verdicts")
    with pytest.raises(UserError, match=r"episode 2 has no verdict"):
        make_progress(config, folder.root, tmp_path / "over", verdicts={"0": "good", "1": "bad"})
    with pytest.raises(UserError, match="has no episode '7'"):
        make_progress(
            config, folder.root, tmp_path / "over", verdicts={"0": "good", "1": "bad", "2": "bad", "7": "good"}
        )
    said: dict[str, Verdict] = {"0": "good", "1": "bad", "2": "bad"}
    summary = make_progress(config, folder.root, tmp_path / "over", verdicts=said)
    parts = _overlay(tmp_path / "over", folder)
    for index, part in enumerate(parts):
        np.testing.assert_array_equal(part, verdict_progress(LENGTHS[index], index == 0, 30, 30.0))
    assert parts[0][-1] == 1 and parts[1].max() < 0.5 and parts[1][0] == 0
    assert summary.monotone and summary.reached == {} and summary.finished == pytest.approx(1 / 3)
    make_progress(config.replace(failure_cost=5.0), folder.root, tmp_path / "over", verdicts=said)
    assert _overlay(tmp_path / "over", folder)[1][-1] == np.float32(1 - 5 / 34)


def test_a_column_is_taken_over_when_it_can_be_progress(tmp_path: Path) -> None:
    column = np.linspace(0, 1, 43, dtype=np.float64)
    folder = _set(tmp_path / "set", progress=column)
    config = ProgressConfig(source="column", column="progress")
    make_progress(config, folder.root, tmp_path / "over")
    np.testing.assert_array_equal(np.concatenate(_overlay(tmp_path / "over", folder)), column.astype(np.float32))
    with pytest.raises(UserError, match="no column 'stage_progress_gt'"):
        make_progress(ProgressConfig(source="column"), folder.root, tmp_path / "other")


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize(("wrong", "said"), [(1.5, "is 1.5"), (-0.25, "is -0.25"), (np.nan, ""), (np.inf, "")])
def test_what_is_no_progress_is_named_by_episode_and_frame(tmp_path: Path, wrong: float, said: str) -> None:
    column = np.linspace(0, 1, 43)
    column[15] = wrong
    folder = _set(tmp_path / "set", progress=column)
    with pytest.raises(UserError, match=f"episode 1, frame 3.*{said}"):
        make_progress(ProgressConfig(source="column", column="progress"), folder.root, tmp_path / "over")
    assert not (tmp_path / "over").exists()


def test_the_last_word_on_an_episode_counts_wherever_its_data_set_lies(tmp_path: Path) -> None:
    folder = _set(tmp_path / "set")
    labels = LabelStore.open(f"sqlite:///{tmp_path / 'labels.db'}")
    ids = {entry.index: episode_id for entry, episode_id in episode_ids(folder)}
    assert len(set(ids.values())) == 3

    def say(index: int, *frames: int, key: str, stages: int = 4, done: bool = True, by: str = "eva") -> None:
        marked = EpisodeMarks(
            episode_id=ids[index], length=LENGTHS[index], stages=stages, marks=tuple(_reached(*frames)), done=done
        )
        for _ in range(2):  # a retry adds nothing
            say_marks(labels, marked, annotator=by, client_key=key, seconds=3.0)

    say(0, 3, key="one")
    say(0, 4, 6, key="two", by="kim")
    say(1, 2, key="three", done=False)
    say(2, key="four")
    assert len(labels.labels("progress", superseded=True)) == 4
    assert len(standing_marks(labels)) == 3
    moved = make_set(tmp_path / "elsewhere", LENGTHS, {}, version="v3.0")
    for one in (folder, moved):
        assert stored_marks(labels, one, 4) == {0: _reached(4, 6), 2: []}, "what was only begun is missing"
    say(2, key="five", stages=2)
    with pytest.raises(UserError, match="episode 2 was marked with 2 stages, not 4"):
        stored_marks(labels, folder, 4)
    with pytest.raises(UserError, match="frame 99"):
        say(2, 99, key="six")
    labels.close()
