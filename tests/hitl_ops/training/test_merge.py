"""An adapter merged into its base says the same, and loads like any model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.merge import merge, push_to_hub
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig

Write = Callable[..., Path]
Configure = Callable[..., TrainConfig]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_merged_model_loads_and_agrees(
    method: str, tmp_path: Path, samples_file: Write, config_of: Configure
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, merged = tmp_path / "policy", tmp_path / "merged"
    train(config_of(method=method, learning_rate=0.05), samples_file(), out)
    summary = merge("tiny", out / "adapter", merged)
    assert summary.method == method
    assert 0 <= summary.max_logit_difference <= 1e-4
    model = AutoModelForCausalLM.from_pretrained(merged)
    base = AutoModelForCausalLM.from_pretrained(out / "base")
    tokens = AutoTokenizer.from_pretrained(merged)("Next Agent_Action:<act>", return_tensors="pt").input_ids
    with torch.no_grad():
        assert float((model(tokens).logits - base(tokens).logits).abs().max()) > 1e-2  # it did learn something
    if method == "lora":
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(base, str(out / "adapter")).eval()
        with torch.no_grad():
            assert float((model(tokens).logits - adapted(tokens).logits).abs().max()) <= 1e-4
    assert not [path for path in merged.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]


def test_half_precision_is_published_on_request(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    out = tmp_path / "policy"
    train(config_of(), samples_file(), out)
    summary = merge("tiny", out / "adapter", tmp_path / "half", dtype="bfloat16")
    assert {t.dtype for t in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    assert 1e-6 < summary.max_logit_difference < 0.5


@pytest.mark.slow
def test_what_does_not_fit_is_named_and_nothing_published(
    tmp_path: Path, samples_file: Write, config_of: Configure
) -> None:
    samples = samples_file()
    train(config_of(), samples, tmp_path / "policy")
    train(config_of(tiny={"hidden_size": 24}), samples, tmp_path / "wider")
    adapter, merged = tmp_path / "policy" / "adapter", tmp_path / "merged"
    with pytest.raises(UserError, match="does not fit"):
        merge(str(tmp_path / "wider" / "base"), adapter, merged)
    with pytest.raises(UserError, match="neither an adapter nor a model"):
        merge("tiny", tmp_path / "policy", merged)
    weights = adapter / "adapter_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-4])
    with pytest.raises(UserError, match="does not fit"):
        merge("tiny", adapter, merged)
    weights.unlink()
    with pytest.raises(UserError, match=r"adapter_model\.safetensors"):
        merge("tiny", adapter, merged)
    weights.write_bytes(good)
    (tmp_path / "policy" / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is gone"):
        merge("tiny", adapter, merged)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("merged")]


def test_pushing_without_token_or_network_is_one_line(
    tmp_path: Path, samples_file: Write, config_of: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "policy"
    train(config_of(), samples_file(), out)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="token"):
        push_to_hub(out / "adapter", "somebody/planner")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_of_nobody")
    with pytest.raises(UserError, match="cannot reach"):  # tests are offline
        push_to_hub(out / "adapter", "somebody/planner")
    with pytest.raises(UserError, match="no repository name"):
        push_to_hub(out / "adapter", "not a name/at/all")
    with pytest.raises(UserError, match="no model to push"):
        push_to_hub(tmp_path, "somebody/planner")
