"""A trained LeRobot policy as robots are served with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hitl_ops.contracts.advantage_prompt import split_advantage
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotSpec
from hitl_ops.records.lerobot_layout import ENVIRONMENT, IMAGES, STATE

if TYPE_CHECKING:
    from hitl_ops.models.action_model import ActionModel

INDICATORS = {True: 1.0, False: -1.0, None: 0.0}
"""What a policy without language is told: good, bad, nobody said."""
_MAX_BATCH = 64
_NOISE = 0x6D


class LeRobotPolicy:
    """Chooses chunks of actions with a LeRobot policy; see :class:`hitl_ops.models.robot_policy.RobotPolicy`.

    Args:
        model: the policy and its pipelines.
    """

    def __init__(self, model: ActionModel) -> None:
        self.spec: RobotSpec = model.facts.spec
        self.max_batch = _MAX_BATCH
        self.metadata: dict[str, Any] = {"task": model.facts.task, "conditioned": model.facts.advantage != "none"}
        if model.facts.advantage != "none":
            self.metadata["prompt"] = model.facts.style.prompt(model.facts.task, True)
            self.metadata["guidance"] = model.facts.guidance
        self._model = model
        self._guidance = model.facts.guidance

    def guide(self, guidance: float) -> None:
        """See :class:`~hitl_ops.models.robot_policy.CanBeGuided`."""
        if self._model.facts.advantage == "none":
            raise UserError("the policy was never told how good anything is", "leave guidance out")
        self._guidance = guidance
        self.metadata["guidance"] = guidance

    @classmethod
    def load(cls, weights: Path) -> Self:
        """Open a policy's weights, on the GPU where there is one.

        Raises:
            UserError: they are damaged.
        """
        import torch

        from hitl_ops.models.action_model import load_action_model

        return cls(load_action_model(weights, device="cuda" if torch.cuda.is_available() else "cpu"))

    def infer(self, observations: Sequence[dict[str, Any]]) -> list[Float32]:
        """See :class:`~hitl_ops.models.robot_policy.RobotPolicy`."""
        # In the very words of the training, whatever words it was asked in.
        style = self._model.facts.style
        prompts = [style.reworded(str(observation.get("prompt", ""))) for observation in observations]
        chunks = self._chunks(observations, prompts)
        if self._guided:
            # The same noise for both, so that they differ in nothing but what they are told.
            untold = self._chunks(observations, [split_advantage(prompt)[0] for prompt in prompts])
            chunks = untold + np.float32(self._guidance) * (chunks - untold)
        return list(chunks[:, : self.spec.action_horizon])

    def _chunks(self, observations: Sequence[dict[str, Any]], prompts: Sequence[str]) -> Float32:
        """Chunks of joint targets [B, horizon, dim] for observations that are told this."""
        import torch

        with torch.inference_mode(), torch.random.fork_rng(enabled=self._guided):
            if self._guided:
                torch.manual_seed(_NOISE)
            ready = self._model.before(self._batch(observations, prompts))
            chunks = self._model.after(self._model.policy.predict_action_chunk(ready))
        actions: Float32 = chunks.float().cpu().numpy()
        return actions

    @property
    def _guided(self) -> bool:
        return self._model.facts.advantage != "none" and self._guidance != 1.0

    def _batch(self, observations: Sequence[dict[str, Any]], prompts: Sequence[str]) -> dict[str, Any]:
        """Observations as LeRobot's pipelines take a batch."""
        import torch

        facts = self._model.facts
        batch: dict[str, Any] = {STATE: _stacked([one["state"] for one in observations])}
        around = [np.asarray(one.get("environment_state", ()), np.float32) for one in observations]
        if facts.advantage == "environment_state":
            levels = [np.float32(facts.style.level(prompt)) for prompt in prompts]
            around = [np.append(one, level) for one, level in zip(around, levels, strict=True)]
        if around[0].size:
            batch[ENVIRONMENT] = _stacked(around)
        for camera in self.spec.cameras:
            pictures = np.stack([np.asarray(one["images"][camera.name]) for one in observations])
            batch[IMAGES + camera.name] = torch.from_numpy(pictures).float() / 255
        if facts.advantage == "prompt":
            batch["task"] = list(prompts)
        else:
            batch["task"] = [split_advantage(prompt)[0] for prompt in prompts]
        return batch


def _stacked(vectors: Sequence[Any]) -> Any:
    import torch

    return torch.from_numpy(np.stack([np.asarray(vector, np.float32) for vector in vectors]))
