"""What a training left becomes a policy that plays, with a card that names what made it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.sample import Sample
from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig
from hitl_ops.samples.parquet import read_manifest, write_samples
from hitl_ops.samples.provenance import read_provenance
from hitl_ops.training.publish_policy import publish_policy
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig

MADE: dict[str, Any] = {"program": "planner", "iteration": 3, "dtype": "float32", "code_version": "abc"}


@pytest.mark.slow
def test_a_training_becomes_a_policy_that_plays(
    tmp_path: Path,
    rows_of_household: Callable[..., list[dict[str, Any]]],
    config_of: Callable[..., TrainConfig],
) -> None:
    rows = rows_of_household()
    samples, out = tmp_path / "samples.parquet", tmp_path / "policy"
    mixed = [
        Sample.model_validate({**row, "source": "expert" if number < 2 else "distilled"})
        for number, row in enumerate(rows)
    ]
    write_samples(samples, mixed, prompt_style="snapshot")
    trained = train(config_of(), samples, out)
    policy = publish_policy(trained, samples, out, **MADE)

    card = PolicyCard.model_validate_json((out / "card.json").read_text())
    assert card == policy.card
    assert card.sample_counts == {"distilled": len(rows) - 2, "expert": 2}
    assert (card.parent, card.prompt_style, card.iteration) == ("tiny", "snapshot", 3)
    assert (card.samples_hash, card.config) == (read_manifest(samples).hash, trained.config)
    assert card.metrics["train_loss"] == trained.train_loss and len(card.metrics) == 3
    assert policy.merged.method == "lora" and policy.merged.max_logit_difference <= 1e-4
    assert PlannerLM.load(out, PlannerLMConfig(device="cpu")).policy_id == card.policy_id
    assert card.policy_id.startswith("planner-003-")
    provenance = read_provenance(out)
    assert provenance.num_rows == len(rows) and provenance["source"].to_pylist()[:3] == [
        "expert",
        "expert",
        "distilled",
    ]
    assert provenance["sample_id"].to_pylist() == [one.sample_id for one in mixed]
    other_code = publish_policy(trained, samples, out, **{**MADE, "code_version": "abd"})
    assert other_code.card.policy_id != card.policy_id

    # An older card is gone before other weights could lie beside it.
    (out / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"adapter_model\.safetensors"):
        publish_policy(trained, samples, out, **MADE)
    assert not (out / "card.json").exists()


@pytest.mark.slow
def test_a_policy_that_was_started_from_is_named_by_its_id(
    tmp_path: Path,
    rows_of_household: Callable[..., list[dict[str, Any]]],
    config_of: Callable[..., TrainConfig],
) -> None:
    samples = tmp_path / "samples.parquet"
    write_samples(samples, map(Sample.model_validate, rows_of_household()), prompt_style="incremental")
    first = publish_policy(train(config_of(), samples, tmp_path / "first"), samples, tmp_path / "first", **MADE).card
    assert first.parent == "tiny"
    again = config_of(base=str(tmp_path / "first" / "merged"))
    trained = train(again, samples, tmp_path / "second")
    second = publish_policy(trained, samples, tmp_path / "second", **{**MADE, "iteration": 4}).card
    assert second.parent == first.policy_id
    named = publish_policy(trained, samples, tmp_path / "second", **MADE, parent="planner-002-0123456789").card
    assert named.parent == "planner-002-0123456789" and named.policy_id != second.policy_id
