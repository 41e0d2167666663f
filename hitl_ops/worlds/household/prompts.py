"""What a planner reads: the sample text, in two dialects.

``incremental`` only ever grows: a prompt with its completion is a prefix of the agent's next prompt, so that a
language model keeps its cache from decision to decision and a trainer reads an episode once. What is newly
seen stands under the action that revealed it. ``snapshot`` is PARTNR's form: the environment is written anew at
every step, the history follows without what was seen.
"""

from __future__ import annotations

from typing import Literal

from hitl_ops.contracts.decision import Role
from hitl_ops.contracts.planner import HistoryEntry, Observation
from hitl_ops.contracts.sample import ACTION_MARKER, END_OF_ACTION
from hitl_ops.worlds.household.admissible import admissible_actions
from hitl_ops.worlds.household.tools import UNSEEN_BY_PARTNER
from hitl_ops.worlds.household.world import Finished, HouseholdWorld
from hitl_ops.worlds.household.world_text import furniture_text, object_lines, objects_text, world_text

PromptStyle = Literal["incremental", "snapshot"]

_HEADERS = (
    "You are Agent_0. You move things, open and close furniture. Agent_1 works beside you and also changes states.",
    "You are Agent_1. You move things, open and close furniture, and change states. Agent_0 works beside you.",
)
NEXT = f"Next Agent_Action:{ACTION_MARKER}"


class AgentView:
    """One agent's side of an episode: its growing prompt, its history, its admissible actions."""

    def __init__(
        self, world: HouseholdWorld, agent: int, style: PromptStyle = "incremental", role: Role = "ai"
    ) -> None:
        self.world = world
        self.agent = agent
        self.role = role
        self.style = style
        self.history: list[HistoryEntry] = []
        self._acting = False
        self._told: list[str] = []
        self._opening = f"{_HEADERS[agent]}\nTask: {world.episode.instruction}\nCurrent Environment:\n"
        world.state.knowledge[agent].take_news()
        self._log = [
            f"{self._opening}{furniture_text(world.state)}\n{objects_text(world.state, agent)}\nPrevious actions:\n"
        ]

    def finished(self, ended: Finished) -> None:
        """Take in that a skill of this agent, or one of its partner's that it is told of, has ended.

        What the partner did while this agent was acting is written under this agent's own result: a prompt and
        its completion must stay together for the next prompt to extend them.
        """
        if ended.agent != self.agent:
            if ended.action.tool not in UNSEEN_BY_PARTNER:
                self.history.append(HistoryEntry(ended.agent, str(ended.action), ended.response))
                line = f"Other_Agent_Action: {ended.action} {ended.response}\n"
                (self._told if self._acting else self._log).append(line)
            return
        names = self.world.state.knowledge[self.agent].take_news()
        news = object_lines(self.world.state, self.agent, names)
        self.history.append(HistoryEntry(self.agent, str(ended.action), ended.response, news))
        self._log.append(f"{NEXT}{ended.action}{END_OF_ACTION}\nAction Result: {ended.response}\n")
        if news:
            self._log.append(f"Objects:\n{news}\n")
        self._log += self._told
        self._told.clear()
        self._acting = False

    def gave_up(self) -> None:
        """Take in that nothing came of the choice last observed: what this agent was told since then is written now."""
        self._log += self._told
        self._told.clear()
        self._acting = False

    def prompt(self) -> str:
        """The text to continue; ends with the action marker."""
        if self.style == "incremental":
            return "".join([*self._log, NEXT])
        lines = [f"{self._opening}{world_text(self.world.state, self.agent)}\nPrevious actions:\n"]
        for entry in self.history:
            who = "Agent_Action" if entry.agent == self.agent else "Other_Agent_Action"
            lines.append(f"{who}: {entry.action}\nAction Result: {entry.response}\n")
        return "".join([*lines, NEXT])

    def observe(self) -> Observation:
        """Everything a planner may base this agent's next choice on; the agent acts from here on."""
        self._acting = True
        abilities = self.world.abilities[self.agent]
        return Observation(
            agent=self.agent,
            role=self.role,
            instruction=self.world.episode.instruction,
            prompt=self.prompt(),
            admissible=admissible_actions(self.world.state, self.agent, abilities),
            world_text=world_text(self.world.state, self.agent),
            history=list(self.history),
            knowledge=self.world.state.knowledge[self.agent],
            abilities=list(abilities),
        )
