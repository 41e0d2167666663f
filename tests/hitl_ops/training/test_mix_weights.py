"""From the weights of a mix to the gradient: a correction pulls five times as hard, and with weight 0 it is not there.

The gradient is taken where it is used, in the first step of a whole training out of a file that the mix was written
to. The loss of a step is divided by its weighted tokens, so what grows with a weight is the gradient times those.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.contracts.sample import Sample, Source
from hitl_ops.contracts.store import Store
from hitl_ops.models.base_models import TinyConfig, load_base
from hitl_ops.samples import training_mix
from hitl_ops.samples.parquet import read_samples, write_samples
from hitl_ops.samples.training_mix import MixConfig, build_training_mix, mix_path
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig

SAID: dict[Source, tuple[str, str]] = {
    "distilled": ("Task: Bring the mug to the desk.\nNext Agent_Action:<act>", "Explore[kitchen_1]<end_act>"),
    "human_gold": ("Task: Put the lamp on the shelf.\nNext Agent_Action:<act>", "Navigate[lamp_1]<end_act>"),
    "expert": ("Task: Clean the bed.\nNext Agent_Action:<act>", "Explore[bedroom_1]<end_act>"),
}


class Bench:
    """One sample of each source, one model to begin with, and the first gradient of each mix."""

    def __init__(self, root: Path, config: TrainConfig) -> None:
        self.store = Store.at(root)
        # Every mix begins with the same model and tokenizer, whatever it leaves out.
        shape = TinyConfig(hidden_size=16, layers=1, heads=2, kv_heads=1, intermediate_size=24, vocab_size=400)
        base = load_base("tiny", cache=root, corpus=["".join(said) for said in SAID.values()], tiny=shape, seed=1)
        base.model.save_pretrained(root / "base")
        base.tokenizer.save_pretrained(root / "base")
        self.config = config.replace(base=str(root / "base"))
        self.tokens = {
            source: len(base.tokenizer(completion, add_special_tokens=False).input_ids)
            for source, (_, completion) in SAID.items()
        }
        for source, (prompt, completion) in SAID.items():
            sample = Sample(
                sample_id=f"{source}/0", episode_id=f"e-{source}", split="train", scene_id="home",
                task_type="spatial", step=0, agent=1, source=source, iteration=1, prompt=prompt,
                completion=completion, weight=1.0, policy_id="policy-1", trace=f"{source}.jsonl.gz",
            )  # fmt: skip
            file = self.store.iteration("planner", 1).samples / f"{source}.parquet"
            write_samples(file, [sample], prompt_style="incremental")

    def pull(self, **weights: float) -> torch.Tensor:
        """The first step's gradient, before it is divided by the weighted tokens: AdamW's memory of it, undone."""
        build_training_mix(self.store, "planner", 1, MixConfig(**weights))
        mix = mix_path(self.store.iteration("planner", 1))
        out = self.store.root / "-".join(f"{name}{weight}" for name, weight in weights.items())
        train(self.config, mix, out, stop_after=1)
        slots = load_file(out / "checkpoints" / "step_000001" / "optimizer.safetensors")
        gradient = (
            torch.cat([one.flatten() for name, one in sorted(slots.items()) if name.startswith("exp_avg/")]) / 0.1
        )
        return gradient * sum(sample.weight * self.tokens[sample.source] for sample in read_samples(mix))


@pytest.fixture
def bench(tmp_path: Path, config_of: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(training_mix, "write_data_card", lambda parquet, out_dir: None)  # its pictures take seconds
    return Bench(tmp_path, config_of(method="full", batch_size=50, validation_fraction=0, max_grad_norm=0))


def test_a_samples_pull_is_its_weight_times_its_own(bench: Bench) -> None:
    alone = {
        source: bench.pull(**{**dict.fromkeys(SAID, 0.0), source: 1.0})  # type: ignore[arg-type]
        for source in SAID
    }
    assert all(float(pull.abs().max()) > 1e-3 for pull in alone.values())

    def expected(**weights: float) -> torch.Tensor:
        return sum((weight * alone[source] for source, weight in weights.items()), torch.zeros(()))  # type: ignore[index]

    for weights in (
        {"expert": 5.0, "human_gold": 1.0, "distilled": 0.5},
        {"expert": 1.0, "human_gold": 1.0, "distilled": 1.0},
        {"expert": 0.0, "human_gold": 1.0, "distilled": 0.5},
        {"expert": 50.0, "human_gold": 0.0, "distilled": 0.5},
    ):
        torch.testing.assert_close(bench.pull(**weights), expected(**weights), rtol=1e-4, atol=1e-5)


def test_with_weight_0_it_is_not_there(bench: Bench) -> None:
    without = bench.pull(expert=0.0, human_gold=1.0, distilled=0.5)
    (bench.store.iteration("planner", 1).samples / "expert.parquet").unlink()
    assert torch.equal(bench.pull(expert=5.0, human_gold=1.0, distilled=0.5), without)
