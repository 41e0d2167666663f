"""A training from samples to published weights: weights of samples, exact resume, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.sft import TrainSummary, train
from hitl_ops.training.train_config import TrainConfig, partnr_paper
from hitl_ops.training.train_log import read_log

Rows = Callable[..., list[dict[str, Any]]]
Write = Callable[..., Path]
Configure = Callable[..., TrainConfig]


def weights(out: Path) -> dict[str, torch.Tensor]:
    (file,) = (out / "adapter").glob("*.safetensors")
    return load_file(file)


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def losses(out: Path) -> list[tuple[int, float, float | None]]:
    return [(line["step"], line["loss"], line.get("validation_loss")) for line in read_log(out / "train_log.jsonl")]


class Recorder:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.artifacts: list[str] = []

    def log_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def log_artifact(self, path: Path) -> None:
        assert path.exists()
        self.artifacts.append(path.name)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "optimizer"), [("lora", "adamw"), ("full", "adamw"), ("full", "muon")])
def test_two_steps_stop_and_resume_equal_four_straight_to_the_bit(
    method: str, optimizer: str, tmp_path: Path, samples_file: Write, config_of: Configure
) -> None:
    samples = samples_file()
    config = config_of(method=method, optimizer=optimizer, eval_every=3, gradient_accumulation=2)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    whole = train(config, samples, straight)
    first = train(config, samples, broken, stop_after=2)
    assert (first.finished, first.steps, first.total_steps) == (False, 2, 4)
    assert not (broken / "adapter").exists() and not (broken / "train_summary.json").exists()
    second = train(config, samples, broken)
    assert (second.finished, second.resumed_step, whole.resumed_step) == (True, 2, 0)
    assert same_weights(straight, broken)
    assert losses(straight) == losses(broken)
    for kind in ("weights", "optimizer"):
        name = f"checkpoints/step_000004/{kind}.safetensors"
        assert (straight / name).read_bytes() == (broken / name).read_bytes()


@pytest.mark.slow
def test_dropout_is_at_work_and_seeded(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    # Without this, the exact resume above would prove nothing about dropout.
    samples = samples_file()
    for name, dropout in (("a", 0.2), ("b", 0.2), ("c", 0.0)):
        train(config_of(lora={"dropout": dropout}), samples, tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_what_a_training_leaves_behind(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    out, tracker, seen = tmp_path / "out", Recorder(), []
    summary = train(
        config_of(keep_last=1, checkpoint_every=1),
        samples_file(),
        out,
        lambda done, total, note="": seen.append((done, total)),
        tracker,
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "adapter",
        "base",
        "checkpoints",
        "plots",
        "train_log.jsonl",
        "train_summary.json",
    ]
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step_000004"]
    assert (out / "plots" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (out / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    }
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert TrainSummary.model_validate_json((out / "train_summary.json").read_text()) == summary
    assert (summary.train_samples, summary.validation_samples) == (9, 3)
    assert summary.packed_tokens < summary.sample_tokens
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [step for step, _ in tracker.metrics] == [1, 2, 3, 4]
    assert tracker.params["lora.rank"] == 2 and "validation_loss" in tracker.metrics[-1][1]
    assert tracker.artifacts == ["train_summary.json", "train_log.jsonl", "plots"]


@pytest.mark.slow
def test_a_finished_training_is_not_done_again(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    samples, out = samples_file(), tmp_path / "out"
    summary = train(config_of(), samples, out)
    written = (out / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns

    def never(done: int, total: int, note: str = "") -> None:
        raise AssertionError("a step was taken")

    assert train(config_of(), samples, out, never) == summary
    assert (out / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == written


def test_the_loss_falls(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    summary = train(config_of(method="full", max_steps=30), samples_file(), tmp_path / "out")
    log = losses(tmp_path / "out")
    assert log[-1][1] < 0.5 * log[0][1]
    assert summary.train_loss == log[-1][1]


@pytest.mark.slow
def test_a_weightless_sample_is_not_there(
    tmp_path: Path, samples_file: Write, rows_of_household: Rows, config_of: Configure
) -> None:
    rows = rows_of_household()
    removed = [row for row in rows if row["step"] != 2]
    for row in rows:
        row["weight"] = 0.0 if row["step"] == 2 else 1.0
    with_zero = train(config_of(), samples_file(rows), tmp_path / "zero")
    without = train(config_of(), samples_file(removed, "removed.parquet"), tmp_path / "removed")
    assert (with_zero.weightless_samples, without.weightless_samples) == (4, 0)
    assert with_zero.train_samples == without.train_samples
    assert same_weights(tmp_path / "zero", tmp_path / "removed")


def gradient_of(rows: list[dict[str, Any]], out: Path, samples_file: Write, config: TrainConfig) -> torch.Tensor:
    """The gradient of the first step: AdamW's memory of it, undone."""
    train(config, samples_file(rows, f"{out.name}.parquet"), out, stop_after=1)
    slots = load_file(out / "checkpoints" / "step_000001" / "optimizer.safetensors")
    return torch.cat([value.flatten() for key, value in sorted(slots.items()) if key.startswith("exp_avg/")]) / 0.1


def test_a_sample_pulls_with_its_weight(
    tmp_path: Path, samples_file: Write, rows_of_household: Rows, config_of: Configure
) -> None:
    config = config_of(method="full", batch_size=50, validation_fraction=0, max_grad_norm=0)
    rows = rows_of_household(episodes=2, steps=2)
    # All episodes' texts must stay in, or the tokenizer would differ: the silenced one keeps a breath of weight.
    breath = 1e-12
    light, heavy = [dict(row) for row in rows], [dict(row) for row in rows]
    for row in light[2:]:
        row["weight"] = breath
    for row in heavy[:2]:
        row["weight"] = breath
    mixed = [dict(row) for row in rows]
    for row in mixed[2:]:
        row["weight"] = 3.0
    first, second, both = (
        gradient_of(weighted, tmp_path / name, samples_file, config)
        for name, weighted in (("first", light), ("second", heavy), ("both", mixed))
    )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "both" / "base")
    tokens = [
        sum(len(tokenizer(row["completion"], add_special_tokens=False).input_ids) for row in part)
        for part in (rows[:2], rows[2:])
    ]
    expected = (tokens[0] * first + 3 * tokens[1] * second) / (tokens[0] + 3 * tokens[1])
    torch.testing.assert_close(both, expected, rtol=1e-4, atol=1e-6)
    # All weights times one number: nothing changes.
    tenfold = [{**row, "weight": row["weight"] * 10} for row in mixed]
    torch.testing.assert_close(
        gradient_of(tenfold, tmp_path / "tenfold", samples_file, config), both, rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_accumulation_and_packing_only_change_the_cost(
    tmp_path: Path, samples_file: Write, config_of: Configure
) -> None:
    samples = samples_file(episodes=5)
    shapes = {
        "together": config_of(method="full", batch_size=12, max_steps=2),
        "accumulated": config_of(method="full", batch_size=3, gradient_accumulation=4, max_steps=2),
        "rows": config_of(method="full", batch_size=12, max_steps=2, packing="rows", pack_tokens=100),
        "none": config_of(method="full", batch_size=12, max_steps=2, packing="none"),
    }
    found = {}
    for name, config in shapes.items():
        summary = train(config, samples, tmp_path / name)
        found[name] = [loss for _, loss, _ in losses(tmp_path / name)]
        assert (summary.packed_tokens < summary.sample_tokens) == (name in ("together", "accumulated"))
    for name in shapes:
        assert found[name] == pytest.approx(found["together"], rel=1e-5), name


@pytest.mark.slow
def test_training_stops_early_and_keeps_the_best(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    # A learning rate that soon does harm.
    plain = {"method": "full", "learning_rate": 0.1, "max_steps": 40, "eval_every": 1, "schedule": "constant"}
    samples = samples_file(episodes=6)
    summary = train(config_of(**plain, early_stop_patience=3, keep="best"), samples, tmp_path / "best")
    assert summary.stopped_early and summary.finished and summary.steps < 40
    assert summary.best_step == summary.steps - 3
    looks = {step: validation for step, _, validation in losses(tmp_path / "best")}
    assert summary.best_validation_loss == min(looks.values()) == looks[summary.best_step]
    last = train(config_of(**plain, early_stop_patience=3), samples, tmp_path / "last")
    assert not same_weights(tmp_path / "best", tmp_path / "last") and last.steps == summary.steps
    # The best weights are those the training had then.
    until = train(config_of(**plain, early_stop_patience=3), samples, tmp_path / "until", stop_after=summary.best_step)
    assert until.best_step == summary.best_step
    name = f"step_{summary.best_step:06d}"
    at_best = load_file(tmp_path / "until" / "checkpoints" / name / "weights.safetensors")
    published = weights(tmp_path / "best")
    assert all(torch.equal(at_best[key], value) for key, value in published.items())


def test_another_configuration_or_other_samples_are_refused_by_name(
    tmp_path: Path, samples_file: Write, rows_of_household: Rows, config_of: Configure
) -> None:
    samples, out = samples_file(), tmp_path / "out"
    train(config_of(), samples, out, stop_after=2)
    with pytest.raises(UserError, match=r"learning_rate=0.01, not 0.02"):
        train(config_of(learning_rate=0.02), samples, out)
    with pytest.raises(UserError, match=r"lora.rank=2, not 3"):
        train(config_of(lora={"rank": 3}), samples, out)
    rows = rows_of_household()
    rows[0]["weight"] = 5.0
    with pytest.raises(UserError, match="other samples"):
        train(config_of(), samples_file(rows, "other.parquet"), out)
    # How often something is written does not matter.
    assert train(config_of(checkpoint_every=1, keep_last=4, log_every=3), samples, out).finished


def test_a_damaged_checkpoint_is_named(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    samples, out = samples_file(), tmp_path / "out"
    train(config_of(), samples, out, stop_after=2)
    file = out / "checkpoints" / "step_000002" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="step_000002' is damaged"):
        train(config_of(), samples, out)


def test_a_cut_off_log_line_is_forgotten(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    samples, out = samples_file(), tmp_path / "out"
    train(config_of(), samples, out, stop_after=2)
    log = out / "train_log.jsonl"
    log.write_text(log.read_text() + '{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    train(config_of(), samples, out)
    assert [step for step, _, _ in losses(out)] == [1, 2, 3, 4]
    assert losses(out)[2][1] != 1.0


def test_users_mistakes_are_one_line(
    tmp_path: Path, samples_file: Write, rows_of_household: Rows, config_of: Configure
) -> None:
    samples, out = samples_file(), tmp_path / "out"
    weightless = [{**row, "weight": 0.0} for row in rows_of_household()]
    mistakes: list[tuple[TrainConfig, Path, str]] = [
        (config_of(base=str(tmp_path / "nowhere")), samples, "nowhere"),
        (config_of(lora={"target_modules": ["query"]}), samples, "query"),
        (config_of(max_length=20), samples, "max_length 20"),
        (config_of(max_length=3, overlong="drop"), samples, "max_length 3"),
        (config_of(tiny={"max_positions": 16}), samples, "holds 16"),
        (config_of(), samples_file(weightless, "weightless.parquet"), "weight 0"),
        (config_of(method="full", learning_rate=1e30, max_grad_norm=0), samples, "loss became"),
    ]
    for config, path, named in mistakes:
        with pytest.raises(UserError, match=named) as error:
            train(config, path, out)
        assert "\n" not in str(error.value)
        assert not (out / "adapter").exists()


def test_a_full_disk_leaves_no_half_checkpoint(
    tmp_path: Path, samples_file: Write, config_of: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from hitl_ops.training import checkpoint

    samples, out = samples_file(), tmp_path / "out"
    save = checkpoint._save_tensors

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if path.name == "optimizer.safetensors":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path)

    monkeypatch.setattr(checkpoint, "_save_tensors", full)
    with pytest.raises(UserError, match="disk full"):
        train(config_of(), samples, out)
    assert not list((out / "checkpoints").iterdir())
    monkeypatch.undo()
    assert train(config_of(), samples, out).finished


def test_the_papers_preset_holds_the_papers_figures() -> None:
    config = partnr_paper()
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (132, 128, 0.01)
    assert config.lora.rank_stabilized and config.lora.target_modules == ("q_proj", "v_proj")
    assert config.max_steps == 40_000 and config.batch_size == 4 * 2
