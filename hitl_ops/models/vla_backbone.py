"""The prefix of a LeRobot VLA as a backbone: pictures, prompt and state through its language model, pooled.

What would make actions of it (the expert, and the noise it begins with) is left out: the same frame always has the
same features.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.action_model import (
    ActionModelConfig,
    PolicyKind,
    lerobot_config,
    policy_class,
    pretrained_policy,
    quiet_lerobot,
)
from hitl_ops.records.lerobot_layout import ACTION, IMAGES, STATE, DatasetInfo, camera, vector

if TYPE_CHECKING:
    from hitl_ops.models.estimator_config import EstimatorConfig

TOKENIZER_FOLDER = "tokenizer"
_PALIGEMMA = "google/paligemma-3b-pt-224"
_BINS = 256
_REACH = 3.0
"""Standard deviations that pi05's bins of the state span, each way."""
_UNKNOWN_JOINTS = 1
"""A policy has a state in any case; one that is not looked at is always zero."""


class VlaPrefix(nn.Module):
    """See :class:`hitl_ops.models.frame_backbones.FrameBackbone`.

    Args:
        config: the estimator's.
        cameras: how many.
        joints: length of the state; 0: it is not looked at.
        task: what the prompt asks for.

    Raises:
        UserError: LeRobot does not know an option, or its library, tokenizer or weights cannot be had.
    """

    def __init__(self, config: EstimatorConfig, cameras: int, joints: int, task: str) -> None:
        super().__init__()
        kind: PolicyKind = "pi05" if config.backbone == "pi05" else "smolvla"
        self._kind, self._joints = kind, joints
        self._task = task.strip().replace("_", " ").replace("\n", " ")
        self._keys = [f"{IMAGES}camera_{number}" for number in range(cameras)]
        made = _config(config, kind, self._keys, joints)
        self._length = int(made.tokenizer_max_length)
        self.tokenizer = _tokenizer(config.tokenizer or (_PALIGEMMA if kind == "pi05" else made.vlm_model_name))
        policy = _policy(config, kind, made)
        for parameter in policy.parameters():
            parameter.requires_grad = config.frozen != "all"
        self.width = _keep_the_prefix(policy, kind, seeing=config.frozen == "none")
        self.policy = policy
        self.norm = nn.LayerNorm(self.width)

    def forward(self, pictures: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        """See :class:`~hitl_ops.models.frame_backbones.FrameBackbone`."""
        device = pictures.device
        felt = state if state is not None else torch.zeros(len(pictures), _UNKNOWN_JOINTS, device=device)
        batch = {key: pictures[:, number].float() / 255 for number, key in enumerate(self._keys)}
        tokens, told = self._tokens(felt)
        tokens, told = tokens.to(device), told.to(device)
        hidden, seen = (self._pi05 if self._kind == "pi05" else self._smolvla)(batch, tokens, told, felt)
        shares = seen.to(hidden.dtype).unsqueeze(-1)
        pooled: torch.Tensor = self.norm(((hidden * shares).sum(1) / shares.sum(1)).to(self.norm.weight.dtype))
        return pooled

    def keep(self, folder: Path) -> None:
        """Write what loading needs beside the weights."""
        self.tokenizer.save_pretrained(folder / TOKENIZER_FOLDER)

    def prompts(self, state: torch.Tensor) -> list[str]:
        """What the language model is told, as LeRobot words it for this kind of policy.

        Args:
            state: [B, joints], normalised.
        """
        if self._kind == "smolvla":
            return [f"{self._task}\n"] * len(state)
        if not self._joints:
            return [f"Task: {self._task};\nAction: "] * len(state)
        scaled = (state.detach().float().cpu().numpy() / _REACH).clip(-1, 1)
        bins = np.digitize(scaled, np.linspace(-1, 1, _BINS + 1)[:-1]) - 1
        return [f"Task: {self._task}, State: {' '.join(map(str, row))};\nAction: " for row in bins.tolist()]

    def _tokens(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        told = self.tokenizer(
            self.prompts(state), padding="max_length", max_length=self._length, truncation=True, return_tensors="pt"
        )
        return told["input_ids"], told["attention_mask"].bool()

    def _pi05(self, batch: dict[str, torch.Tensor], tokens: Any, told: Any, _felt: Any) -> tuple[Any, Any]:
        from lerobot.policies.common.vla_utils import make_att_2d_masks, prepare_attention_masks_4d

        model = self.policy.model
        pictures, shown = self.policy._preprocess_images(batch)
        parts, seen, ahead = model.embed_prefix(pictures, shown, tokens, told)
        model.paligemma_with_expert.paligemma.model.language_model.config._attn_implementation = "eager"
        (hidden, _), _ = model.paligemma_with_expert.forward(
            attention_mask=prepare_attention_masks_4d(make_att_2d_masks(seen, ahead)),
            position_ids=torch.cumsum(seen, dim=1) - 1,
            inputs_embeds=[parts, None],
            use_cache=False,
        )
        return hidden, seen

    def _smolvla(self, batch: dict[str, torch.Tensor], tokens: Any, told: Any, felt: Any) -> tuple[Any, Any]:
        from lerobot.policies.common.vla_utils import make_att_2d_masks

        model = self.policy.model
        pictures, shown = self.policy.prepare_images(batch)
        state = self.policy.prepare_state({STATE: felt})
        parts, seen, ahead = model.embed_prefix(pictures, shown, tokens, told, state=state)
        (hidden, _), _ = model.vlm_with_expert.forward(
            attention_mask=make_att_2d_masks(seen, ahead),
            position_ids=torch.cumsum(seen, dim=1) - 1,
            inputs_embeds=[parts, None],
            use_cache=True,  # without a cache to fill, layers would look across to an expert that is not asked
        )
        return hidden, seen


def _config(config: EstimatorConfig, kind: PolicyKind, keys: list[str], joints: int) -> Any:
    names = [f"joint_{number}" for number in range(joints or _UNKNOWN_JOINTS)]
    size = config.image_size
    features = {**{key: camera(size, size) for key in keys}, STATE: vector(names), ACTION: vector(names)}
    asked = ActionModelConfig(kind=kind, advantage="none", options=config.options)
    return lerobot_config(asked, DatasetInfo(fps=1, features=features), "cpu")


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="right")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the tokenizer '{name}' cannot be had ({reason})", "log in to the hub, or set model.tokenizer to a folder"
        ) from None
    if tokenizer.pad_token is None:
        raise UserError(f"the tokenizer '{name}' has no padding", "set model.tokenizer to that of the backbone")
    return tokenizer


def _policy(config: EstimatorConfig, kind: str, made: Any) -> Any:
    with quiet_lerobot():
        try:
            made.validate_features()
            known = policy_class(kind)
            return pretrained_policy(known, config.pretrained, made) if config.pretrained else known(made)
        except ImportError as error:
            raise UserError(f"backbone '{kind}' needs a library ({error})", "install the 'vla' extra") from None
        except (ValueError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"backbone '{kind}' cannot be made ({reason})", "check model.options") from None


def _keep_the_prefix(policy: Any, kind: str, *, seeing: bool) -> int:
    """Take out, or leave as it is, what the prefix does not pass through; returns the width of what comes out.

    Args:
        policy: LeRobot's.
        kind: of it.
        seeing: whether what sees learns.
    """
    model = policy.model
    if kind == "pi05":
        both = model.paligemma_with_expert
        whole, seer, text = both.paligemma, both.paligemma.model.vision_tower, both.paligemma.model.language_model
        both.gemma_expert = None
        for name in ("action_in_proj", "action_out_proj", "time_mlp_in", "time_mlp_out"):
            delattr(model, name)
    else:
        both = model.vlm_with_expert
        whole, seer, text = both.vlm, both.vlm.model.vision_model, both.vlm.model.text_model
        both.lm_expert.requires_grad_(False)
        for name in ("action_in_proj", "action_out_proj", "action_time_mlp_in", "action_time_mlp_out"):
            delattr(model, name)
    if whole.lm_head.weight is not text.get_input_embeddings().weight:
        whole.lm_head.requires_grad_(False)
    if not seeing:
        seer.requires_grad_(False)
    return int(text.config.hidden_size)
