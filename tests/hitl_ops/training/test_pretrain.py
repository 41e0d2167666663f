"""Plain language modelling: learns the texts, resumes exactly, and its model is a base like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.pretrain import PretrainConfig, pretrain
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig
from hitl_ops.training.train_log import read_log

TEXTS = [f"Task: Bring the mug_{n} to the desk_1.\nNext Agent_Action:<act>Pick[mug_{n}]<end_act>" for n in range(12)]
TINY = {"hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 2, "intermediate_size": 24, "vocab_size": 500}


def config(**changes: object) -> PretrainConfig:
    plain = {"tiny": TINY, "max_steps": 20, "batch_size": 6, "learning_rate": 1e-2, "device": "cpu"}
    return PretrainConfig.model_validate({**plain, **changes})


@pytest.mark.slow
def test_pretraining_learns_and_gives_a_base(
    tmp_path: Path, samples_file: Callable[..., Path], config_of: Callable[..., TrainConfig]
) -> None:
    summary = pretrain(config(), TEXTS, tmp_path / "language")
    log = read_log(tmp_path / "language" / "train_log.jsonl")
    assert summary.steps == 20 and summary.texts == 12
    assert summary.train_loss is not None and summary.train_loss < 0.6 * log[0]["loss"]
    assert train(config_of(base=str(tmp_path / "language" / "model")), samples_file(), tmp_path / "policy").finished


def test_pretraining_resumes_to_the_bit(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if done == 4:
            raise Stop

    shape = config(max_steps=6, checkpoint_every=2)
    pretrain(shape, TEXTS, tmp_path / "straight")
    with pytest.raises(Stop):
        pretrain(shape, TEXTS, tmp_path / "stopped", stop)
    assert not (tmp_path / "stopped" / "model").exists()
    pretrain(shape, TEXTS, tmp_path / "stopped")
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("straight", "stopped"))
    assert one.read_bytes() == other.read_bytes()


def test_long_texts_are_cut_and_every_token_is_learnt_once_an_epoch(tmp_path: Path) -> None:
    long = [" ".join(TEXTS)]
    summaries = [
        pretrain(
            config(max_steps=None, epochs=1, max_length=length, validation_fraction=0), long, tmp_path / str(length)
        )
        for length in (1000, 16)
    ]
    assert summaries[0].tokens - 1 <= summaries[1].tokens <= summaries[0].tokens
    assert summaries[1].steps > summaries[0].steps


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty"):
        pretrain(config(), ["", ""], tmp_path / "language")
