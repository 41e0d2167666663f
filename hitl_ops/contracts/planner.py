"""What stands between a world and whoever chooses the actions: observation in, reply out.

Experts, trained policies and people's stand-ins all answer to :class:`Planner`; whoever runs episodes needs to
know nothing else about them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from hitl_ops.contracts.decision import Role
    from hitl_ops.contracts.episode import Episode


class HistoryEntry(NamedTuple):
    """One action that has ended, as an agent remembers it.

    Attributes:
        agent: who acted; the agent's own number, or its partner's where it noticed the partner act.
        action: what was done, as ``Tool[args]``.
        response: the world's answer.
        news: the ``Objects:`` lines of what was newly learnt by it; empty where nothing was.
    """

    agent: int
    action: str
    response: str
    news: str = ""


@dataclass(slots=True)
class Observation:
    """Everything a planner may base one choice on.

    Attributes:
        agent: agent number, 0 or 1.
        role: who drives this agent, ``"human"`` or ``"ai"``.
        instruction: the task in natural language.
        prompt: the text a language policy continues; ends with the action marker.
        admissible: every action the agent may name now, as ``Tool[args]``; never empty.
        world_text: the world as this agent knows it now, rendered as text.
        history: this agent's own actions of the episode and those of its partner that it noticed, oldest first.
        knowledge: the agent's knowledge of the world, in the world's own type; None where there is none.
        abilities: names of the tools this agent has, whether or not they can be used now.
    """

    agent: int
    role: Role
    instruction: str
    prompt: str
    admissible: list[str]
    world_text: str = ""
    history: list[HistoryEntry] = field(default_factory=list)
    knowledge: Any = None
    abilities: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Reply:
    """One choice of a planner.

    Attributes:
        text: the raw reply, as the planner gave it.
        action: the action chosen, one of the observation's admissible ones.
        latency_ms: wall time the planner took to choose, milliseconds.
        stats: figures about the choice (log-probability, entropy, tokens, tries).
    """

    text: str
    action: str
    latency_ms: float = 0.0
    stats: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Planner(Protocol):
    """Chooses actions, one at a time."""

    @property
    def policy_id(self) -> str:
        """Names who chooses, in every record."""

    def start(self, episode: Episode, world: Any) -> None:
        """Begin an episode.

        Args:
            episode: the task instance about to be played.
            world: the world it is played in; only privileged experts may look into it.
        """

    def decide(self, observation: Observation) -> Reply:
        """Choose one of ``observation.admissible``."""
