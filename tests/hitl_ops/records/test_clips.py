"""A clip set gives back what went into it, or says what is wrong with it; a kill leaves the old set or the new one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import ClipFacts, ClipPair
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.records.clips import (
    CLIPS_FILE,
    PAIRS_FILE,
    STEPS_FILE,
    Clip,
    content_hash,
    open_clip_set,
    write_clip_set,
)
from tests.support.clip_sets import make_clip_set, make_clips, make_pairs

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def made_of(name: str, observations: npt.NDArray[Any], actions: npt.NDArray[Any], **facts: Any) -> Clip:
    told = {
        "kind": "reach",
        "episode_id": "e",
        "start": 0,
        "steps": len(observations),
        "fps": 20.0,
        "task": "t",
        "policy_id": "",
        "content_hash": content_hash(observations, actions),
    }
    return Clip(ClipFacts.model_validate({"clip_id": name, **told, **facts}), observations, actions)


@st.composite
def clip_sets(draw: st.DrawFn) -> tuple[list[Clip], list[ClipPair]]:
    seen, done = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    clips = []
    for number in range(draw(st.integers(2, 5))):
        steps = draw(st.integers(1, 7))
        observations = draw(arrays.arrays(np.float32, (steps, seen), elements=FLOATS))
        actions = draw(arrays.arrays(np.float32, (steps, done), elements=FLOATS))
        clip = made_of(
            f"clip-{number}",
            observations,
            actions,
            start=draw(st.integers(0, 1000)),
            fps=draw(st.floats(0.01, 1000)),
            task=draw(st.text(max_size=30)),
            seed=draw(st.none() | st.integers(0, 2**40)),
        )
        rewards = draw(st.none() | arrays.arrays(np.float32, steps, elements=FLOATS))
        clips.append(dataclasses.replace(clip, true_rewards=rewards))
    names = st.permutations([clip.facts.clip_id for clip in clips])
    pairs = [
        ClipPair(pair_id=f"pair-{number}", left=left, right=right, chosen_by="random")
        for number, (left, right, *_) in enumerate(draw(st.lists(names, max_size=4)))
    ]
    return clips, pairs


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clip_sets())
def test_a_set_gives_back_what_went_into_it(tmp_path: Path, told: tuple[list[Clip], list[ClipPair]]) -> None:
    clips, pairs = told
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # what survives a power cut is not asked here
        write_clip_set(tmp_path / "set", clips, pairs, {"seed": 3})
    found = open_clip_set(tmp_path / "set")
    assert list(found.pairs) == pairs
    assert found.facts.made == {"seed": 3}
    assert [clip.facts for clip in found.all_clips()] == [clip.facts for clip in clips]
    for clip in clips:
        again = found.clip(clip.facts.clip_id)
        for one, other in (
            (clip.observations, again.observations),
            (clip.actions, again.actions),
            (clip.true_rewards, again.true_rewards),
        ):
            assert (one is None) == (other is None)
            assert one is None or other is None or (one.tobytes() == other.tobytes() and one.shape == other.shape)
    assert sorted(path.name for path in (tmp_path).iterdir()) == ["set"]


@settings(max_examples=15, deadline=None)
@given(
    arrays.arrays(np.float32, (4, 3), elements=FLOATS),
    arrays.arrays(np.float32, (4, 2), elements=FLOATS),
    st.integers(0, 19),
)
def test_another_number_is_another_hash(
    observations: npt.NDArray[np.float32], actions: npt.NDArray[np.float32], place: int
) -> None:
    before = content_hash(observations, actions)
    assert content_hash(observations.copy(order="F"), actions) == before
    changed = [observations.copy(), actions.copy()]
    which, at = (0, place) if place < 12 else (1, place - 12)
    value = changed[which].flat[at]
    changed[which].flat[at] = np.nextafter(value, np.float32(0 if value else 1))
    assert content_hash(*changed) != before
    assert content_hash(observations.reshape(6, 2), actions) != before


@pytest.mark.parametrize("part", ["observations", "actions"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_written(tmp_path: Path, part: str, value: float) -> None:
    clip = make_clips(2, steps=6)[1]
    numbers = {"observations": clip.observations.copy(), "actions": clip.actions.copy()}
    numbers[part][4, 2] = value
    with pytest.raises(UserError, match=rf"clip 'bad' is malformed: its {part} at step 4 are not finite"):
        write_clip_set(tmp_path / "set", [made_of("bad", **numbers)], [])
    assert not list(tmp_path.iterdir())


def wider(clip: Clip) -> Clip:
    return dataclasses.replace(clip, observations=clip.observations.astype(np.float64))


def shorter(clip: Clip) -> Clip:
    return dataclasses.replace(clip, actions=clip.actions[:-1])


def flat(clip: Clip) -> Clip:
    return dataclasses.replace(clip, observations=clip.observations.ravel())


def paid_too_often(clip: Clip) -> Clip:
    return dataclasses.replace(clip, true_rewards=np.zeros(99, np.float32))


def otherwise(clip: Clip) -> Clip:
    return dataclasses.replace(clip, actions=clip.actions + np.float32(0.5))


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (wider, "its observations are float64"),
        (shorter, r"its actions are float32 of shape \(5, 7\), and it has 6 steps"),
        (flat, r"its observations are float32 of shape \(120,\)"),
        (paid_too_often, r"its true rewards have shape \(99,\)"),
        (otherwise, "the numbers of clip 'clip-0001' are not the ones it was made with"),
    ],
)
def test_what_is_malformed_is_not_written(tmp_path: Path, spoilt: Callable[[Clip], Clip], said: str) -> None:
    clips = make_clips(2, steps=6)
    before = write_clip_set(tmp_path / "set", clips, [])
    with pytest.raises(UserError, match=said) as told:
        write_clip_set(tmp_path / "set", [clips[0], spoilt(clips[1])], [])
    assert "\n" not in str(told.value)
    assert open_clip_set(tmp_path / "set").facts == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_names_are_given_once_and_pairs_name_clips(tmp_path: Path) -> None:
    clips = make_clips(3, steps=4)
    pairs = make_pairs(clips, 2)
    with pytest.raises(UserError, match="clip 'clip-0001' is there twice"):
        write_clip_set(tmp_path / "set", [*clips, clips[1]], [])
    with pytest.raises(UserError, match="pair 'pair-0000' is there twice"):
        write_clip_set(tmp_path / "set", clips, [pairs[0], pairs[0]])
    gone = pairs[0].left
    with pytest.raises(UserError, match=f"pair 'pair-0000' names clip '{gone}', which is not in"):
        write_clip_set(tmp_path / "set", [clip for clip in clips if clip.facts.clip_id != gone], pairs[:1])
    assert not list(tmp_path.iterdir())


def rewritten(file: Path, change: Callable[[Any], Any]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def one_twice(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "clips": [*said["clips"], said["clips"][0]]}


def test_what_was_spoilt_on_disk_is_named(tmp_path: Path) -> None:
    def spoilt(name: str, change: Callable[[Any], Any]) -> Path:
        folder = make_clip_set(tmp_path / f"set-{len(list(tmp_path.iterdir()))}", clips=3, pairs=2, steps=5).root
        rewritten(folder / name, change)
        return folder

    with pytest.raises(UserError, match="a clip is there twice"):
        open_clip_set(spoilt(CLIPS_FILE, one_twice))
    with pytest.raises(UserError, match="names clip 'elsewhere', which is not in"):
        open_clip_set(spoilt(PAIRS_FILE, lambda said: [{**said[0], "left": "elsewhere"}]))
    with pytest.raises(UserError, match="cannot be read"):
        open_clip_set(spoilt(PAIRS_FILE, lambda said: [{**said[0], "left": said[0]["right"]}]))
    with pytest.raises(UserError, match="cannot be read"):
        open_clip_set(spoilt(CLIPS_FILE, lambda said: {"clips": [{**said["clips"][0], "steps": 0}]}))
    # A step more than there is; the file of numbers stays as it is.
    found = open_clip_set(
        spoilt(CLIPS_FILE, lambda said: {**said, "clips": [{**said["clips"][0], "steps": 6}, *said["clips"][1:]]})
    )
    with pytest.raises(UserError, match=r"clip 'clip-0000' is malformed: .* and it has 6 steps"):
        found.clip("clip-0000")
    assert found.clip("clip-0001").facts.steps == 5
    with pytest.raises(UserError, match="no clip 'clip-0007'"):
        found.clip("clip-0007")


@pytest.mark.parametrize("name", [CLIPS_FILE, PAIRS_FILE, STEPS_FILE])
def test_a_missing_or_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    folder = make_clip_set(tmp_path / "set", clips=3, pairs=2, steps=5).root
    content = (folder / name).read_bytes()
    for kept in (len(content) // 2, 5, 0):
        (folder / name).write_bytes(content[:kept])
        with pytest.raises(UserError, match="cannot be read") as told:
            open_clip_set(folder).all_clips()
        assert "\n" not in str(told.value)
    (folder / name).unlink()
    with pytest.raises(UserError, match=r"is missing|cannot be read"):
        open_clip_set(folder).all_clips()


def test_changed_numbers_are_known(tmp_path: Path) -> None:
    clips = make_clip_set(tmp_path / "set", clips=3, pairs=2, steps=5)
    file = clips.root / STEPS_FILE
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + length])
    for part in ("observations", "actions"):
        spoilt = bytearray(content)
        spoilt[8 + length + tensors[f"clip-0001/{part}"]["data_offsets"][0] + 5] ^= 1
        file.write_bytes(spoilt)
        assert clips.clip("clip-0000").facts.steps == 5
        with pytest.raises(UserError, match="numbers of clip 'clip-0001' are not the ones it was made with"):
            clips.all_clips()


WRITER = """
    import sys
    from pathlib import Path
    from tests.support.clip_sets import make_clips, make_pairs
    from hitl_ops.records.clips import write_clip_set

    sets = {}
    for size in (3, 5):
        clips = make_clips(size, steps=400, seed=size)
        sets[size] = clips, make_pairs(clips, size)
    turn = 0
    while True:
        clips, pairs = sets[(3, 5)[turn % 2]]
        write_clip_set(Path(sys.argv[1]), clips, pairs)
        turn += 1
        if turn == 2:
            print("going", flush=True)
"""


@pytest.mark.integration
def test_a_kill_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    seen = set()
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "set")], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == b"going\n"
            try:
                process.wait(timeout=float(chance.uniform(0, 0.05)))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
        sweep_temporaries(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["set"]
        found = open_clip_set(tmp_path / "set")
        assert len(found.all_clips()) == len(found.pairs)
        seen.add(len(found.clips))
    assert seen <= {3, 5}


@pytest.mark.parametrize("dies_at", [1, 2, 3, 4])
def test_what_breaks_off_anywhere_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    old = make_clip_set(tmp_path / "set", clips=3, pairs=2, steps=5)
    before = {path.name: path.read_bytes() for path in old.files()}
    clips = make_clips(5, steps=6)
    sync, synced = os.fsync, []

    def dies(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == dies_at:
            raise KeyboardInterrupt
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        write_clip_set(tmp_path / "set", clips, make_pairs(clips, 3))
    assert {path.name: path.read_bytes() for path in old.files()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
