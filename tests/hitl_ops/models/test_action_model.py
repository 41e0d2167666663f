"""LeRobot's policies beside our transformers."""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_pi_policies_get_their_masks_from_our_transformers() -> None:
    import torch
    from lerobot.policies import pi_gemma
    from transformers import DynamicCache, GemmaConfig
    from transformers.masking_utils import create_causal_mask

    from hitl_ops.models.action_model import policy_class

    assert policy_class("pi0").name == "pi0"
    assert policy_class("pi05").name == "pi05"  # and again: what was mended stays mended once
    shape = GemmaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    shape._attn_implementation = "eager"
    told = {"config": shape, "inputs_embeds": torch.zeros(1, 3, 8), "attention_mask": None, "past_key_values": None}
    theirs = pi_gemma.create_causal_mask(**told, cache_position=torch.arange(3), position_ids=torch.arange(3)[None])
    assert torch.equal(theirs, create_causal_mask(**told, position_ids=torch.arange(3)[None]))
    # Where it is in the cache is read off the cache.
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, 2, 8), torch.zeros(1, 1, 2, 8), 0)
    later = pi_gemma.create_causal_mask(**{**told, "past_key_values": cache}, cache_position=torch.arange(2, 5))
    assert later.shape == (1, 1, 3, 5)
    assert (later[0, 0] == 0).sum(dim=1).tolist() == [3, 4, 5]
