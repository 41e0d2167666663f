"""Everything about a collection server that may be set: one model, every field with its reason."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat.config import SceneConfig
from ui_collect.web_settings import WebSettings


class CollectSettings(WebSettings):
    """A collection server."""

    capacity: int = Field(default=10, ge=1, le=1000, description="people who may play at once; the others wait")
    workers: int = Field(default=0, ge=0, le=256, description="simulation processes; 0: cores less one, at least one")
    partner: str = Field(
        default="serving",
        description="who the partner is: serving (the registry's alias), oracle, none, or a policy folder",
    )
    policy_poll_s: float = Field(default=5.0, gt=0, le=3600, description="seconds between looks at the policy's alias")
    decision_limit: int = Field(default=50, ge=1, le=10_000, description="decisions the partner has in one episode")
    scene: SceneConfig = Field(default=SceneConfig(), description="what the homes are played in")

    episodes: str = Field(default="", description="episode file people play instead, ours or PARTNR's (json.gz)")
    episodes_split: str = Field(default="train", pattern="^(train|val|test)$", description="episodes people play")
    task_order: Literal["shuffled", "file"] = Field(
        default="shuffled",
        description="among the tasks played least: an order of each iteration's own, or that of the episode file",
    )
    follow: bool = Field(
        default=False,
        description="once another iteration is opened, whoever joins plays for that one, whatever they were invited to",
    )
    target: int = Field(default=100, ge=1, description="finished episodes that an iteration is to collect")
    tasks_per_session: int = Field(default=5, ge=1, le=1000, description="tasks after which a session says thanks")
    attempts: int = Field(default=3, ge=1, le=10, description="attempts one person has at one task")
    human_agent: Literal[0, 1, "alternate"] = Field(
        default=0,
        description="agent the person drives, the partner drives the other; alternate: now one, now the other, from "
        "task to task, so that people show both agents' parts",
    )

    idle_warning_s: float = Field(default=90.0, gt=0, description="seconds without a sign before the warning")
    idle_end_s: float = Field(default=180.0, gt=0, description="seconds without a sign before the session ends")
    reconnect_within_s: float = Field(default=600.0, gt=0, description="seconds a person may be away before the end")
    queue_grace_s: float = Field(default=30.0, ge=0, description="seconds a place in the queue is kept while away")

    hello_within_s: float = Field(default=5.0, gt=0, description="seconds a new connection has to name its session")
    messages_per_s: float = Field(default=60.0, gt=0, description="messages a second one connection may send")
    message_burst: int = Field(default=120, ge=1, description="messages it may send at once")
    bad_messages: int = Field(default=20, ge=1, description="refused messages after which a connection is closed")
    send_queue: int = Field(default=64, ge=4, description="keyframes waiting for a slow client before they are dropped")

    def checked(self) -> Self:
        """The settings themselves, if they fit together; options are laid over them one by one, so this comes last.

        Raises:
            UserError: they do not.
        """
        super().checked()
        if self.idle_warning_s >= self.idle_end_s:
            raise UserError(
                f"people would be warned after {self.idle_warning_s:g} s and let go after {self.idle_end_s:g} s",
                "set idle_warning_s to less than idle_end_s",
            )
        return self
