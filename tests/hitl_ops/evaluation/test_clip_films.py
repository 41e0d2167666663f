"""A film shows every step of a clip, and where the hand is in it; what cannot be filmed leaves no half of a film."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hitl_ops.contracts.episode import variation_of, write_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation import clip_films
from hitl_ops.evaluation.clip_films import contact_sheet, film_clip, moments
from hitl_ops.evaluation.play_film import FilmConfig
from hitl_ops.experts.oracle import Oracle
from hitl_ops.records.clips import CLIPS_FILE, STEPS_FILE, content_hash, open_clip_set, write_clip_set
from hitl_ops.records.film_writing import write_film
from hitl_ops.records.pictures import decode_jpeg
from hitl_ops.records.station_hdf5 import read_pictures
from hitl_ops.records.traces import trace_path, write_trace
from hitl_ops.rollouts.episode_sets import episode_file, generate_episode
from hitl_ops.rollouts.play import play_episode
from hitl_ops.samples.planner_clips import PlannerClipConfig, make_planner_clips
from hitl_ops.samples.station_clips import StationClipConfig, make_station_clips
from hitl_ops.worlds.reach.pictures import ReachPictures
from tests.support.clip_sets import make_clip_set, make_clips
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode
from tests.support.station_recordings import record, robot


def frames(video: Path) -> list[npt.NDArray[np.uint8]]:
    import av

    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[0])]


@pytest.fixture
def drawn_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Films of small pictures: what is told of them is the same, sooner."""
    monkeypatch.setattr(clip_films, "REACH_SIZE", 96)


@pytest.mark.usefixtures("drawn_small")
def test_a_film_shows_every_step_at_the_clips_own_speed(tmp_path: Path) -> None:
    import av
    from PIL import Image

    make_clip_set(tmp_path / "clips", clips=2, pairs=1, steps=12)
    video, poster = tmp_path / "films" / "film.mp4", tmp_path / "posters" / "film.jpg"
    film_clip(tmp_path / "clips", "clip-0001", video, poster, tmp_path)
    assert sorted(path.name for path in video.parent.iterdir()) == ["film.mp4"]
    assert sorted(path.name for path in poster.parent.iterdir()) == ["film.jpg"]
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.canonical_name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.width, stream.height) == (20, 192, 96)
    content = video.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a player must know the film before it has all of it"
    shown = frames(video)
    assert len(shown) == 12
    # The last clip of such a set goes to its target: the arm moves on from step to step.
    assert all(np.abs(one.astype(int) - other).max() > 60 for one, other in itertools.pairwise(shown))
    with Image.open(poster) as sheet:
        assert sheet.width == 960
        # Two rows of three, twice as wide as they are high.
        assert sheet.height == pytest.approx(960 / 3 + 2 * 16, abs=8)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.usefixtures("drawn_small")
def test_a_clip_of_few_steps_has_a_film_and_a_sheet(tmp_path: Path, steps: int) -> None:
    make_clip_set(tmp_path / "clips", clips=2, pairs=1, steps=steps)
    film_clip(tmp_path / "clips", "clip-0000", tmp_path / "film.mp4", tmp_path / "film.jpg", tmp_path)
    assert len(frames(tmp_path / "film.mp4")) == steps
    assert (tmp_path / "film.jpg").stat().st_size > 1000


def test_what_is_malformed_is_named_in_a_line_and_leaves_nothing(tmp_path: Path) -> None:
    clips = make_clips(3, steps=4)
    narrow = clips[2].observations[:, :9].copy()
    facts = clips[2].facts.model_copy(update={"content_hash": content_hash(narrow, clips[2].actions)})
    clips[2] = dataclasses.replace(clips[2], facts=facts, observations=narrow)
    write_clip_set(tmp_path / "clips", clips, [])
    films = tmp_path / "films"

    def fails(clip: str, said: str, folder: str = "clips") -> None:
        with pytest.raises(UserError, match=said) as told:
            film_clip(tmp_path / folder, clip, films / "film.mp4", films / "film.jpg", tmp_path)
        assert "\n" not in str(told.value)
        assert not films.exists() or not list(films.iterdir())

    fails("clip-0002", "clip 'clip-0002' is malformed: its observations have 9 numbers")
    fails("clip-0009", "no clip 'clip-0009'")
    fails("clip-0000", "there are no clips in", folder="elsewhere")
    steps = tmp_path / "clips" / STEPS_FILE
    steps.write_bytes(steps.read_bytes()[:-8])
    fails("clip-0000", "cannot be read")


@pytest.mark.usefixtures("drawn_small")
def test_a_film_that_breaks_off_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip_set(tmp_path / "clips", clips=2, pairs=1, steps=5)
    video, poster = tmp_path / "film.mp4", tmp_path / "film.jpg"
    film_clip(tmp_path / "clips", "clip-0000", video, poster, tmp_path)
    before = video.read_bytes(), poster.read_bytes(), sorted(tmp_path.iterdir())
    draw, drawn = ReachPictures.draw, []

    def breaks(self: ReachPictures, *told: Any) -> Any:
        drawn.append(0)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw(self, *told)

    monkeypatch.setattr(ReachPictures, "draw", breaks)
    with pytest.raises(KeyboardInterrupt):
        film_clip(tmp_path / "clips", "clip-0001", video, poster, tmp_path)
    assert (video.read_bytes(), poster.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_a_film_has_pictures_of_one_size(tmp_path: Path) -> None:
    small, large = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)
    with pytest.raises(UserError, match="clip 'a', frame 1 is 64×32 pixels"):
        write_film([small, large], 10, tmp_path / "film.mp4", "clip 'a'")
    with pytest.raises(UserError, match="clip 'a' has no picture"):
        write_film([], 10, tmp_path / "film.mp4", "clip 'a'")
    assert not list(tmp_path.iterdir())
    assert write_film([small] * 3, 0.5, tmp_path / "film.mp4", "clip 'a'") == 3


def test_a_sheet_shows_the_first_and_the_last_moment() -> None:
    assert moments(1) == [0]
    assert moments(4) == [0, 1, 2, 3]
    assert moments(101) == [0, 20, 40, 60, 80, 100]
    sheet = contact_sheet([(number / 10, np.full((90, 160, 3), 40 * number, np.uint8)) for number in range(6)])
    tile = sheet.shape[1] // 3
    shades = [int(sheet[row, column, 0]) for row in (40, 240) for column in (20, 20 + tile, 20 + 2 * tile)]
    assert shades == [0, 40, 80, 120, 160, 200]


CAMERAS = robot("cam_high", "cam_wrist", size=(30, 46))


@pytest.fixture
def stations(tmp_path: Path) -> Store:
    """Two recordings at 50 Hz with two cameras, cut into clips of a second."""
    store = Store.at(tmp_path / "store")
    for number in range(2):
        record(EpochFolder(store.station_incoming, "lid", 0).episode(number), 130, spec=CAMERAS, seed=number)
    return store


def cut(store: Store, **config: Any) -> Path:
    folder = store.root / f"clips-{len(list(store.root.iterdir()))}"
    make_station_clips(store, StationClipConfig(seconds=1, **config), folder)
    return folder


def test_a_stations_clip_is_a_cameras_pictures(stations: Store, tmp_path: Path) -> None:
    shown = {}
    for camera in ("", "cam_wrist"):
        folder = cut(stations, camera=camera)
        clip = open_clip_set(folder).facts.clips[-1]
        film_clip(folder, clip.clip_id, tmp_path / "film.mp4", tmp_path / "film.jpg", stations.root)
        shown[camera] = frames(tmp_path / "film.mp4")
    assert [len(seen) for seen in shown.values()] == [25, 25], "half of 50 frames a second are enough"
    assert shown[""][0].shape == (30, 46, 3)
    # The bright square stands where the recording's own camera saw it.
    for number in (0, 12, 24):
        at = clip.start + 2 * number
        picture = decode_jpeg(next(read_pictures(stations.root / clip.record, "cam_high", at, at + 1)), "recording")
        assert np.abs(shown[""][number].astype(int) - picture).mean() < 8
    assert _seconds(tmp_path / "film.mp4") == pytest.approx(1.0)


def _seconds(video: Path) -> float:
    import av

    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        return float(stream.frames / (stream.average_rate or 1))


def test_a_recording_that_is_gone_or_changed_is_named(stations: Store, tmp_path: Path) -> None:
    folder = cut(stations)
    clip = open_clip_set(folder).facts.clips[0]
    recording = stations.root / clip.record
    files = tmp_path / "film.mp4", tmp_path / "film.jpg"
    recording.rename(tmp_path / "kept.hdf5")
    with pytest.raises(UserError, match=rf"episode '{recording}' does not exist"):
        film_clip(folder, clip.clip_id, *files, stations.root)
    record(recording, 130, spec=CAMERAS, seed=5)
    with pytest.raises(UserError, match=f"has changed since clip '{clip.clip_id}' was cut from it"):
        film_clip(folder, clip.clip_id, *files, stations.root)
    assert not any(file.exists() for file in files)
    # Nothing outside the store is read, whatever a set says.
    said = (folder / CLIPS_FILE).read_text()
    (folder / CLIPS_FILE).write_text(said.replace(clip.record, f"../{clip.record}"))
    with pytest.raises(UserError, match=r"names '../station/.*' as what it was cut from"):
        film_clip(folder, clip.clip_id, *files, stations.root)


@pytest.fixture
def quick_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        clip_films, "PLAY_FILM", FilmConfig(frames_per_second=5, speed=20, width=360, height=180, most_frames=4)
    )


@pytest.mark.usefixtures("quick_plays")
def test_a_persons_play_is_filmed_from_its_log(tmp_path: Path) -> None:
    collected = Collected(Store.at(tmp_path))
    for person, place in (("ann", "kitchen_sink_1"), ("bob", "kitchen_fridge_1")):
        collected.play(small_episode(), person, through=_goes_to(place), idle_ticks=1)
    make_planner_clips(collected.store, PlannerClipConfig(), tmp_path / "clips")
    clip = open_clip_set(tmp_path / "clips").facts.clips[0]
    film_clip(tmp_path / "clips", clip.clip_id, tmp_path / "film.mp4", tmp_path / "film.jpg", tmp_path)
    seen = frames(tmp_path / "film.mp4")
    assert len(seen) >= 2 and seen[0].shape == (180, 360, 3)
    assert np.abs(seen[0].astype(int) - seen[-1]).max() > 100
    trace = tmp_path / clip.record
    trace.write_bytes(trace.read_bytes()[:-30])
    (tmp_path / "film.mp4").unlink()
    with pytest.raises(UserError, match=r"trace '.*', line"):
        film_clip(tmp_path / "clips", clip.clip_id, tmp_path / "film.mp4", tmp_path / "film.jpg", tmp_path)
    assert not (tmp_path / "film.mp4").exists()


def _goes_to(place: str) -> Callable[[Player], None]:
    def go(player: Player) -> None:
        player.act(f"Navigate[{place}]")
        player.run(60)

    return go


@pytest.mark.usefixtures("quick_plays")
def test_a_policys_play_is_filmed_in_its_episodes_home(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    episode = generate_episode("train", 0)
    write_episodes(episode_file(store.episodes, "train"), [episode])
    varied = variation_of(episode, 1)
    for source, task, oracle in (
        ("teacher", varied, Oracle("partial")), ("student", varied, Oracle("full")), ("other", episode, Oracle("full")),
    ):  # fmt: skip
        played = play_episode(task, {0: oracle, 1: oracle})
        path = trace_path(store.iteration("planner", 0).rollouts / source / "traces", task.episode_id)
        write_trace(path, played.header.model_copy(update={"policies": {0: source}}), played.decisions, played.result)
    make_planner_clips(store, PlannerClipConfig(), tmp_path / "clips")
    clips = open_clip_set(tmp_path / "clips").facts.clips
    assert {clip.episode_id for clip in clips} == {varied.episode_id}
    for clip in clips:
        film_clip(tmp_path / "clips", clip.clip_id, tmp_path / "film.mp4", tmp_path / "film.jpg", tmp_path)
        assert len(frames(tmp_path / "film.mp4")) >= 2
    write_episodes(episode_file(store.episodes, "train"), [])
    with pytest.raises(UserError, match=f"episode '{varied.episode_id}' is not in"):
        film_clip(tmp_path / "clips", clip.clip_id, tmp_path / "film.mp4", tmp_path / "film.jpg", tmp_path)
