"""One training example, with its weight and where it came from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Source = Literal["distilled", "human_gold", "expert", "dagger"]

END_OF_ACTION = "<end_act>"
ACTION_MARKER = "<act>"


class Sample(BaseModel):
    """A prompt, the completion to learn and what it counts.

    ``prompt`` ends with ``Next Agent_Action:<act>``; ``completion`` is ``Pick[mug_1]<end_act>``.
    """

    model_config = ConfigDict(extra="forbid")

    sample_id: str = Field(description="stable id: <episode>/<decision index>/<source>")
    episode_id: str
    split: str
    scene_id: str
    task_type: str
    step: int = Field(ge=0, description="decision index within the episode")
    agent: int
    source: Source
    iteration: int = Field(ge=0)
    prompt: str
    completion: str
    weight: float = Field(ge=0)
    policy_id: str = Field(description="who acted when the sample was recorded")
    trace: str = Field(description="file name of the trace the sample was cut from")
    label_id: str = Field(default="", description="labels that made it, for corrections; several between commas")
