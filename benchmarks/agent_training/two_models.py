"""DPO with a frozen copy of the model as its reference and four forward passes a step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.training.agent_config import AgentTrainConfig
from hitl_ops.training.agent_rows import DPORow
from hitl_ops.training.dpo import dpo_loss, dpo_nll_loss, nll_per_token
from hitl_ops.training.optimization import build_optimizer, learning_rate_at


class TwoModels:
    """The policy and its frozen copy.

    Args:
        agent: as the phase begins.
        config: of the training.
    """

    def __init__(self, agent: VisionAgent, config: AgentTrainConfig) -> None:
        self._agent, self._config = agent, config
        self._reference = copy.deepcopy(agent.model).requires_grad_(False)
        self._optimizer = build_optimizer(agent.model, config.optimization)
        self._done = 0

    def step(self, rows: Sequence[DPORow]) -> float:
        """One gradient step over one batch; returns its loss."""
        config = self._config
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate_at(self._done, 0, config.optimization)
        self._optimizer.zero_grad(set_to_none=True)
        chosen, tokens = self._logprobs(self._agent.model, rows, 0)
        rejected, _ = self._logprobs(self._agent.model, rows, 1)
        with torch.no_grad():
            known_chosen, _ = self._logprobs(self._reference, rows, 0)
            known_rejected, _ = self._logprobs(self._reference, rows, 1)
        terms = dpo_loss(chosen, rejected, known_chosen, known_rejected, config.dpo_beta, config.label_smoothing)
        loss = dpo_nll_loss(terms, nll_per_token(chosen, tokens), config.nll_weight)
        loss.backward()
        parameters = list(self._agent.trainable_parameters().values())
        torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm or float("inf"))
        self._optimizer.step()
        self._done += 1
        return loss.item()

    def _logprobs(self, model: Any, rows: Sequence[DPORow], answer: int) -> tuple[Tensor, Tensor]:
        """One forward pass through the whole of a model: sums [N] of an answer's log-probabilities, and its tokens."""
        encoded = [self._agent.encode(row.prompt, row.answers[answer], row.task) for row in rows]
        queries = [model.config.image_token_index] * model.config.num_query_tokens
        ids, ids_mask = _padded([[*queries, *row.prompt, *row.completion] for row in encoded])
        task, task_mask = _padded([row.task for row in encoded])
        pictures = torch.from_numpy(np.stack([row.picture for row in rows])).permute(0, 3, 1, 2)
        logits = model(
            pixel_values=pictures.float().div_(127.5).sub_(1.0),
            qformer_input_ids=task,
            qformer_attention_mask=task_mask,
            input_ids=ids,
            attention_mask=ids_mask,
            use_cache=False,
        ).logits
        logprobs = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        before = torch.tensor([len(queries) + len(row.prompt) for row in encoded])
        tokens = torch.tensor([len(row.completion) for row in encoded])
        place = torch.arange(1, ids.shape[1])
        said = (place >= before[:, None]) & (place < (before + tokens)[:, None])
        return (logprobs * said).sum(1), tokens


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of one length, padded on the right, and where they are real."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()
