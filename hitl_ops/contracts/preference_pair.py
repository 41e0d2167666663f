"""Two answers to one prompt, of which people prefer one."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PreferencePair(BaseModel):
    """What was corrected: at this prompt, ``chosen`` is better than ``rejected``.

    Prompt and completions are those of a :class:`~hitl_ops.contracts.sample.Sample`: the prompt ends where the
    completion begins, the completion with ``<end_act>``. The columns ``prompt``, ``chosen`` and ``rejected`` are the
    ones that trainers of direct preference optimisation read.
    """

    model_config = ConfigDict(extra="forbid")

    pair_id: str = Field(description="stable id: <episode>/<play>/<decision index>/pair")
    episode_id: str
    split: str
    scene_id: str
    task_type: str
    iteration: int = Field(ge=0)
    play_id: str
    step: int = Field(ge=0, description="decision index within the play")
    agent: int
    prompt: str
    chosen: str = Field(description="the correction")
    rejected: str = Field(description="what the policy chose")
    weight: float = Field(ge=0)
    policy_id: str = Field(description="the policy that chose what is rejected")
    trace: str = Field(description="file name of the play's trace")
    label_ids: str = Field(description="labels that say so, between commas")

    @model_validator(mode="after")
    def _two_answers(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected are the same")
        return self
