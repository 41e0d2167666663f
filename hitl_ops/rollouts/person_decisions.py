"""What a person does, as the decisions a policy would have had to make.

A person walks with the keys and acts with a click; a planner says ``Navigate[table_2]``, then ``Pick[mug_1]``. So that
a person's play teaches a planner, the walking between two acts is written as the choice it amounts to, with the
prompt of the moment the walking began:

- ``Navigate[target]``, where the target is what the act is about (for ``Place`` the furniture or room, for filling
  something in the hand the faucet), and could have been named when the walking began;
- ``Explore[room of the target]`` and then ``Navigate[target]``, where the target was first seen on the way;
- ``Explore[room the person stands in]``, where the act is about no place, or about one out of reach, but something
  new was seen on the way;
- nothing, where the person is still at the place last navigated to or acted at, or nothing new was seen.

A ``Navigate`` or ``Explore`` by name that the person breaks off counts as walking from its beginning; it stays among
the decisions with the answer ``Interrupted.``, which no sample is made of.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from hitl_ops.contracts.action import Action, parse_action
from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.planner import Observation
from hitl_ops.worlds.household.layout import REACH
from hitl_ops.worlds.household.prompts import AgentView
from hitl_ops.worlds.household.tools import SUCCESS
from hitl_ops.worlds.household.world import Finished, HouseholdWorld

INTERRUPTED = "Interrupted."
"""Answer to an action that its agent, or whoever decides for it, broke off."""
BY_HAND = "by_hand"
"""Key in a decision's ``stats``: the person did it with the keys instead of naming it."""

# What people write goes into both agents' prompts: only what names and numbers are made of is let through.
_READABLE = re.compile(r"\s*[A-Za-z]{1,32}\s*\[[A-Za-z0-9_ .,'~-]*\]\s*")
_ABOUT_FIRST = ("Pick", "Open", "Close", "Clean", "Fill", "Pour", "PowerOn", "PowerOff")


def readable_action(text: str) -> Action | None:
    """The action a text names; None where it is not of the form ``Tool[args]`` or holds other than plain names."""
    return parse_action(text) if _READABLE.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Choice:
    """What an agent could base a choice on at one moment.

    Attributes:
        step: the moment, as simulation step.
        prompt: what a policy would have read.
        admissible: what could be named.
        world_graph: what the agent knew.
    """

    step: int
    prompt: str
    admissible: list[str]
    world_graph: dict[str, Any]

    @classmethod
    def of(cls, world: HouseholdWorld, observation: Observation) -> Choice:
        """The choice an observation offers."""
        graph = world.state.knowledge[observation.agent].graph()
        return cls(world.step, observation.prompt, observation.admissible, graph)


class PersonDecisions:
    """Turns one person's keys and acts into decisions, in the order a planner would have made them.

    Args:
        world: where the person acts.
        view: the person's side of it.
        decisions: the episode's decisions, which this appends to.
        policy_id: who the person is, in every decision.
    """

    def __init__(self, world: HouseholdWorld, view: AgentView, decisions: list[Decision], policy_id: str) -> None:
        self._world = world
        self._view = view
        self._agent = view.agent
        self._decisions = decisions
        self._policy_id = policy_id
        self._open: Decision | None = None
        self._walk: Choice | None = None
        self._moved_meanwhile = False
        self._place: str | None = None
        self._heading_for: str | None = None

    @property
    def current_action(self) -> str:
        """The act under way, as ``Tool[args]``; empty where there is none."""
        return "" if self._open is None else self._open.action

    # --- what the session tells -----------------------------------------------------------------------------

    def moving(self) -> None:
        """The person is about to take a step with the keys."""
        if self._world.busy(self._agent):
            self._moved_meanwhile = True
        elif self._walk is None:
            self._walk = Choice.of(self._world, self._view.observe())

    def begin(self, text: str) -> Decision:
        """Take in an act, before the world does; an act still under way must have been interrupted before."""
        action = readable_action(text) or Action("Wait")
        self._end_walk(action)
        choice = Choice.of(self._world, self._view.observe())
        self._open = self._decide(choice, action, reply=text)
        target = self._target(action)
        self._heading_for = None if target is None else self._place_of(target)
        if action.tool in ("Navigate", "Explore", "Rearrange"):
            self._place = None
            if action.tool == "Navigate":
                self._heading_for = self._place_of(action.args[0]) if action.args else None
        return self._open

    def interrupt(self) -> Decision | None:
        """The person breaks off what is under way; returns the decision that ends so, None where there is none.

        The world is told by the caller, afterwards.
        """
        broken, self._open = self._open, None
        if broken is None:
            return None
        self._close(broken, INTERRUPTED)
        if self._world.walking(self._agent) or self._moved_meanwhile:
            # The log has not grown since, so the prompt of that moment still is the prompt.
            self._walk = Choice(broken.sim_step, broken.prompt, broken.admissible, broken.world_graph)
        else:
            self._view.gave_up()
        self._moved_meanwhile = False
        return broken

    def finished(self, ended: Finished) -> None:
        """An act of the person has ended; its view has been told."""
        if self._open is not None:
            self._close(self._open, ended.response)
            self._open = None
        if ended.response == SUCCESS and self._heading_for is not None:
            self._place = self._heading_for
        if self._moved_meanwhile:
            self._moved_meanwhile = False
            self._walk = Choice.of(self._world, self._view.observe())

    def says_done(self) -> Decision:
        """The person says that nothing is left to do: the last choice of the play."""
        done = Action("Done")
        self._end_walk(done)
        decision = self._decide(Choice.of(self._world, self._view.observe()), done, reply=str(done))
        self._close(decision, SUCCESS)
        return decision

    # --- walking --------------------------------------------------------------------------------------------

    def _end_walk(self, action: Action) -> None:
        """Write the walking that led to an act, as said on top of this page."""
        walk, self._walk = self._walk, None
        if walk is None:
            return
        target = self._target(action)
        if target is not None and self._is_near(target):
            navigate = Action("Navigate", (target,))
            if str(navigate) in walk.admissible:
                if self._place == self._place_of(target):
                    self._view.gave_up()
                else:
                    self._walked(walk, navigate)
                return
            self._walked(walk, Action("Explore", (self._room_of(target),)))
            self._walked(Choice.of(self._world, self._view.observe()), navigate)
        elif self._world.state.knowledge[self._agent].has_news:
            body = self._world.state.facts.agents[self._agent]
            self._walked(walk, Action("Explore", (self._world.scene.room_at(body.x, body.z),)))
        else:
            self._view.gave_up()

    def _walked(self, choice: Choice, action: Action) -> None:
        decision = self._decide(choice, action, reply=str(action))
        decision.stats[BY_HAND] = 1.0
        self._view.finished(Finished(self._agent, action, SUCCESS, choice.step, self._world.step))
        self._close(decision, SUCCESS)
        self._place = self._place_of(action.args[0]) if action.tool == "Navigate" else None

    def _target(self, action: Action) -> str | None:
        """What one would navigate to for an action; None where there is no such place."""
        state = self._world.state
        held = state.facts.agents[self._agent].held
        name: str | None = None
        if action.tool in _ABOUT_FIRST and action.args:
            name = action.args[0]
            if name == held:
                name = self._faucet() if action.tool == "Fill" else None
        elif action.tool == "Place" and len(action.args) == 5:
            name = action.args[2].removeprefix("floor_")
        if name in state.furniture or name in state.rooms:
            return name
        if name is None or name not in state.knowledge[self._agent].objects:
            return None
        return None if state.facts.objects[name].relation == "held" else name

    def _faucet(self) -> str | None:
        """The nearest furniture that gives water here; None where none does."""
        body = self._world.state.facts.agents[self._agent]
        near = [
            (math.hypot(body.x - piece.position[0], body.z - piece.position[2]), name)
            for name, piece in self._world.state.furniture.items()
            if piece.has_faucet
        ]
        distance, name = min(near, default=(math.inf, ""))
        return name if distance <= REACH else None

    def _is_near(self, target: str) -> bool:
        state = self._world.state
        if target in state.rooms:
            body = state.facts.agents[self._agent]
            return self._world.scene.room_at(body.x, body.z) == target
        return state.within_reach(self._agent, target)

    def _place_of(self, target: str) -> str | None:
        """Where a navigation to a target ends: a piece of furniture or a floor; None for what nobody knows."""
        state = self._world.state
        if target in state.furniture:
            return target
        if target.removeprefix("floor_") in state.rooms:
            return f"floor_{target.removeprefix('floor_')}"
        thing = state.facts.objects.get(target)
        return None if thing is None or thing.relation == "held" else thing.parent

    def _room_of(self, target: str) -> str:
        state = self._world.state
        return target if target in state.rooms else state.facts.room_of(target) or target

    # --- writing --------------------------------------------------------------------------------------------

    def _decide(self, choice: Choice, action: Action, reply: str) -> Decision:
        decision = Decision(
            index=len(self._decisions),
            agent=self._agent,
            role="human",
            policy_id=self._policy_id,
            sim_step=choice.step,
            prompt=choice.prompt,
            admissible=choice.admissible,
            reply=reply,
            action=str(action),
            world_graph=choice.world_graph,
        )
        self._decisions.append(decision)
        return decision

    def _close(self, decision: Decision, response: str) -> None:
        decision.response = response
        decision.end_step = self._world.step
        decision.percent_complete = self._world.percent_complete
