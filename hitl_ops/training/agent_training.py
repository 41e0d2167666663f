"""Gradient steps of a vision-language agent between its games: imitation first, preference after.

A step's loss is the mean over all its rows, whatever share of them goes through the model at once, so that batch size
and accumulation are a matter of memory alone; only prompts' words, where they are a lesson too, are averaged within
each batch. The network is the one that answers: no dropout. Nothing in a step is
left to chance but the rows, which whoever gives them draws by the number of the step; a training that was cut off
therefore goes on to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.training.agent_config import AgentTrainConfig
from hitl_ops.training.agent_reference import References, StartWeights, answer_logprobs, encode_answers
from hitl_ops.training.agent_rows import AgentRow, BCRow, DPORow, Draw
from hitl_ops.training.checkpoint import Identity, LoopState, list_checkpoints, load_checkpoint, save_checkpoint
from hitl_ops.training.dpo import dpo_loss
from hitl_ops.training.optimization import build_optimizer, learning_rate_at
from hitl_ops.training.tracking import NullTracker, Tracker
from hitl_ops.training.train_log import TrainLog

if TYPE_CHECKING:
    from hitl_ops.models.vision_agent import VisionAgent
    from hitl_ops.models.vision_agent_rows import EncodedRow

START_FILE = "start.safetensors"
REFERENCES_FILE = "references.json"
CHECKPOINTS = "checkpoints"
LOG_FILE = "train_log.jsonl"


class AgentStep(BaseModel):
    """What a gradient step came to; a line of the log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int = Field(description="gradient steps of the phase, this one included")
    loss: float = Field(description="what was minimised, before the step")
    NLL: float = Field(description="negative log-likelihood of the expert's answers, nats per token")
    W_reward: float | None = Field(default=None, description="dpo: mean pay of the better answers")
    L_reward: float | None = Field(default=None, description="dpo: mean pay of the worse answers")
    margin: float | None = Field(default=None, description="dpo: W_reward less L_reward")
    accuracy: float | None = Field(
        default=None,
        description="dpo: share of pairs whose better answer is paid more; bc: share of tokens that were the likeliest",
    )
    learning_rate: float
    grad_norm: float = Field(description="before it was scaled down")
    rows: int = Field(description="rows of the step")
    seconds: float = Field(description="time the step took")


class AgentTrainer:
    """One phase of an agent's training; goes on from the newest checkpoint in its folder.

    Attributes:
        config: how.
        resumed_step: gradient steps that were done when it was opened.

    Args:
        agent: as the phase begins, also where a phase goes on; its weights are changed in place.
        config: how.
        folder: of this phase alone; gets ``start.safetensors``, ``checkpoints/`` and ``train_log.jsonl``.
        tracker: told figures.
        total: gradient steps of the whole phase, where the learning rate's schedule depends on it.

    Raises:
        UserError: the folder holds a phase of another agent or configuration, or something in it is damaged.
        CannotWrite: it cannot be written.
    """

    def __init__(
        self,
        agent: VisionAgent,
        config: AgentTrainConfig,
        folder: Path,
        tracker: Tracker | None = None,
        *,
        total: int = 0,
    ) -> None:
        if config.schedule != "constant" and not total:
            raise ValueError("a learning rate that falls needs to know how many steps there will be")
        folder.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(folder)
        self.config = config
        self._total = total
        self._agent, self._folder, self._tracker = agent, folder, tracker or NullTracker()
        start = StartWeights(folder / START_FILE, agent.model)
        self._optimizer = build_optimizer(agent.model, config.optimization)
        # At this point the agent is the one the phase begins with; its name covers what does not train, too.
        decisive = {**config.decisive(), "start": agent.policy_id, "dtype": agent.config.dtype}
        self._identity = Identity.of(decisive, start.digest, 1)
        checkpoints = folder / CHECKPOINTS
        found = load_checkpoint(checkpoints, agent.model, self._optimizer, self._identity)
        self._state = found or LoopState()
        known = list_checkpoints(checkpoints)[-1] / REFERENCES_FILE if found else None
        self._references = References(start, known)
        self.resumed_step = self._state.step
        self._log = TrainLog(folder / LOG_FILE, self.resumed_step)

    @property
    def step(self) -> int:
        """Gradient steps done in this phase."""
        return self._state.step

    def steps(self, draw: Draw, count: int | None = None) -> list[AgentStep]:
        """Do gradient steps.

        Args:
            draw: gives a step's rows.
            count: how many steps; by default ``config.gradient_steps``.

        Raises:
            UserError: there are no rows, or the loss became infinite.
            ValueError: the rows are of the other phase.
        """
        done, wanted = [], self.config.gradient_steps if count is None else count
        drawn = [draw(self.step + more, self.config.rows_per_step, self.config.seed) for more in range(wanted)]
        # The weights of the start take the place of today's once, not at every step.
        self.with_references([row for rows in drawn for row in rows if isinstance(row, DPORow)])
        for rows in drawn:
            done.append(self._step(rows))
            line = done[-1].model_dump(exclude_none=True)
            self._log.write(line)
            self._tracker.log_metrics({k: float(v) for k, v in line.items() if k != "step"}, self.step)
        return done

    def with_references(self, rows: Sequence[DPORow]) -> list[DPORow]:
        """Rows with what the agent found of their answers as the phase began; computed once for each pair.

        Steps do it by themselves for pairs they meet for the first time.
        """
        return self._references.of(self._agent, rows)

    def checkpoint(self) -> Path:
        """Publish where the training stands.

        Raises:
            CannotWrite: the disk is full.
        """
        self._log.sync()
        return save_checkpoint(
            self._folder / CHECKPOINTS,
            self._agent.model,
            self._optimizer,
            self._identity,
            self._state,
            keep_last=self.config.keep_last,
            beside=lambda folder: self._references.write(folder / REFERENCES_FILE),
        )

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _step(self, rows: Sequence[AgentRow]) -> AgentStep:
        began = time.perf_counter()
        if not rows:
            raise _nothing_to_learn()
        rate = learning_rate_at(self.step, self._total, self.config.optimization)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        figures = self._pairs(rows) if self.config.phase == "dpo" else self._answers(rows)
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm or math.inf))
        if not math.isfinite(norm) or not math.isfinite(figures["loss"]):
            raise UserError(f"the loss became {figures['loss']} at step {self.step + 1}", "lower learning_rate")
        self._optimizer.step()
        seconds = time.perf_counter() - began
        self._state = self._state.model_copy(
            update={
                "step": self.step + 1,
                "samples": self._state.samples + len(rows),
                "seconds": self._state.seconds + seconds,
                "train_loss": figures["loss"],
            }
        )
        return AgentStep(
            step=self.step, learning_rate=rate, grad_norm=norm, rows=len(rows), seconds=round(seconds, 4), **figures
        )

    def _answers(self, rows: Sequence[AgentRow]) -> dict[str, float]:
        """Gradients of behaviour cloning."""
        answers = [row for row in rows if isinstance(row, BCRow)]
        if len(answers) != len(rows):
            raise ValueError("behaviour cloning wants BCRows")
        weights = torch.tensor([row.weight for row in answers])
        encoded = [self._agent.encode(row.prompt, row.answer, row.task) for row in answers]
        tokens = torch.tensor([len(row.completion) for row in encoded])
        denominator = float((weights * tokens).sum())
        if not denominator:
            raise _nothing_to_learn()
        loss = nll = hits = 0.0
        for start in range(0, len(answers), self.config.batch_size):
            batch = slice(start, start + self.config.batch_size)
            weight = self.config.prompt_weight
            pictures = np.stack([row.picture for row in answers[batch]])
            scores = self._agent.logprobs(encoded[batch], pictures, with_prompts=weight > 0)
            part = -(scores.sums * weights[batch].to(scores.sums)).sum() / denominator
            nll += part.item()
            if scores.prompts is not None:
                part = part - weight * scores.prompts * (len(encoded[batch]) / len(answers))
            part.backward()
            loss += part.item()
            hits += scores.hits.sum().item()
        return {"loss": loss, "NLL": nll, "accuracy": hits / int(tokens.sum())}

    def _pairs(self, rows: Sequence[AgentRow]) -> dict[str, float]:
        """Gradients of DPO with the better answers' likelihood mixed in; answers without a worse one have only that."""
        config = self.config
        pairs = self.with_references([row for row in rows if isinstance(row, DPORow)])
        if len(pairs) != len(rows) and not config.agreements:
            raise ValueError("DPO wants DPORows")
        filled = iter(pairs)
        rows = [next(filled) if isinstance(row, DPORow) else row for row in rows]
        encoded = [encode_answers(self._agent, row) for row in rows]
        weights = torch.tensor([1.0 if isinstance(row, DPORow) else row.weight for row in rows])
        tokens = float((weights * torch.tensor([len(answers[0].completion) for answers in encoded])).sum())
        if not tokens:
            raise _nothing_to_learn()
        totals = torch.zeros(5, dtype=torch.float64)
        for start in range(0, len(rows), config.batch_size):
            batch = slice(start, start + config.batch_size)
            sums = answer_logprobs(self._agent, rows[batch], encoded[batch])
            better, chosen, rejected = _places(encoded[batch])
            known = [row for row in rows[batch] if isinstance(row, DPORow)]
            references = torch.tensor([[row.reference_winner, row.reference_loser] for row in known]).view(-1, 2)
            known_chosen, known_rejected = references.to(sums).unbind(1)
            terms = dpo_loss(
                sums[chosen], sums[rejected], known_chosen, known_rejected, config.dpo_beta, config.label_smoothing
            )
            # The batch's share in the step's loss: the step's pairs and tokens divide it, not the batch's.
            nll = -(sums[better] * weights[batch].to(sums)).sum() / tokens
            count = max(1, len(pairs))
            part = terms.losses.sum() / count + config.nll_weight * nll
            part.backward()
            means = [figure.sum() / count for figure in (terms.chosen_rewards, terms.rejected_rewards, terms.hits)]
            totals += torch.stack([part.detach(), nll.detach(), *means]).double().cpu()
        loss, nll_total, winner, loser, accuracy = totals.tolist()
        figures = {"loss": loss, "NLL": nll_total}
        if not pairs:
            return figures
        return figures | {"W_reward": winner, "L_reward": loser, "margin": winner - loser, "accuracy": accuracy}


def _places(encoded: Sequence[Sequence[EncodedRow]]) -> tuple[list[int], list[int], list[int]]:
    """Where, answers one after the other, the better ones stand; of pairs the better ones, and the worse ones."""
    firsts = np.cumsum([0, *(len(answers) for answers in encoded[:-1])]).tolist()
    chosen = [place for place, answers in zip(firsts, encoded, strict=True) if len(answers) == 2]
    return firsts, chosen, [place + 1 for place in chosen]


def _nothing_to_learn() -> UserError:
    return UserError("there is nothing to learn from", "play games in which the expert answers")


__all__ = ["AgentStep", "AgentTrainer", "BCRow", "DPORow"]
