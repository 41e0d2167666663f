"""LeRobot's VLAs as backbones, at a tiny depth: what passes through them is learned, the rest is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.advantage_estimator import EstimatorFacts, build_estimator, load_estimator, save_estimator
from hitl_ops.models.estimator_config import EstimatorConfig

SIZE, JOINTS = 28, 3


def facts(**changes: Any) -> EstimatorFacts:
    config = EstimatorConfig.model_validate({"image_size": SIZE, "hidden": 16, "backbone": "pi05", **changes})
    return EstimatorFacts(
        name="tried", config=config, cameras=("observation.images.a", "observation.images.b"), joints=JOINTS,
        state_mean=(0.0,) * JOINTS, state_std=(1.0,) * JOINTS, task="fold_the shirt", fps=50,
    )  # fmt: skip


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of characters."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<unk>": 1, **{chr(code): code for code in range(32, 127)}, "\n": 2}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    folder = tmp_path_factory.mktemp("words")
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """LeRobot's pi05 with one narrow layer in each of its parts."""
    from lerobot.policies.pi05 import modeling_pi05

    def small(_variant: str) -> Any:
        return modeling_pi05.GemmaConfig(width=16, depth=1, mlp_dim=16, num_heads=2, num_kv_heads=1, head_dim=8)

    real = modeling_pi05.PaliGemmaForConditionalGenerationWithPiGemma

    def paligemma(config: Any) -> Any:
        config.text_config.vocab_size = 128
        config.vision_config.update(
            {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 16}
        )
        return real(config)

    monkeypatch.setattr(modeling_pi05, "get_gemma_config", small)
    monkeypatch.setattr(modeling_pi05, "PaliGemmaForConditionalGenerationWithPiGemma", paligemma)


def seen(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (count, 2, 3, SIZE, SIZE), dtype=torch.uint8, generator=chance)
    return pictures, torch.randn(count, JOINTS, generator=chance)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_pi05_is_a_backbone(words: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    options = {"image_resolution": [SIZE, SIZE], "tokenizer_max_length": 60}
    model = build_estimator(facts(tokenizer=str(words), options=options), seed=0)
    assert model.backbone.prompts(torch.tensor([[0.0, -9.0, 9.0]])) == [
        "Task: fold the shirt, State: 128 0 255;\nAction: "
    ]
    pictures, state = seen(3)
    with torch.no_grad():
        together = model.encode(pictures, state)
        alone = model.encode(pictures[1:2], state[1:2])
        other = model.encode(255 - pictures, state)
        moved = model.encode(pictures, state + 1)
        assert torch.equal(model.encode(pictures, state), together)  # no noise
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=0)
    assert (other - together).abs().max() > 1e-4 and (moved - together).abs().max() > 1e-4
    model(pictures, state, torch.tensor([0, 1]), torch.tensor([2, 0])).sum().backward()
    idle = [name for name, one in model.named_parameters() if one.requires_grad and one.grad is None]
    assert idle == []  # processes that train together would wait for what never comes
    assert not any("expert." in name and "gemma_expert" in name for name, _ in model.named_parameters())
    save_estimator(model, tmp_path)
    again = load_estimator(tmp_path)
    assert again.facts == model.facts
    with torch.no_grad():
        assert torch.equal(again.encode(pictures, state), together)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("frozen", "some"), [("vision", True), ("all", False)])
def test_what_is_frozen_does_not_learn(words: Path, frozen: str, some: bool) -> None:
    options = {"image_resolution": [SIZE, SIZE]}
    model = build_estimator(facts(tokenizer=str(words), options=options, frozen=frozen), seed=0)
    learning = {name for name, one in model.named_parameters() if one.requires_grad}
    assert not any("vision_tower" in name for name in learning)
    assert any("language_model" in name for name in learning) is some
    assert any(name.startswith("value_head") for name in learning)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"options": {"no_such": 1}}, "'no_such' is unknown to LeRobot's pi05"),
        ({}, r"the tokenizer 'google/paligemma-3b-pt-224' cannot be had .*model\.tokenizer"),
        ({"backbone": "smolvla"}, r"the tokenizer 'HuggingFaceTB/SmolVLM2-500M-Video-Instruct' cannot be had"),
        ({"backbone": "small", "pretrained": "some/where"}, "'small' has no 'pretrained'"),
    ],
)
def test_what_cannot_be_had_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_estimator(facts(**changes), seed=0)
