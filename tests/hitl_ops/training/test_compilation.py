"""Compiled parts compute what they computed before."""

from __future__ import annotations

import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.compilation import compile_layers


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    )


def test_without_a_compiler_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="compiler"):
        compile_layers(model())


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler here")
def test_compiled_layers_agree() -> None:
    plain, compiled = model(), model()
    assert compile_layers(compiled) == 1 + 3  # one feed-forward part, three norms
    for length in (5, 9):
        tokens = torch.arange(length)[None] % 20
        torch.testing.assert_close(compiled(tokens).logits, plain(tokens).logits, rtol=1e-4, atol=1e-5)
