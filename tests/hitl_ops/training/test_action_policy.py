"""Cloning chunks of actions: what was said of an episode is heard, padding is not, and a training can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.action_model import ActionModelConfig, build_action_model, load_action_model, robot_of
from hitl_ops.models.robot_policy import load_robot_policy
from hitl_ops.records.lerobot_layout import ACTION, STATE, Feature
from hitl_ops.records.station_episode import StationEpisodeWriter
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from hitl_ops.training.action_config import ActionTrainConfig
from hitl_ops.training.action_data import ChunkDataset, batches_of, read_robot_frames
from hitl_ops.training.action_policy import ActionTrainSummary, loss_of, train_action_policy
from hitl_ops.training.checkpoint import list_checkpoints
from hitl_ops.training.publish_robot_policy import publish_robot_policy
from tests.support.station_recordings import TASK, picture, record, robot

SMALL = {
    "dim_model": 16, "n_heads": 2, "dim_feedforward": 32, "n_encoder_layers": 1, "n_decoder_layers": 1,
    "use_vae": False, "dropout": 0.0,
}  # fmt: skip
CAMERA = {**SMALL, "vision_backbone": "resnet18"}


def config(**changes: Any) -> ActionTrainConfig:
    model = {"chunk": 8, "options": SMALL, **changes.pop("model", {})}
    fast = {"steps": 6, "batch_size": 8, "eval_every": 3, "save_interval": 2, "log_every": 1, "device": "cpu"}
    return ActionTrainConfig.model_validate({"model": model, **fast, **changes})


def trained(settings: ActionTrainConfig, data: Path, out: Path, **how: Any) -> ActionTrainSummary:
    torch.set_num_threads(1)
    return train_action_policy(settings, data, out, **how)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short episodes of a waving robot, half of them good."""
    folder = tmp_path_factory.mktemp("waving")
    for number in range(4):
        label = "good" if number % 2 else "bad"
        record(folder / "raw" / f"episode_{number}.hdf5", 20, spec=robot(environment=2), label=label, seed=number)
    build_station_dataset(folder / "raw", folder / "set", StationDatasetConfig())
    return folder / "set"


@pytest.fixture(scope="module")
def opposites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good ones move all joints one way, the bad ones, in the very same place, the other."""
    folder, spec = tmp_path_factory.mktemp("opposites"), robot(environment=1)
    chance = np.random.default_rng(0)
    for number in range(12):
        good = number % 2 == 0
        writer = StationEpisodeWriter(
            folder / "raw" / f"episode_{number}.hdf5", spec, TASK, "p", 0, sim=True, waits=True
        )
        for frame in range(30):
            place = chance.uniform(-1, 1, spec.dim).astype(np.float32)
            moved = np.full(spec.dim, 0.5 if good else -0.5, np.float32)
            writer.add(place, place, place, moved, {}, frame / 50, environment_state=place[:1])
        writer.finish("good" if good else "bad")
    build_station_dataset(folder / "raw", folder / "set", StationDatasetConfig())
    return folder / "set"


def policy_of(summary: ActionTrainSummary, data: Path, out: Path) -> Any:
    publish_robot_policy(summary, data, out, program="station", iteration=1, code_version="v", parent="act")
    return load_robot_policy(out)


def asked(policy: Any, prompt: str) -> float:
    """Where it moves to, told this."""
    around = np.zeros(len(policy.spec.environment_state_names), np.float32)
    observation = {"state": np.zeros(14, np.float32), "environment_state": around, "prompt": prompt}
    return float(policy.infer([observation])[0].mean())


@pytest.mark.slow
def test_what_was_said_of_an_episode_decides_what_is_done(opposites: Path, tmp_path: Path) -> None:
    told = trained(config(steps=120, learning_rate=1e-2, indicator_dropout=0.2), opposites, tmp_path / "told")
    policy = policy_of(told, opposites, tmp_path / "told")
    assert asked(policy, f"{TASK}, Advantage=True") > 0.4
    assert asked(policy, f"{TASK}, Advantage=False") < -0.4


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"indicator_dropout": 1.0}, {"model": {"advantage": "none"}}])
def test_whom_nobody_tells_cannot_know(opposites: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    untold = trained(config(steps=40, learning_rate=1e-2, **how), opposites, tmp_path)
    policy = policy_of(untold, opposites, tmp_path)
    good, bad = (asked(policy, f"{TASK}, Advantage={said}") for said in (True, False))
    assert good == bad == asked(policy, TASK)
    assert abs(good) < 0.45


def test_a_resumed_training_ends_as_one_that_was_not_stopped(dataset: Path, tmp_path: Path) -> None:
    whole = trained(config(), dataset, tmp_path / "whole")
    half = trained(config(), dataset, tmp_path / "torn", stop_after=3)
    assert not half.finished
    torn = trained(config(), dataset, tmp_path / "torn")
    assert (torn.resumed_step, torn.steps, torn.finished) == (3, 6, True)
    assert torn.validation_loss == whole.validation_loss
    weights = [load_file(tmp_path / name / "trained" / "model.safetensors") for name in ("whole", "torn")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert trained(config(), dataset, tmp_path / "torn") == torn  # there is nothing left to do


def test_checkpoints_of_every_period_stay(dataset: Path, tmp_path: Path) -> None:
    trained(config(steps=7, save_interval=1, keep_period=3), dataset, tmp_path)
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == [
        "step_000003",
        "step_000006",
        "step_000007",
    ]


def test_another_configuration_does_not_go_on(dataset: Path, tmp_path: Path) -> None:
    trained(config(), dataset, tmp_path, stop_after=2)
    with pytest.raises(UserError, match=r"indicator_dropout=0\.1, not 0\.5"):
        trained(config(indicator_dropout=0.5), dataset, tmp_path)


def test_training_goes_on_from_a_policy_and_keeps_its_scaling(dataset: Path, opposites: Path, tmp_path: Path) -> None:
    first = trained(config(), dataset, tmp_path / "first")
    start = tmp_path / "first" / first.trained
    trained(config(steps=1, learning_rate=1e-12), dataset, tmp_path / "second", start=start)
    before, after = (load_action_model(tmp_path / name / "trained", device="cpu") for name in ("first", "second"))
    mine, theirs = before.policy.state_dict(), after.policy.state_dict()
    assert all(torch.allclose(mine[key], theirs[key], atol=1e-6) for key in mine)
    with pytest.raises(UserError, match="not for the robot"):
        trained(config(steps=1), opposites, tmp_path / "third", start=start)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), chunk=st.integers(1, 9))
def test_chunks_stop_at_their_episodes_end(lengths: list[int], chunk: int) -> None:
    total = sum(lengths)
    ends = np.repeat(np.cumsum(lengths), lengths)
    action = np.arange(total, dtype=np.float32)[:, None]
    frames: Any = SimpleNamespace(
        state=action, around=None, action=action, indicator=np.ones(total, np.float32), end=ends,
        tasks=["t"] * total, info=SimpleNamespace(video_keys=[]),
    )  # fmt: skip
    batch = ChunkDataset(frames, chunk, conditioned=True).__getitems__(list(range(total)))
    for row in range(total):
        real = list(range(row, min(row + chunk, ends[row])))
        assert batch[ACTION][row, : len(real), 0].tolist() == real
        assert batch[ACTION][row, len(real) :, 0].tolist() == [ends[row] - 1] * (chunk - len(real))
        assert batch["action_is_pad"][row].tolist() == [False] * len(real) + [True] * (chunk - len(real))


def test_padding_pulls_nothing(dataset: Path, tmp_path: Path) -> None:
    summary = trained(config(steps=1), dataset, tmp_path)
    model = load_action_model(tmp_path / summary.trained, device="cpu")
    frames = read_robot_frames(dataset)
    batch = ChunkDataset(frames, 8, conditioned=True).__getitems__([17, 18, 19])
    assert batch["action_is_pad"].any()
    changed = {**batch, ACTION: torch.where(batch["action_is_pad"][..., None], 99.0, batch[ACTION])}
    loss = loss_of(model.policy)
    assert torch.equal(loss(model.policy, model.before(batch)), loss(model.policy, model.before(changed)))


def test_the_flow_loss_is_the_mean_over_what_is_no_padding() -> None:
    losses = torch.rand(3, 5, 4)
    inner = SimpleNamespace(forward=lambda: losses)

    class Flow:
        name = "pi0"
        model = inner

        def __call__(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, float]]:
            return self.model.forward()[:, :, :4].mean(), {}

    policy = Flow()
    pad = torch.tensor([[False] * 5, [False] * 2 + [True] * 3, [False] + [True] * 4])
    found = loss_of(policy)(policy, {"action_is_pad": pad})
    assert torch.allclose(found, losses[~pad].mean())


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), size=st.integers(1, 30), start=st.integers(0, 6), seed=st.integers(0, 3))
def test_the_order_is_the_same_from_any_step_on(rows: int, size: int, start: int, seed: int) -> None:
    every = np.arange(rows) * 3
    whole = [row for step in batches_of(every, size, range(8), seed) for row in step.tolist()]
    later = [row for step in batches_of(every, size, range(start, 8), seed) for row in step.tolist()]
    assert later == whole[start * size :]
    for first in range(0, len(whole) - rows + 1, rows):
        assert sorted(whole[first : first + rows]) == every.tolist()  # each frame once in a pass


@pytest.mark.slow
def test_pictures_are_learned_from_and_asked_with(tmp_path: Path) -> None:
    spec = robot("cam_high", size=(32, 48))
    for number in range(2):
        record(tmp_path / "raw" / f"episode_{number}.hdf5", 12, spec=spec, seed=number)
    build_station_dataset(tmp_path / "raw", tmp_path / "set", StationDatasetConfig())
    frames = read_robot_frames(tmp_path / "set")
    batch = ChunkDataset(frames, 4, conditioned=True).__getitems__([12 + 5])
    seen = batch["observation.images.cam_high"][0].permute(1, 2, 0).numpy() * 255
    assert np.abs(seen - picture(32, 48, 1 + 5 / 25)).mean() < 12  # the very moment, through JPEG and video
    summary = trained(config(steps=2, model={"options": CAMERA, "chunk": 4}), tmp_path / "set", tmp_path / "out")
    policy = policy_of(summary, tmp_path / "set", tmp_path / "out")
    image = np.ascontiguousarray(picture(32, 48, 0.0).transpose(2, 0, 1))
    one = {"state": np.zeros(14, np.float32), "images": {"cam_high": image}, "prompt": f"{TASK}, Advantage=True"}
    alone, together = policy.infer([one])[0], policy.infer([one, one])
    assert alone.shape == (4, 14)
    assert np.allclose(together[1], alone, atol=1e-5)
    blind = trained(config(steps=2, model={"cameras": []}), tmp_path / "set", tmp_path / "blind")
    assert policy_of(blind, tmp_path / "set", tmp_path / "blind").spec.cameras == ()
    with pytest.raises(UserError, match="no camera 'cam_low'"):
        trained(config(model={"cameras": ["cam_low"]}), tmp_path / "set", tmp_path / "none")


def test_a_published_policy_opens_in_lerobot_and_names_its_recordings(dataset: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    from lerobot.policies.act.modeling_act import ACTPolicy

    summary = trained(config(steps=1), dataset, tmp_path)
    card = publish_robot_policy(
        summary, dataset, tmp_path, program="station", iteration=4, code_version="v", parent="x"
    )
    assert card.policy_id.startswith("station-004-")
    assert card.sample_counts == {"good": 20, "bad": 40} or card.sample_counts == {"good": 40, "bad": 20}
    assert ACTPolicy.from_pretrained(tmp_path / "merged").config.chunk_size == 8
    rows = pq.read_table(tmp_path / "provenance.parquet").to_pylist()
    assert sorted((row["trace"], row["advantage"], row["frames"]) for row in rows) == [
        (f"episode_{number}.hdf5", bool(number % 2), 20) for number in range(4)
    ]
    assert json.loads((tmp_path / "card.json").read_text())["parent"] == "x"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"options": {"dim_modell": 8}}, "'dim_modell' is unknown to LeRobot's act"),
        ({"options": {"chunk_size": 8}}, "'chunk_size' is decided elsewhere"),
        ({"options": {"vision_backbone": "vgg"}}, "must be one of the ResNet variants"),
    ],
)
def test_a_wrong_option_is_named(dataset: Path, tmp_path: Path, model: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        trained(config(model=model), dataset, tmp_path)


@pytest.mark.parametrize(("kind", "way"), [("act", "prompt"), ("pi0", "environment_state")])
def test_a_policy_is_told_in_a_way_it_can_hear(kind: str, way: str) -> None:
    with pytest.raises(ValueError, match="set advantage="):
        ActionModelConfig.model_validate({"kind": kind, "advantage": way})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 40), "is damaged"),
        (lambda folder: (folder / "robot.json").unlink(), "robot.json' does not exist"),
        (lambda folder: (folder / "robot.json").write_text("{}"), "is damaged"),
    ],
)
def test_a_damaged_policy_is_named(dataset: Path, tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    summary = trained(config(steps=1), dataset, tmp_path)
    policy_of(summary, dataset, tmp_path)
    (tmp_path / "merged" / "model.safetensors").rename(tmp_path / "kept")  # the link, not what it leads to
    (tmp_path / "merged" / "model.safetensors").write_bytes((tmp_path / "kept").read_bytes())
    damage(tmp_path / "merged")
    with pytest.raises(UserError, match=said):
        load_robot_policy(tmp_path)


def test_a_set_without_joints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        trained(config(), tmp_path / "nowhere", tmp_path / "out")


def test_the_state_of_the_surroundings_is_scaled(dataset: Path, tmp_path: Path) -> None:
    summary = trained(config(steps=1), dataset, tmp_path)
    model = load_action_model(tmp_path / summary.trained, device="cpu")
    batch = ChunkDataset(read_robot_frames(dataset), 8, conditioned=True).__getitems__(list(range(80)))
    ready = model.before(batch)
    around = ready["observation.environment_state"]
    assert torch.allclose(around[:, :-1].mean(0), torch.zeros(2), atol=1e-3)
    assert set(around[:, -1].tolist()) == {1.0, -1.0}  # what was said stays as it is
    assert ready[STATE].std() < 2


def test_published_weights_are_really_read(dataset: Path, tmp_path: Path) -> None:
    summary = trained(config(steps=2), dataset, tmp_path / "first")
    weights = tmp_path / "first" / summary.trained
    frames = read_robot_frames(dataset)
    how = ActionModelConfig(chunk=8, options=SMALL, pretrained=str(weights))
    again = build_action_model(how, frames.info, frames.stats, frames.task, device="cpu", seed=5)
    kept = load_file(weights / "model.safetensors")
    assert all(torch.equal(tensor, kept[key]) for key, tensor in again.policy.state_dict().items())
    for folder, said in ((tmp_path / "nowhere", "cannot be had"), (tmp_path / "torn", "cannot be had")):
        (tmp_path / "torn").mkdir(exist_ok=True)
        (tmp_path / "torn" / "model.safetensors").write_bytes(b"x" * 40)
        with pytest.raises(UserError, match=said):
            build_action_model(
                how.replace(pretrained=str(folder)), frames.info, frames.stats, frames.task, device="cpu", seed=5
            )
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "torn" / "model.safetensors")
    with pytest.raises(UserError, match="not of such a policy"):
        build_action_model(
            how.replace(pretrained=str(tmp_path / "torn")), frames.info, frames.stats, frames.task, device="cpu", seed=5
        )


def test_cameras_of_other_peoples_sets_are_seen_or_refused(dataset: Path) -> None:
    info = read_robot_frames(dataset).info
    first = Feature("video", (3, 32, 48), ["channels", "height", "width"])
    seen = robot_of(replace(info, features={**info.features, "observation.images.top": first}), 8)
    assert (seen.cameras[0].name, seen.cameras[0].height, seen.cameras[0].width) == ("top", 32, 48)
    single = Feature("image", (32, 48, 3), ["height", "width", "channels"])
    with pytest.raises(UserError, match="kept as single pictures"):
        robot_of(replace(info, features={**info.features, "observation.images.top": single}), 8)


def test_other_pictures_are_another_set(tmp_path: Path) -> None:
    for number in range(2):
        record(tmp_path / "raw" / f"episode_{number}.hdf5", 12, spec=robot("cam_high", size=(32, 48)), seed=number)
    hashes = set()
    for crf in (20, 35):
        how = StationDatasetConfig.model_validate({"video": {"crf": crf}})
        build_station_dataset(tmp_path / "raw", tmp_path / str(crf), how)
        hashes.add(read_robot_frames(tmp_path / str(crf)).hash)
    assert len(hashes) == 2
