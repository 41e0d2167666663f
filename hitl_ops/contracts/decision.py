"""What a policy chose, with everything needed to correct it or to train on it later."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.played_scene import PlayedScene, SceneKind

Role = Literal["human", "ai"]
EndedBy = Literal[
    "done", "step_limit", "decision_limit", "person", "time", "idle", "skip", "aborted", "budget", "error"
]
"""Why an episode ended: ``done`` to ``decision_limit`` by its rules, ``person`` to ``aborted`` in a session."""

DISTURBED = "disturbed"
"""Key in a decision's ``stats``: the action was drawn at random, not chosen by the policy; it teaches nothing."""


class Decision(BaseModel):
    """One choice of one agent, closed when its action ended.

    A correction trains on exactly the prompt stored here; nothing is ever reconstructed.
    """

    # A log-probability may be -inf, which JSON has no number for: written as a string, read back as a float.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    type: Literal["decision"] = "decision"
    index: int = Field(ge=0, description="position among all decisions of the episode, both agents")
    agent: int = Field(ge=0, description="agent number: 0 or 1")
    role: Role = Field(description="who drives this agent")
    policy_id: str = Field(description="the policy that acted; 'human:<participant>' for a person")
    sim_step: int = Field(ge=0, description="simulation step at which the choice was made")
    prompt: str = Field(description="what the policy saw, to the letter")
    admissible: list[str] = Field(description="every action the agent could have named at that moment")
    reply: str = Field(description="the policy's raw reply")
    action: str = Field(description="the action executed, as Tool[args]")
    response: str = Field(default="", description="the world's answer when the action ended")
    end_step: int = Field(default=0, ge=0, description="simulation step at which the action ended")
    percent_complete: float = Field(default=0.0, ge=0, le=1, description="task progress when the action ended")
    latency_ms: float = Field(default=0.0, ge=0, description="wall time the policy took to choose")
    world_graph: dict[str, Any] = Field(default_factory=dict, description="what the agent knew when it chose")
    stats: dict[str, float] = Field(
        default_factory=dict, description="policy statistics: logprob, entropy, tries, tokens"
    )


class EpisodeHeader(BaseModel):
    """First line of a trace."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["episode"] = "episode"
    format: Literal["flywheel-trace-1"] = "flywheel-trace-1"
    episode_id: str
    scene_id: str
    task_type: str
    split: str
    instruction: str
    seed: int
    roles: dict[int, Role]
    policies: dict[int, str] = Field(description="policy id per agent")
    world: str = Field(default="household", description="name of the world acted in")
    scene: SceneKind = Field(default="kinematic", description="what stood below it")
    scene_backend: str = Field(default="", description="what answered in that scene's process; empty: not told")
    scene_dataset: str = Field(default="", description="scene data set, by the path it was given by; empty: our homes")

    @property
    def played_scene(self) -> PlayedScene:
        """Which scene it was played in."""
        return PlayedScene(self.scene, self.scene_id, self.scene_backend, self.scene_dataset)


class EpisodeResult(BaseModel):
    """Last line of a trace; a trace without it is not finished."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["result"] = "result"
    percent_complete: float = Field(ge=0, le=1)
    success: bool
    sim_steps: int = Field(ge=0)
    replans: dict[int, int] = Field(description="decisions per agent")
    runtime_s: float = Field(ge=0)
    ended_by: EndedBy
    explanation: str = Field(default="", description="what was missing, in words, when not successful")
    state_hash: str = Field(default="", description="hash of the world's final state, for replay checks")
