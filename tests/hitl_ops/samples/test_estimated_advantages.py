"""Estimates are those of the rule, frame by frame; a killed run goes on; what is wrong is named, the data stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.advantage_estimator import EstimatorFacts, build_estimator, load_estimator, save_estimator
from hitl_ops.models.estimator_config import EstimatorConfig
from hitl_ops.records.lerobot_layout import STATE, arrow_column
from hitl_ops.records.lerobot_overlay import open_overlay, write_overlay
from hitl_ops.records.lerobot_reading import LeRobotFolder, check_dataset, open_lerobot
from hitl_ops.samples.estimated_advantages import EstimationConfig, estimate_advantages
from tests.support.filmed_sets import CAMERAS, FPS, JOINTS, as_version_2_1, contents, make_filmed_set

LENGTHS = (37, 1, 90, 64)
NEW = ["relative_advantage", "absolute_value", "absolute_advantage"]
CONFIG = EstimationConfig(batch_size=24, decode_threads=2, device="cpu")


def make_estimator(folder: Path, **changes: Any) -> Path:
    config = EstimatorConfig.model_validate({"image_size": 16, "features": 16, "hidden": 16, **changes})
    facts = EstimatorFacts(
        name="tried", config=config, cameras=CAMERAS, joints=JOINTS if config.use_state else 0,
        state_mean=(0.1,) * JOINTS if config.use_state else (), state_std=(0.5,) * JOINTS if config.use_state else (),
        task="lift the lid", fps=FPS, steps=300,
    )  # fmt: skip
    model = build_estimator(facts, seed=4)
    with torch.no_grad():  # says more than next to nothing, at both ends of the range
        model.value_head[-2].weight *= 40
    folder.mkdir(parents=True)
    save_estimator(model, folder)
    return folder


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets of both versions and an estimator of each variant."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("given")
    apart = make_filmed_set(root / "apart", LENGTHS, together=False)
    as_version_2_1(apart, root / "old")
    make_filmed_set(root / "new", LENGTHS)
    for variant in ("KAI0", "PI06"):
        make_estimator(root / variant, variant=variant)
    make_estimator(root / "unfeeling", use_state=False)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture
def old(given: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(given["old"], tmp_path / "old"))


def reference(folder: LeRobotFolder, estimator: Path, delta: int) -> dict[str, npt.NDArray[np.float64]]:
    """The rule read from the reference, one frame and one pair after another, nothing used twice."""
    import av

    model = load_estimator(estimator)
    variant = model.facts.config.variant
    found: dict[str, list[float]] = {name: [] for name in NEW}
    seen: dict[int, list[npt.NDArray[np.uint8]]] = {}
    state = np.empty(0, np.float32)

    def say(then: int, now: int) -> float:
        pictures = [torch.from_numpy(np.stack(seen[n])[None]).permute(0, 1, 4, 2, 3) for n in (then, now)]
        felt = [torch.from_numpy(state[n : n + 1]) for n in (then, now)]
        told = [model.encode(one, other) for one, other in zip(pictures, felt, strict=True)]
        return float(model.relative(*told)) if variant == "KAI0" else float(model.value(told[1]))

    for entry, table in folder.episodes():
        state = np.array(table.column(STATE).to_pylist(), np.float32)
        seen = {n: [] for n in range(entry.length)}
        for key in CAMERAS:
            path, start, _ = entry.videos[key]
            with av.open(str(path)) as video:
                for frame in video.decode(video=0):
                    row = round((frame.time - start) * FPS)
                    if 0 <= row < entry.length:
                        seen[row].append(frame.reformat(16, 16, "rgb24").to_ndarray())

        last = entry.length - 1
        value = [0.0 if variant == "KAI0" and n == 0 else say(0, n) for n in range(entry.length)]
        for n in range(entry.length):
            ahead = min(n + delta, last)
            scale = delta / (ahead - n) if ahead > n else 0.0
            found["absolute_value"].append(value[n])
            found["absolute_advantage"].append(float(np.clip((value[ahead] - value[n]) * scale, -1, 1)))
            if variant == "KAI0":
                found["relative_advantage"].append(float(np.clip(say(n, ahead) * scale, -1, 1)))
    return {name: np.array(values) for name, values in found.items() if values}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["KAI0", "PI06"])
def test_every_frame_gets_the_numbers_of_the_rule(given: dict[str, Path], tmp_path: Path, variant: str) -> None:
    folder = open_lerobot(given["new"])
    summary = estimate_advantages(given[variant], given["new"], CONFIG, tmp_path / "out")
    wanted = reference(folder, given[variant], 50)
    overlay = open_overlay(tmp_path / "out", folder)
    assert list(overlay.facts.columns) == list(wanted) == summary.columns == NEW[variant == "PI06" :]
    for name, values in wanted.items():
        column = overlay.column(name)
        assert column.dtype == np.float32
        np.testing.assert_allclose(column, values, atol=1e-5, err_msg=name)
        assert np.ptp(column) > 0.2
    assert (summary.episodes, summary.frames, summary.estimated_now) == (4, sum(LENGTHS), 4)
    one_frame = overlay.column("absolute_advantage")[LENGTHS[0]]
    assert one_frame == 0 and (variant == "PI06" or overlay.column("absolute_value")[LENGTHS[0]] == 0)


def test_files_of_version_2_1_stand_beside_the_originals(given: dict[str, Path], old: Path) -> None:
    before = contents(old)
    told = []
    summary = estimate_advantages(given["KAI0"], old, CONFIG, progress=lambda *said: told.append(said[:2]))
    assert Path(summary.place) == old / "data_KAI0_300"
    assert told[0] == (0, 192) and told[-1] == (192, 192) and told == sorted(told)
    after = contents(old)
    assert {name: after[name] for name in before} == before
    files = sorted(name for name in after if name not in before)
    assert files == [
        *(f"data_KAI0_300/chunk-000/episode_00000{n}.parquet" for n in range(4)),
        "data_KAI0_300/estimation.json",
    ]
    for n, length in enumerate(LENGTHS):
        original = pq.read_table(old / f"data/chunk-000/episode_{n:06d}.parquet")
        written = pq.read_table(old / f"data_KAI0_300/chunk-000/episode_{n:06d}.parquet")
        assert written.column_names == [*original.column_names, *NEW]
        assert written.select(original.column_names).equals(original)
        assert written.schema.field(STATE).type == original.schema.field(STATE).type
        told_of = json.loads(written.schema.metadata[b"huggingface"])["info"]["features"]
        assert list(told_of) == written.column_names
        assert written.num_rows == length and not any(written.column(name).null_count for name in NEW)
    # The same frames through the other layout: the same numbers.
    columns = open_overlay(
        estimate_advantages(given["KAI0"], given["new"], CONFIG, old.parent / "out").place, open_lerobot(given["new"])
    )
    whole = np.concatenate([pq.read_table(old / name).column("relative_advantage") for name in files[:-1]])
    np.testing.assert_allclose(whole, columns.column("relative_advantage"), atol=2e-2)
    # Said again, nothing is done; another estimator's do not take the place of these.
    assert estimate_advantages(given["KAI0"], old, CONFIG).estimated_now == 0
    assert contents(old) == after
    with pytest.raises(UserError, match="holds something else than these estimates"):
        estimate_advantages(given["KAI0"], old, CONFIG.replace(delta=7))
    check_dataset(old)


def test_other_names_and_places(given: dict[str, Path], old: Path, tmp_path: Path) -> None:
    named = CONFIG.replace(name="tuned", delta=5)
    assert Path(estimate_advantages(given["unfeeling"], old, named).place) == old / "data_tuned_300"
    new = shutil.copytree(given["new"], tmp_path / "set")
    before = contents(new)
    place = Path(estimate_advantages(given["KAI0"], new, CONFIG).place)
    assert place == tmp_path / "set_KAI0_300"
    assert contents(new) == before
    out = tmp_path / "over"
    assert Path(estimate_advantages(given["PI06"], old, CONFIG, out).place) == out
    assert set(open_overlay(out, open_lerobot(old)).facts.columns) == set(NEW[1:])
    with pytest.raises(UserError, match="belongs to the data set"):
        estimate_advantages(given["KAI0"], old, CONFIG, old)
    assert not list(tmp_path.glob(".*unfinished*"))


class Stopped(Exception):
    pass


@pytest.mark.parametrize("layout", ["old", "new"])
def test_a_stopped_run_goes_on_to_the_same_numbers(given: dict[str, Path], tmp_path: Path, layout: str) -> None:
    unbroken, broken = (Path(shutil.copytree(given[layout], tmp_path / name / "set")) for name in ("a", "b"))
    place = Path(estimate_advantages(given["KAI0"], unbroken, CONFIG).place)
    before = contents(broken)

    def stop_after(frames: int) -> Any:
        def tell(done: int, _total: int, _note: str = "") -> None:
            if done >= frames:
                raise Stopped

        return tell

    for frames in (1, 38, 128):
        with pytest.raises(Stopped):
            estimate_advantages(given["KAI0"], broken, CONFIG, progress=stop_after(frames))
        assert contents(broken) == before, "the data set was touched before everything was there"
    with pytest.raises(UserError, match="unfinished estimates made of something else"):
        estimate_advantages(given["unfeeling"], broken, CONFIG)
    summary = estimate_advantages(given["KAI0"], broken, CONFIG)
    assert summary.estimated_now == 1
    mine, theirs = contents(place), contents(Path(summary.place))
    assert set(mine) == set(theirs)
    for name in mine:
        if name.endswith(".parquet"):
            assert mine[name] == theirs[name], name
    assert not list((tmp_path / "b").glob(".*unfinished*"))


@pytest.mark.slow
@pytest.mark.integration
def test_a_killed_run_goes_on(given: dict[str, Path], old: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, torch; from pathlib import Path; torch.set_num_threads(1)\n"
        "from hitl_ops.samples.estimated_advantages import *\n"
        "def tell(done, total, note=''):\n"
        "    if done > 100: os.kill(os.getpid(), signal.SIGKILL)\n"
        "config = EstimationConfig(batch_size=24, decode_threads=2, device='cpu')\n"
        "estimate_advantages(Path(sys.argv[1]), Path(sys.argv[2]), config, progress=tell)"
    )
    before = contents(old)
    killed = subprocess.run([sys.executable, "-c", script, given["KAI0"], old], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert contents(old) == before
    assert estimate_advantages(given["KAI0"], old, CONFIG).estimated_now == 1
    whole = Path(shutil.copytree(given["old"], tmp_path / "whole"))
    estimate_advantages(given["KAI0"], whole, CONFIG)
    mine, theirs = contents(whole / "data_KAI0_300"), contents(old / "data_KAI0_300")
    assert mine == theirs


def test_the_numbers_of_cores_do_not_change_those_of_frames(given: dict[str, Path], tmp_path: Path) -> None:
    told = {}
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            place = estimate_advantages(given["KAI0"], given["new"], CONFIG, tmp_path / str(threads)).place
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
        overlay = open_overlay(place, open_lerobot(given["new"]))
        told[threads] = np.stack([overlay.column(name) for name in NEW])
    assert np.array_equal(told[1], told[3])


def test_memory_is_that_of_a_few_chunks(given: dict[str, Path], tmp_path: Path) -> None:
    make_filmed_set(tmp_path / "long", (400,))
    config = CONFIG.replace(prefetch=1)
    summary = estimate_advantages(given["KAI0"], tmp_path / "long", config)
    assert 0 < summary.most_held <= 2 * 2 * 32  # two cameras; a chunk that waits, one that is looked at
    assert summary.frames_per_second and summary.decode_s > 0


def failing(given: dict[str, Path], dataset: Path, estimator: str = "KAI0") -> str:
    before = contents(dataset)
    with pytest.raises(UserError) as caught:
        estimate_advantages(given[estimator], dataset, CONFIG)
    assert contents(dataset) == before
    return str(caught.value)


def test_a_state_without_a_number_is_named(given: dict[str, Path], old: Path) -> None:
    file = old / "data/chunk-000/episode_000003.parquet"
    table = pq.read_table(file)
    state = np.array(table.column(STATE).to_pylist(), np.float32)
    state[17, 1] = np.nan
    flat = table.schema.field(STATE).type
    pq.write_table(table.set_column(table.column_names.index(STATE), STATE, arrow_column(state, flat)), file)
    assert failing(given, old).startswith(f"'{file.resolve()}', episode 3, frame 17 has [")
    # What was finished before it is kept (the third shares its last batch with it); without the state nothing is wrong.
    assert len(list((old.parent / ".old.data_KAI0_300.unfinished").rglob("*.parquet"))) == 2
    estimate_advantages(given["unfeeling"], old, CONFIG.replace(name="other"))


def test_missing_columns_files_and_cameras_are_named(given: dict[str, Path], old: Path) -> None:
    file = old / "data/chunk-000/episode_000001.parquet"
    whole = file.read_bytes()
    pq.write_table(pq.read_table(file).drop_columns([STATE]), file)
    assert f"{file}', episode 1, frame 0 has no column '{STATE}'" in failing(given, old)
    pq.write_table(pq.read_table(file).drop_columns(["timestamp"]), file)
    assert "has no column 'timestamp'" in failing(given, old)
    file.write_bytes(whole[: len(whole) // 2])
    assert f"{file}' with the frames of episode 1 is corrupt" in failing(given, old)
    file.write_bytes(whole)
    video = old / f"videos/chunk-000/{CAMERAS[0]}/episode_000000.mp4"
    film = video.read_bytes()
    video.write_bytes(film[:500])
    assert f"video '{video}' cannot be decoded at frame 0 of episode 0" in failing(given, old)
    video.unlink()
    assert f"video '{video}' of episode 0 is missing" in failing(given, old)
    assert not list(old.parent.glob(".*unfinished*")), "nothing was finished, nothing is left"
    info = json.loads((old / "meta/info.json").read_text())
    del info["features"][CAMERAS[1]]
    (old / "meta/info.json").write_text(json.dumps(info))
    assert failing(given, old).startswith(f"data set '{old}' has no camera '{CAMERAS[1]}'")
    assert "holds no estimator" in failing(given | {"KAI0": old}, old)


def replace_video(dataset: Path, episode: int) -> None:
    """Put the film of the other camera, which has the same length, in place of the one's."""
    one, other = (dataset / f"videos/chunk-000/{key}/episode_{episode:06d}.mp4" for key in CAMERAS)
    film = other.read_bytes()
    assert film != one.read_bytes()
    one.write_bytes(film)


def change_state(dataset: Path, episode: int) -> None:
    file = dataset / f"data/chunk-000/episode_{episode:06d}.parquet"
    table = pq.read_table(file)
    number, state = table.column_names.index(STATE), np.array(table.column(STATE).to_pylist(), np.float32)
    state[-1, 0] += 0.5
    pq.write_table(table.set_column(number, STATE, arrow_column(state, table.schema.field(STATE).type)), file)


@pytest.mark.parametrize("overlay", [False, True])
def test_estimates_of_other_pictures_are_not_taken_for_these(
    given: dict[str, Path], old: Path, tmp_path: Path, overlay: bool
) -> None:
    out = tmp_path / "over" if overlay else None
    place = Path(estimate_advantages(given["KAI0"], old, CONFIG, out).place)
    standing = contents(place)
    replace_video(old, 2)
    with pytest.raises(UserError, match=r"holds something else than these estimates \(other videos\)") as caught:
        estimate_advantages(given["KAI0"], old, CONFIG, out)
    assert "\n" not in str(caught.value) and contents(place) == standing
    assert estimate_advantages(given["KAI0"], old, CONFIG, out, replace=True).estimated_now == 4
    replaced = contents(place)
    assert set(replaced) == set(standing) and replaced != standing
    assert estimate_advantages(given["KAI0"], old, CONFIG, out, replace=True).estimated_now == 0
    change_state(old, 0)
    with pytest.raises(UserError, match=r"\(other states\)"):
        estimate_advantages(given["KAI0"], old, CONFIG, out)
    # Whoever looks at no states does not mind.
    unfeeling = CONFIG.replace(name="unfeeling")
    estimate_advantages(given["unfeeling"], old, unfeeling)
    change_state(old, 0)
    assert estimate_advantages(given["unfeeling"], old, unfeeling).estimated_now == 0
    assert not [path for path in (*tmp_path.iterdir(), *old.iterdir()) if path.name.startswith(".")]


def test_unfinished_ones_are_replaced_but_nothing_else_is(given: dict[str, Path], old: Path, tmp_path: Path) -> None:
    def stop(done: int, _total: int, _note: str = "") -> None:
        if done >= LENGTHS[0]:
            raise Stopped

    with pytest.raises(Stopped):
        estimate_advantages(given["KAI0"], old, CONFIG, progress=stop)
    replace_video(old, 3)
    with pytest.raises(UserError, match=r"unfinished estimates made of something else \(other videos\)"):
        estimate_advantages(given["KAI0"], old, CONFIG)
    assert estimate_advantages(given["KAI0"], old, CONFIG, replace=True).estimated_now == 4
    with pytest.raises(Stopped):
        estimate_advantages(given["KAI0"], old, CONFIG.replace(name="again"), progress=stop)
    kept = estimate_advantages(given["KAI0"], old, CONFIG.replace(name="again"), replace=True)
    assert kept.estimated_now == 3, "unfinished ones of the same are gone on with"

    # An overlay of a data set that stood here before is replaced; one that holds no estimates is not.
    out = tmp_path / "over"
    estimate_advantages(given["KAI0"], given["new"], CONFIG, out)
    assert estimate_advantages(given["KAI0"], old, CONFIG, out, replace=True).estimated_now == 4
    marks = tmp_path / "marks"
    write_overlay(marks, open_lerobot(old), {"mark": np.zeros(sum(LENGTHS), np.float32)}, made={"by": "hand"})
    before = contents(marks)
    with pytest.raises(UserError, match="holds something else than these estimates"):
        estimate_advantages(given["KAI0"], old, CONFIG, marks, replace=True)
    assert contents(marks) == before


def test_two_at_once_do_not_mix(given: dict[str, Path], old: Path) -> None:
    said = []

    def second(done: int, _total: int, _note: str = "") -> None:
        if done == LENGTHS[0]:
            with pytest.raises(UserError, match="is being written by another process"):
                estimate_advantages(given["KAI0"], old, CONFIG)
            said.append(done)

    estimate_advantages(given["KAI0"], old, CONFIG, progress=second)
    assert said
