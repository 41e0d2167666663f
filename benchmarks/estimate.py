"""Frames a second from videos to advantages, beside the same estimator fed by one thread.

Two references. The first works as upstream's evaluator does: all frames of an episode are decoded by one thread, then
batches of pairs go through the model, (n, n + delta) for the advantage and (0, n) for the value, both frames of each
pair encoded anew. The second decodes in the same manner and then encodes every frame once, as ours does. All three run
the same weights with the same pictures in batches of the same size, read the same data set and write the same overlay.
They run alternately; a figure is the median of the rounds. What they say must be equal.

Run ``python -m benchmarks.estimate`` for the rows as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from benchmarks.conversion.recordings import JOINTS, made_up_pictures
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.models.advantage_estimator import (
    AdvantageEstimator,
    EstimatorFacts,
    build_estimator,
    load_estimator,
    save_estimator,
)
from hitl_ops.models.estimator_config import (
    ABSOLUTE_ADVANTAGE,
    ABSOLUTE_VALUE,
    RELATIVE_ADVANTAGE,
    BackboneName,
    EstimatorConfig,
)
from hitl_ops.records.lerobot_dataset import EpisodeData, VideoPart, writing_dataset
from hitl_ops.records.lerobot_layout import (
    ACTION,
    IMAGES,
    STATE,
    DatasetInfo,
    camera,
    numpy_column,
    vector,
    with_automatic,
)
from hitl_ops.records.lerobot_overlay import open_overlay, write_overlay
from hitl_ops.records.lerobot_reading import EpisodeEntry, open_lerobot
from hitl_ops.records.video_encoding import VideoSettings, encode_video
from hitl_ops.samples.estimated_advantages import EstimationConfig, EstimationSummary, estimate_advantages

RATIO = 2.0
LARGEST_DIFFERENCE = 1e-4
FPS = 50
CAMERAS = tuple(IMAGES + name for name in ("top_head", "hand_left", "hand_right"))
Columns = dict[str, npt.NDArray[np.float32]]


class Settings(StrictConfig):
    """What is measured with."""

    rounds: int = Field(default=5, ge=1, description="Alternating runs; the medians count.")
    episodes: int = Field(default=4, ge=1, description="Episodes, each with three cameras.")
    frames: int = Field(default=150, ge=1, description="Frames of each.")
    height: int = Field(default=240, ge=16, description="Rows of a recorded picture.")
    width: int = Field(default=320, ge=16, description="Columns of a recorded picture.")
    image_size: int = Field(default=64, ge=16, description="Rows and columns that the estimator looks at.")
    backbone: BackboneName = Field(default="small", description="What the estimator sees with.")
    batch_size: int = Field(default=64, ge=1, description="Frames, or pairs, that go through the model at once.")
    delta: int = Field(default=50, ge=1, description="Frames an advantage looks ahead.")


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench estimate``.

    Raises:
        AssertionError: ours and a reference say different things.
    """
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="flywheel-estimate-") as place:
        root = Path(place)
        dataset = _made_up_set(root / "set", settings)
        estimator = _made_up_estimator(root / "estimator", settings)
        config = EstimationConfig(delta=settings.delta, batch_size=settings.batch_size)
        told: list[EstimationSummary] = []
        waited: list[float] = []
        contenders: dict[str, Callable[[Path], None]] = {
            "ours": lambda out: told.append(estimate_advantages(estimator, dataset, config, out)),
            "pairs": lambda out: waited.append(_one_thread(estimator, dataset, settings, out, _by_pairs)) or None,
            "reused": lambda out: waited.append(_one_thread(estimator, dataset, settings, out, _each_once)) or None,
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        shares: dict[str, list[float]] = {name: [] for name in ("decoding", "idle", "pairs", "reused")}
        frames, worst = settings.episodes * settings.frames, 0.0
        for number in range(-1, settings.rounds):  # once before it counts: libraries are loaded, files are in the cache
            for name, run in contenders.items():
                out = root / f"{name}-{number}"
                began, spent = time.perf_counter(), time.process_time()
                run(out)
                took, spent = time.perf_counter() - began, time.process_time() - spent
                if number >= 0:
                    rates[name].append(frames / took)
                    if name == "ours":
                        shares["decoding"].append(told[-1].decode_s / spent)
                        shares["idle"].append(told[-1].idle_share or 0.0)
                    else:
                        shares[name].append(waited[-1] / took)
                if name != "ours":
                    worst = max(worst, _difference(dataset, root / f"ours-{number}", out))
            print(f"round {number + 1} of {settings.rounds} done", file=sys.stderr, flush=True)
    assert worst <= LARGEST_DIFFERENCE, f"ours and the references differ by {worst}"
    speed = {name: statistics.median(one) for name, one in rates.items()}
    share = {name: statistics.median(one) for name, one in shares.items()}
    looked = f"3 cameras of {settings.height}×{settings.width}, {settings.backbone} at {settings.image_size}"
    idle = "GPU" if torch.cuda.is_available() else "model"
    once = "one thread decodes each episode first, every frame encoded once"
    pairs = "one thread decodes each episode first, pairs encoded anew, as upstream"
    return [
        _row(f"frames per second end to end, {looked}", "1/s", speed["ours"], speed["pairs"], pairs, RATIO),
        _row(f"frames per second end to end, {looked}", "1/s", speed["ours"], speed["reused"], once, None),
        _row("share of processor time spent on decoding", "", share["decoding"], None, None, None),
        _row(f"share of time in which the {idle} is idle", "", share["idle"], share["pairs"], pairs, None),
        _row(f"share of time in which the {idle} is idle", "", share["idle"], share["reused"], once, None),
        {
            "metric": "largest difference to what the references say",
            "unit": "",
            "ours": worst,
            "reference": None,
            "reference_name": None,
            "ratio": None,
            "target": LARGEST_DIFFERENCE,
            "holds": worst <= LARGEST_DIFFERENCE,
        },
    ]


def _row(
    metric: str, unit: str, ours: float, reference: float | None, name: str | None, target: float | None
) -> dict[str, Any]:
    ratio = None if not reference else ours / reference
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 1 if unit else 3),
        "reference": None if reference is None else round(reference, 1 if unit else 3),
        "reference_name": name,
        "ratio": None if ratio is None else round(ratio, 2),
        "target": target,
        "holds": None if target is None or ratio is None else ratio >= target,
    }


def _made_up_set(root: Path, settings: Settings) -> Path:
    films = root.parent / "films"
    features = {STATE: vector(JOINTS), ACTION: vector(JOINTS)}
    features |= {key: camera(settings.height, settings.width) for key in CAMERAS}
    with writing_dataset(root, DatasetInfo(FPS, with_automatic(features), "made_up")) as writer:
        for number in range(settings.episodes):
            videos = {}
            for key in CAMERAS:
                seed = len(CAMERAS) * number + CAMERAS.index(key)
                pictures = made_up_pictures((settings.height, settings.width), settings.frames, seed)
                film = films / key / f"{number}.mp4"
                stats = encode_video(pictures, settings.frames, film, FPS, VideoSettings(), "made up").stats
                videos[key] = VideoPart(film, 0.0, settings.frames / FPS, stats)
            phase = np.arange(settings.frames)[:, None] / 25 + np.arange(len(JOINTS)) + number
            moves = {STATE: np.sin(phase).astype(np.float32), ACTION: np.cos(phase).astype(np.float32)}
            writer.add(EpisodeData(moves, "lift the lid", videos))
    return root


def _made_up_estimator(folder: Path, settings: Settings) -> Path:
    config = EstimatorConfig(variant="KAI0", backbone=settings.backbone, image_size=settings.image_size)
    count = len(JOINTS)
    facts = EstimatorFacts(
        name="made up", config=config, cameras=CAMERAS, joints=count,
        state_mean=(0.0,) * count, state_std=(1.0,) * count, task="lift the lid", fps=FPS, steps=1,
    )  # fmt: skip
    folder.mkdir()
    save_estimator(build_estimator(facts, seed=0), folder)
    return folder


Said = Callable[[AdvantageEstimator, torch.Tensor, torch.Tensor, Settings], Columns]


def _one_thread(estimator: Path, dataset: Path, settings: Settings, out: Path, say: Said) -> float:
    """Estimate a data set, one episode after another; returns the seconds that decoding took."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_estimator(estimator, device)
    folder = open_lerobot(dataset)
    decoding = 0.0
    parts: list[Columns] = []
    for entry, table in folder.episodes():
        began = time.perf_counter()
        pictures = _decoded(entry, settings.image_size)
        decoding += time.perf_counter() - began
        state = torch.from_numpy(numpy_column(table.column(STATE)).astype(np.float32))
        with torch.inference_mode():
            parts.append(say(model, pictures, state, settings))
    write_overlay(out, folder, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return decoding


def _decoded(entry: EpisodeEntry, side: int) -> torch.Tensor:
    """All pictures of an episode, [T, cameras, 3, side, side] uint8, by one thread."""
    import av
    from av.video.reformatter import VideoReformatter

    views = []
    for key in CAMERAS:
        path, start, stop = entry.videos[key]
        with av.open(str(path)) as video:
            stream, shrink = video.streams.video[0], VideoReformatter()
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            video.seek(int(start / stream.time_base), stream=stream)
            frames = (one for one in video.decode(stream) if start - 1e-3 < one.time < stop - 1e-3)
            views.append(np.stack([shrink.reformat(one, side, side, "rgb24").to_ndarray() for one in frames]))
    return torch.from_numpy(np.stack(views, axis=1)).permute(0, 1, 4, 2, 3)


def _encoded(
    model: AdvantageEstimator, pictures: torch.Tensor, state: torch.Tensor, rows: npt.NDArray[np.int64]
) -> torch.Tensor:
    device = model.state_mean.device
    return model.encode(pictures[rows].to(device), state[rows].to(device))


def _by_pairs(model: AdvantageEstimator, pictures: torch.Tensor, state: torch.Tensor, settings: Settings) -> Columns:
    """Both frames of every pair go through the model, whether they have been there before or not."""
    count = len(pictures)
    rows = np.arange(count)
    ahead = np.minimum(rows + settings.delta, count - 1)
    said = {}
    for name, then, now in (("ahead", rows, ahead), ("value", np.zeros_like(rows), rows)):
        parts = []
        for first in range(0, count, settings.batch_size):
            batch = slice(first, first + settings.batch_size)
            pair = [_encoded(model, pictures, state, one[batch]) for one in (then, now)]
            parts.append(model.relative(*pair).double().cpu().numpy())
        said[name] = np.concatenate(parts)
    return _columns(said["ahead"], said["value"], ahead - rows, settings.delta)


def _each_once(model: AdvantageEstimator, pictures: torch.Tensor, state: torch.Tensor, settings: Settings) -> Columns:
    """Every frame goes through the model once; pairs are made of its features."""
    count = len(pictures)
    rows = np.arange(count)
    ahead = np.minimum(rows + settings.delta, count - 1)
    batches = [rows[first : first + settings.batch_size] for first in range(0, count, settings.batch_size)]
    features = torch.cat([_encoded(model, pictures, state, batch) for batch in batches])
    relative = model.relative(features, features[torch.from_numpy(ahead)]).double().cpu().numpy()
    value = model.relative(features[:1].expand_as(features), features).double().cpu().numpy()
    return _columns(relative, value, ahead - rows, settings.delta)


def _columns(
    relative: npt.NDArray[np.float64], value: npt.NDArray[np.float64], distance: npt.NDArray[np.int64], delta: int
) -> Columns:
    value[0] = 0.0
    scale = np.where(distance > 0, delta / np.maximum(distance, 1), 0.0)
    gained = (value[np.arange(len(value)) + distance] - value) * scale
    said = {
        RELATIVE_ADVANTAGE: np.clip(relative * scale, -1, 1),
        ABSOLUTE_VALUE: value,
        ABSOLUTE_ADVANTAGE: np.clip(gained, -1, 1),
    }
    return {name: values.astype(np.float32) for name, values in said.items()}


def _difference(dataset: Path, ours: Path, theirs: Path) -> float:
    """The largest difference of any number."""
    folder = open_lerobot(dataset)
    one, other = open_overlay(ours, folder), open_overlay(theirs, folder)
    assert list(one.facts.columns) == list(other.facts.columns)
    return max(float(np.abs(one.column(name) - other.column(name)).max()) for name in one.facts.columns)


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
