"""Videos are encoded for real and decoded again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.facts import AgentFacts, Facts
from hitl_ops.worlds.household.layout import generate_home
from hitl_ops.worlds.household.renderer import make_renderer
from hitl_ops.worlds.household.renderer.captions import Answered, Captions, caption_strip
from hitl_ops.worlds.household.renderer.video import EpisodeVideo
from hitl_ops.worlds.household.tools import SUCCESS

SAID = Captions("Bring the mug to the desk.", ("Navigate[mug_1]", "Wait[]"), 0.25, "step 120")


def _plain(color: tuple[int, int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.full((size[1], size[0], 3), color, dtype=np.uint8)


def _decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def test_every_frame_added_is_in_the_file_and_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "videos" / "best.mp4"
    with EpisodeVideo(path, fps=10, size=(640, 240)) as video:
        for number in range(23):
            shade = 10 * number
            views = [_plain((shade, 0, 0), video.view_size), _plain((0, shade, 0), video.view_size)]
            video.add(views, _plain((0, 0, 200), video.plan_size), SAID)
            assert not path.exists()
        view_width, pane = video.view_size[0], 88
        plan_middle = 640 - video.plan_size[0] // 2
    frames = _decoded(path)
    assert len(frames) == 23 and frames[0].shape == (240, 640, 3)
    for number in (0, 11, 22):
        left, right = frames[number][pane, view_width // 2], frames[number][pane, view_width * 3 // 2]
        np.testing.assert_allclose(left, (10 * number, 0, 0), atol=16)
        np.testing.assert_allclose(right, (0, 10 * number, 0), atol=16)
        np.testing.assert_allclose(frames[number][pane, plan_middle], (0, 0, 200), atol=16)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 10
    assert [file.name for file in path.parent.iterdir()] == ["best.mp4"]


def test_a_moment_of_a_home_becomes_a_frame(tmp_path: Path) -> None:
    home = generate_home("train", 0)
    facts = Facts([AgentFacts(*home.spawns[0]), AgentFacts(*home.spawns[1])], {}, {}, {}, {}, {})
    renderer = make_renderer(home, OBJECT_SHAPES)
    with EpisodeVideo(tmp_path / "episode.mp4", size=(640, 240)) as video:
        for turn in range(6):
            facts.agents[0].yaw = turn
            video.add_moment(renderer, home, OBJECT_SHAPES, facts, SAID)
    renderer.close()
    frames = _decoded(tmp_path / "episode.mp4")
    assert len(frames) == 6
    width, height = video.view_size
    change = np.abs(frames[0].astype(int) - frames[5])[:height]
    mine, others = change[:, :width], change[:, width + 20 : 2 * width]
    assert mine.mean() > 5 > others.mean()  # only the first agent turned


def test_the_strip_says_how_far_the_task_is_and_what_is_done() -> None:
    def green(progress: float) -> int:
        strip = np.asarray(caption_strip(Captions("Tidy up.", ("Wait[]",), progress), 600, 100)).astype(int)
        return int(((strip[..., 1] > 150) & (strip[..., 0] < 110) & (strip[..., 2] < 160)).sum())

    assert green(0.0) == 0
    assert green(1.0) == pytest.approx(2 * green(0.5), rel=0.1)
    one, other = (caption_strip(Captions("Tidy up.", (action,), 0.5), 600, 100) for action in ("Wait[]", "Done[]"))
    assert (np.asarray(one) != np.asarray(other)).any()
    long = Captions("word " * 200, ("Place[a, on, b, next_to, c] " * 9, "Wait[]"), 0.5)
    assert caption_strip(long, 600, 100).size == (600, 100)


def test_the_strip_tells_what_succeeded_from_what_did_not() -> None:
    def of_colour(response: str, red: int, green: int, blue: int) -> int:
        said = Captions("Tidy up.", ("–", "–"), 0.0, answered=(Answered("Pick[mug_1]", response), Answered("", "")))
        strip = np.asarray(caption_strip(said, 900, 130)).astype(int)
        return int((np.abs(strip - (red, green, blue)).sum(axis=-1) < 30).sum())

    failure = "Unexpected failure! - Failed to pick! Not close enough to the object."
    assert of_colour(SUCCESS, 76, 187, 120) > 0 == of_colour(SUCCESS, 245, 166, 66)
    assert of_colour(failure, 245, 166, 66) > 0 == of_colour(failure, 76, 187, 120)


def test_a_failing_writer_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"before")
    video = EpisodeVideo(tmp_path / "old.mp4", size=(320, 160))
    views = [_plain((9, 9, 9), video.view_size)] * 2

    def crash() -> None:
        with video:
            video.add(views, views[0], SAID)
            raise RuntimeError("the episode crashed")

    with pytest.raises(RuntimeError, match="the episode crashed"):
        crash()
    assert [file.name for file in tmp_path.iterdir()] == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_bytes() == b"before"
    with pytest.raises(ValueError, match="closed"):
        video.add(views, views[0], SAID)


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    script = f"""
import sys, time
import numpy as np
from hitl_ops.worlds.household.renderer.video import Captions, EpisodeVideo
video = EpisodeVideo({str(tmp_path / "killed.mp4")!r}, size=(320, 160))
picture = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
for _ in range(200):
    video.add([picture, picture], picture, Captions("Wait.", ("Wait[]",), 0.0))
print("writing", flush=True)
time.sleep(60)
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    left = list(tmp_path.iterdir())
    assert len(left) == 1 and left[0].name != "killed.mp4" and left[0].stat().st_size > 0
    assert sweep_temporaries(tmp_path) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": (641, 240)}, "641×240"), ({"size": (64, 64)}, "64×64"), ({"fps": 0}, "fps 0")],
)
def test_impossible_videos_are_refused_in_one_line(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EpisodeVideo(tmp_path / "v.mp4", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_video_without_frames_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frames"):
        EpisodeVideo(tmp_path / "v.mp4").close()
    assert not list(tmp_path.iterdir())
