"""What is drawn of an episode is what was estimated of it, and every frame of the film shows its own moment."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.advantage_film import draw_episode, film_episode, read_estimates
from hitl_ops.records.lerobot_overlay import write_overlay
from hitl_ops.records.lerobot_reading import LeRobotFolder
from tests.support.filmed_sets import as_version_2_1, make_filmed_set, number_in, shown

LENGTHS = (12, 1, 30)
N = sum(LENGTHS)
COLUMNS = {
    "relative_advantage": np.linspace(-1, 1, N).astype(np.float32),
    "absolute_value": np.linspace(0, 1, N).astype(np.float32),
    "absolute_advantage": np.linspace(0.5, -0.5, N).astype(np.float32),
}
TRUTH = {"stage_progress_gt": np.linspace(0, 0.9, N).astype(np.float32)}
CURSOR = (213, 94, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> LeRobotFolder:
    root = tmp_path_factory.mktemp("filmed")
    made = make_filmed_set(root / "set", LENGTHS, together=False)
    write_overlay(root / "estimates", made, COLUMNS)
    write_overlay(root / "truth", made, TRUTH)
    return made


def test_an_episodes_own_rows_are_read(folder: LeRobotFolder, tmp_path: Path) -> None:
    around = folder.root.parent
    known = read_estimates(folder.root, 2, around / "estimates", [around / "truth"])
    for name, values in COLUMNS.items():
        np.testing.assert_array_equal(known.columns[name], values[13:])
    assert known.truth is not None
    np.testing.assert_array_equal(known.truth, TRUTH["stage_progress_gt"][13:])
    assert read_estimates(folder.root, 2, around / "estimates").truth is None
    # The same from files beside those of version 2.1.
    old = as_version_2_1(folder, tmp_path / "old")
    file = old.root / "data_PI06_5/chunk-000/episode_000002.parquet"
    file.parent.mkdir(parents=True)
    table = pq.read_table(old.root / "data/chunk-000/episode_000002.parquet")
    for name in ("absolute_value", "absolute_advantage"):
        table = table.append_column(name, [COLUMNS[name][13:]])
    pq.write_table(table, file)
    beside = read_estimates(old.root, 2, old.root / "data_PI06_5")
    assert list(beside.columns) == ["absolute_value", "absolute_advantage"]
    np.testing.assert_array_equal(beside.columns["absolute_value"], COLUMNS["absolute_value"][13:])
    with pytest.raises(UserError, match=r"episode_000001\.parquet' does not exist"):
        read_estimates(old.root, 1, old.root / "data_PI06_5")
    with pytest.raises(UserError, match="has no episode 3"):
        read_estimates(old.root, 3, old.root / "data_PI06_5")


@pytest.mark.slow
def test_the_picture_changes_with_what_it_shows(folder: LeRobotFolder, tmp_path: Path) -> None:
    around = folder.root.parent
    drawn = {}
    for name, episode, truth in (("a", 2, []), ("b", 2, [around / "truth"]), ("c", 0, []), ("again", 2, [])):
        draw_episode(folder.root, episode, around / "estimates", tmp_path / f"{name}.png", overlays=truth)
        drawn[name] = (tmp_path / f"{name}.png").read_bytes()
        with Image.open(io.BytesIO(drawn[name])) as image:
            assert image.size == (1080, 570)
    assert drawn["a"] == drawn["again"]
    assert len(set(drawn.values())) == 3
    draw_episode(folder.root, 1, around / "estimates", tmp_path / "one_frame.png")


def test_every_frame_of_the_film_shows_its_moment(folder: LeRobotFolder, tmp_path: Path) -> None:
    around = folder.root.parent
    told: list[int] = []
    frames = film_episode(
        folder.root, 2, around / "estimates", tmp_path / "film.mp4", lambda done, _total, _note="": told.append(done)
    )
    assert frames == 15 and told == list(range(1, 16))  # 25 of 50 frames a second
    columns = []
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].average_rate == 25
        for n, frame in enumerate(film.decode(video=0)):
            picture = frame.to_ndarray(format="rgb24")
            left, right = picture[:300, 237:537], picture[:300, 543:843]
            assert (number_in(left), number_in(right)) == (shown(2, 2 * n), shown(2, 2 * n, 1))
            line = np.abs(picture[350:600].astype(int) - CURSOR).sum(axis=2) < 120
            columns.append(int(np.argmax(line.mean(axis=0))))
    assert n == 14
    # The line moves by the same from frame to frame.
    steps = np.diff(columns)
    assert steps.min() > 0 and np.ptp(steps) <= 4 and columns[-1] - columns[0] > 900
    assert not list(tmp_path.glob("*.part-*"))
