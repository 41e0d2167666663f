"""Every field of the configuration changes what it names, in a real training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from safetensors.torch import load_file

from hitl_ops.models.base_models import TinyConfig
from hitl_ops.training.sft import TrainSummary, train
from hitl_ops.training.train_config import WITHOUT_EFFECT_ON_WEIGHTS, LoraShape, TrainConfig
from hitl_ops.training.train_log import read_log

# A training or two a field.
pytestmark = pytest.mark.slow

Write = Callable[..., Path]
Configure = Callable[..., TrainConfig]


@dataclass
class Seen:
    """What a training was seen to do."""

    out: Path
    summary: TrainSummary
    adamw: dict[str, Any] = field(default_factory=dict)
    decays: list[float] = field(default_factory=list)
    forwards: list[int] = field(default_factory=list)
    dtypes: set[torch.dtype] = field(default_factory=set)
    asked: int = 0
    recomputed: bool = False
    compiled: int = 0
    checkpoints: list[str] = field(default_factory=list)

    @property
    def log(self) -> list[dict[str, Any]]:
        return read_log(self.out / "train_log.jsonl")

    @property
    def adapter(self) -> dict[str, Any]:
        return json.loads((self.out / "adapter" / "adapter_config.json").read_text())

    @property
    def base(self) -> dict[str, Any]:
        return json.loads((self.out / "base" / "config.json").read_text())

    @property
    def slots(self) -> set[str]:
        """What the optimizer remembers of its parameters."""
        return {key.partition("/")[0] for key in load_file(self.out / "checkpoints/step_000004/optimizer.safetensors")}

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(next((self.out / name).glob("*.safetensors")))


@pytest.fixture
def watch(tmp_path: Path, samples_file: Write, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Seen]]:
    """Trains and takes down what happens underneath."""
    from transformers import PreTrainedModel

    from hitl_ops.training import compilation, loop, sft
    from hitl_ops.training import loss as loss_module

    samples = samples_file(episodes=5)
    count = 0

    def run(config: TrainConfig) -> Seen:
        nonlocal count
        count += 1
        seen = Seen(tmp_path / f"run{count}", None)  # type: ignore[arg-type]
        adamw, checkpointing = torch.optim.AdamW, PreTrainedModel.gradient_checkpointing_enable
        forward = loss_module.weighted_loss

        def spy_adamw(groups: list[dict[str, Any]], **options: Any) -> torch.optim.AdamW:
            seen.adamw = options
            seen.decays = [group["weight_decay"] for group in groups if isinstance(group, dict)]
            return adamw(groups, **options)

        def spy_forward(model: Any, row: Any, attention: Any) -> torch.Tensor:
            if torch.is_grad_enabled():
                seen.forwards.append(row.tokens.shape[1])
                seen.asked += len(row.targets)
                handle = next(m for n, m in model.named_modules() if n.endswith("mlp")).register_forward_hook(
                    lambda module, inputs, output: seen.dtypes.add(output.dtype)
                )
                try:
                    return forward(model, row, attention)
                finally:
                    handle.remove()
            return forward(model, row, attention)

        def spy_checkpointing(self: Any, *args: Any, **options: Any) -> None:
            seen.recomputed = True
            checkpointing(self, *args, **options)

        def spy_compile(model: Any) -> int:
            # Compiling takes a minute; what it does is tested in test_compilation.py.
            seen.compiled += 1
            return 0

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim, "AdamW", spy_adamw)
            patch.setattr(loop, "weighted_loss", spy_forward)
            patch.setattr(PreTrainedModel, "gradient_checkpointing_enable", spy_checkpointing)
            patch.setattr(compilation, "compile_layers", spy_compile)
            seen.summary = sft.train(config, samples, seen.out)
        seen.checkpoints = sorted(p.name for p in (seen.out / "checkpoints").iterdir())
        return seen

    yield run


@pytest.fixture(scope="module")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Seen]]:
    """Runs that several cases compare themselves with."""
    return tmp_path_factory.mktemp("unchanged"), {}


@pytest.fixture
def unchanged(watch: Callable[..., Seen], kept_runs: tuple[Path, dict[str, Seen]]) -> Callable[[TrainConfig], Seen]:
    """Trains, or looks up the training with the same configuration."""
    folder, known = kept_runs

    def run(config: TrainConfig) -> Seen:
        key = config.model_dump_json()
        if key not in known:
            known[key] = watch(config)
            known[key].out = known[key].out.rename(folder / str(len(known)))
        return known[key]

    return run


PROJECTION = "model.layers.0.self_attn.o_proj.weight"
LONG = {"method": "full", "learning_rate": 0.1, "max_steps": 12, "schedule": "constant", "eval_every": 1}

# field: what else is set, the value it is changed to, what is looked at. What is looked at must differ from what the
# unchanged training shows, and, where a second look is given, must be exactly that.
CASES: dict[str, tuple[dict[str, Any], Any, Callable[[Seen], Any], Any]] = {
    "seed": ({}, 1, lambda s: [line["loss"] for line in s.log], None),
    "epochs": ({"max_steps": None}, 2, lambda s: s.log[-1]["samples"], 24),
    "max_steps": ({}, 3, lambda s: s.log[-1]["step"], 3),
    "batch_size": ({}, 3, lambda s: s.log[0]["samples"], 3),
    "gradient_accumulation": ({"batch_size": 3}, 2, lambda s: s.log[0]["samples"], 6),
    "optimizer": ({"method": "full"}, "muon", lambda s: s.slots >= {"momentum_buffer", "exp_avg"}, True),
    "learning_rate": ({"schedule": "constant"}, 0.005, lambda s: {line["learning_rate"] for line in s.log}, {0.005}),
    "schedule": ({}, "constant", lambda s: [line["learning_rate"] for line in s.log], [0.01] * 4),
    "warmup_steps": ({}, 2, lambda s: [line["learning_rate"] for line in s.log][:3], [0.005, 0.01, 0.01]),
    "final_learning_rate_share": ({}, 1.0, lambda s: s.log[-1]["learning_rate"], 0.01),
    "weight_decay": ({"method": "full"}, 0.1, lambda s: s.decays, [0.1, 0.0]),
    "beta1": ({}, 0.5, lambda s: s.adamw["betas"], (0.5, 0.999)),
    "beta2": ({}, 0.9, lambda s: s.adamw["betas"], (0.9, 0.9)),
    "epsilon": ({}, 1e-3, lambda s: s.adamw["eps"], 1e-3),
    "max_grad_norm": ({"epsilon": 0.1}, 1e-4, lambda s: [line["loss"] for line in s.log], None),
    "pack_tokens": ({}, 1, lambda s: len(s.forwards), 8),
    "precision": ({}, "bf16", lambda s: s.dtypes, {torch.bfloat16}),
    "compile": ({}, True, lambda s: s.compiled, 1),
    "gradient_checkpointing": ({}, True, lambda s: s.recomputed, True),
    "validation_fraction": ({}, 0.4, lambda s: s.summary.validation_episodes, 2),
    "eval_every": ({}, 2, lambda s: [line["step"] for line in s.log if "validation_loss" in line], [2, 4]),
    "early_stop_patience": (LONG, 1, lambda s: s.summary.stopped_early, True),
    "keep": (LONG, "best", lambda s: sorted(s.weights("adapter")["model.norm.weight"].tolist()), None),
    "checkpoint_every": ({"keep_last": 9}, 2, lambda s: s.checkpoints, ["step_000002", "step_000004"]),
    "keep_last": ({"checkpoint_every": 1}, 1, lambda s: s.checkpoints, ["step_000004"]),
    "log_every": ({}, 4, lambda s: [line["step"] for line in s.log], [4]),
    "base_dtype": ({}, "bfloat16", lambda s: s.weights("base")["model.norm.weight"].dtype, torch.bfloat16),
    "method": ({}, "full", lambda s: s.summary.trained_parameters == s.summary.parameters, True),
    "packing": ({}, "none", lambda s: s.summary.packed_tokens == s.summary.sample_tokens, True),
    "exchanged_copies": ({"max_steps": None, "epochs": 1}, 2, lambda s: s.log[-1]["samples"], 36),
    "prompt_loss_weight": ({}, 0.1, lambda s: s.asked, None),
    "lora.rank": ({}, 3, lambda s: s.adapter["r"], 3),
    "lora.alpha": ({}, 9.0, lambda s: s.adapter["lora_alpha"], 9.0),
    "lora.dropout": ({}, 0.0, lambda s: s.adapter["lora_dropout"], 0.0),
    "lora.rank_stabilized": ({}, False, lambda s: s.adapter["use_rslora"], False),
    "lora.target_modules": ({}, ["o_proj"], lambda s: s.adapter["target_modules"], ["o_proj"]),
    "tiny.hidden_size": ({}, 24, lambda s: s.base["hidden_size"], 24),
    "tiny.layers": ({}, 1, lambda s: s.base["num_hidden_layers"], 1),
    "tiny.heads": ({}, 1, lambda s: s.base["num_attention_heads"], 1),
    "tiny.kv_heads": ({}, 2, lambda s: s.base["num_key_value_heads"], 2),
    "tiny.intermediate_size": ({}, 32, lambda s: s.base["intermediate_size"], 32),
    "tiny.vocab_size": ({}, 280, lambda s: s.base["vocab_size"], 280),
    "tiny.rope_theta": ({}, 500.0, lambda s: s.base["rope_parameters"]["rope_theta"], 500.0),
    "tiny.max_positions": ({}, 777, lambda s: s.base["max_position_embeddings"], 777),
    "tiny.initialization": ({}, "random", lambda s: s.weights("base")[PROJECTION].std().item(), None),
    "tiny.tie_embeddings": ({}, False, lambda s: s.base["tie_word_embeddings"], False),
}
# Seen by what they refuse; each has a test below or in the file named.
ELSEWHERE = {
    "base": "below",
    "device": "below",
    "max_length": "test_sft.py",
    "overlong": "test_sample_reader.py",
    "tiny": "",
    "lora": "",
}


def with_value(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    section, _, leaf = key.rpartition(".")
    if not section:
        return {**config, key: value}
    return {**config, section: {**config.get(section, {}), leaf: value}}


@pytest.mark.parametrize("key", CASES)
def test_a_field_changes_what_it_names(
    key: str, watch: Callable[..., Seen], unchanged: Callable[..., Seen], config_of: Configure
) -> None:
    others, value, look, expected = CASES[key]
    before = look(unchanged(config_of(**others)))
    after = look(watch(config_of(**with_value(others, key, value))))
    assert after != before
    if expected is not None:
        assert after == pytest.approx(expected) if isinstance(expected, float | list | tuple) else after == expected


def test_every_field_is_looked_at() -> None:
    fields = {*TrainConfig.model_fields}
    for section, model in (("lora", LoraShape), ("tiny", TinyConfig)):
        shape: type[BaseModel] = model
        fields |= {f"{section}.{name}" for name in shape.model_fields}
    assert fields == CASES.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("key", sorted(CASES.keys() - WITHOUT_EFFECT_ON_WEIGHTS))
def test_a_field_that_can_change_the_weights_changes_the_fingerprint(key: str, config_of: Configure) -> None:
    others, value, _, _ = CASES[key]
    assert config_of(**others).fingerprint() != config_of(**with_value(others, key, value)).fingerprint()


def test_base_is_what_the_training_starts_from(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    samples = samples_file()
    train(config_of(), samples, tmp_path / "first")
    base = str(tmp_path / "first" / "base")
    assert train(config_of(base=base), samples, tmp_path / "second").base == base
    one, other = (load_file(next((tmp_path / n / "adapter").glob("*.safetensors"))) for n in ("first", "second"))
    assert all(torch.equal(one[key], other[key]) for key in one)  # the same base, by another way
    assert not (tmp_path / "second" / "base").exists()


def test_max_length_and_overlong_reach_the_samples(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    samples = samples_file()
    whole = train(config_of(), samples, tmp_path / "whole")
    dropped = train(config_of(max_length=60, overlong="drop"), samples, tmp_path / "dropped")
    cut = train(config_of(max_length=60, overlong="truncate_left"), samples, tmp_path / "cut")
    assert (whole.overlong_dropped, whole.overlong_truncated) == (0, 0)
    assert dropped.overlong_dropped == cut.overlong_truncated > 0
    assert cut.train_samples == whole.train_samples > dropped.train_samples


def test_device_cpu_leaves_an_accelerator_alone(config_of: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_ops.training import loop

    told: list[bool] = []

    class Told(Exception):
        """Where there is no accelerator, Accelerate cannot be asked to go on."""

    def hear(**options: Any) -> None:
        told.append(options["cpu"])
        raise Told

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(loop, "Accelerator", hear)
    for device in ("auto", "cpu"):
        with pytest.raises(Told):
            loop.open_accelerator(config_of(device=device))
    assert told == [False, True]
