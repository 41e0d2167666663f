"""What is left of a task at one moment, and what stands between one agent and each of its jobs."""

from __future__ import annotations

from collections.abc import Sequence

from hitl_ops.contracts.action import Action
from hitl_ops.experts.supposition import Outcome, outcome_of
from hitl_ops.experts.task_jobs import Job
from hitl_ops.worlds.household.skills import choose_slot, refusal
from hitl_ops.worlds.household.world import HouseholdWorld


class WorkLeft:
    """The jobs not done, as one agent finds them; asked at once, for the home moves on.

    Args:
        world: the home; looked at, never changed.
        jobs: all jobs of the task.
        agent: who asks.

    Attributes:
        jobs: those not done, in their order.
        mine: those of them that are the agent's by the oracle's share.
        held: what the agent has in its hand.
        tools: what it can do.
    """

    def __init__(self, world: HouseholdWorld, jobs: Sequence[Job], agent: int) -> None:
        self.world = world
        self.state = world.state
        self.agent = agent
        self.tools = world.abilities[agent]
        self.held = self.state.facts.agents[agent].held
        self.holds = [predicate.holds(self.state.facts) for predicate in world.evaluation.predicates]
        self.jobs = [job for job in jobs if not all(self.holds[index] for index in job.propositions)]
        self.mine = [job for job in self.jobs if job.agent == agent]

    # --- whose turn it is -----------------------------------------------------------------------------------------

    def ready(self, job: Job) -> bool:
        """Whether everything that must come before has been done."""
        return all(self.holds[index] for index in job.before)

    def is_the_others(self, job: Job) -> bool:
        """Whether all that would do is in the other agent's hand."""
        objects = self.state.facts.objects
        return all(name in objects and objects[name].relation == "held" and name != self.held for name in job.subjects)

    def is_blocked(self, job: Job) -> bool:
        """Whether its object must not be put in its place yet: something comes first, or is to stand there first."""
        return not self.ready(job) or (bool(job.beside) and not self.places_beside(job))

    def waits_for_itself(self, job: Job) -> bool:
        """Whether what must come first is this agent's own to do."""
        if not self.is_blocked(job):
            return False
        first = {index for index in job.before if not self.holds[index]}
        return any(
            (first & set(other.propositions) or set(job.beside) & set(other.subjects)) and not self.is_the_others(other)
            for other in self.mine
            if other is not job
        )

    def may_be_done(self) -> bool:
        """Whether nothing is left of the agent's own share that it could still do something for."""
        return all(self.is_the_others(job) for job in self.mine)

    # --- what is missing ------------------------------------------------------------------------------------------

    def can_help(self, job: Job) -> bool:
        """Whether the agent can do anything for a job whose object it does not hold."""
        missing = self.missing_states(job)
        by_hand = self.held is None and self.wants_moving(job)
        if "Fill" in missing:
            return by_hand and "Fill" in self.tools
        return by_hand or any(tool in self.tools for tool in missing)

    def wants_moving(self, job: Job) -> bool:
        """Whether its object must be taken in the hand: it is not where it belongs, or has to be filled."""
        return "Fill" in self.missing_states(job) or any(
            not self.holds[index] for index in job.propositions if self.is_about_place(index)
        )

    def is_about_place(self, index: int) -> bool:
        """Whether a proposition speaks of where things are, not of their states."""
        return not self.world.evaluation.predicates[index].function_name.startswith(
            ("is_clean", "is_filled", "is_powered")
        )

    def missing_states(self, job: Job) -> list[str]:
        """Tools whose state none of the job's objects is in, or not all together."""
        facts = self.state.facts
        return [
            tool
            for tool, state, value in job.states
            if not any(
                facts.state(name, state) == value
                for name in ([self.held] if self.held in job.subjects else job.subjects)
            )
        ]

    def is_known(self, name: str) -> bool:
        """Whether the agent knows where something is that it could go to."""
        if name in self.state.furniture:
            return True
        belief = self.state.knowledge[self.agent].objects.get(name)
        return belief is not None and self.state.facts.objects[name].relation != "held"

    def may_be_moved(self, job: Job) -> bool:
        """Whether taking the job's object away from its place undoes nothing, or has to, and leads on."""
        return (self.wants_moving(job) or not job.moves) and not self.waits_for_itself(job)

    # --- where things belong --------------------------------------------------------------------------------------

    def places(self, job: Job) -> list[str]:
        """Furniture and floors on or in which the job's object would be where it belongs, as far as there is room."""
        # What it must stand beside may not be in its place yet: one may go there and wait.
        return self.places_beside(job) or list(
            dict.fromkeys(
                name for name, relation in self.wanted(job) if choose_slot(self.state, name, relation, None) is not None
            )
        )

    def places_beside(self, job: Job) -> list[str]:
        """Those of its places where there is room beside what it is to stand beside."""
        objects = self.state.facts.objects
        others = [name for name in job.beside if name in objects and objects[name].relation != "held"]
        return [
            name
            for name, relation in self.wanted(job)
            if any(choose_slot(self.state, name, relation, other) is not None for other in others)
        ]

    def wanted(self, job: Job) -> list[tuple[str, str]]:
        """The places the job asks for, and how its object is to be there."""
        if job.receptacles:
            return [(name, job.relation) for name in job.receptacles]
        floors = [(f"floor_{room}", "on") for room in job.rooms]
        if job.on_floor:
            return floors or [(f"floor_{room}", "on") for room in self.state.rooms]
        return floors + [
            (name, relation)
            for name, piece in self.state.furniture.items()
            if piece.room in job.rooms
            for relation in ("on", "within")
        ]

    # --- changing things ------------------------------------------------------------------------------------------

    def may_be_put_aside(self) -> bool:
        """Whether what is held is of no use in the hand now."""
        jobs = [job for job in self.jobs if self.held in job.subjects]
        return all(
            self.is_blocked(job)
            or not self.wants_moving(job)
            or not self.places(job)
            or ("Fill" in self.missing_states(job) and "Fill" not in self.tools)
            for job in jobs
        )

    def changes_well(self, action: Action, frees: bool) -> bool:
        """Whether a change would be allowed, gains something or frees the hand, and neither undoes nor forestalls."""
        if refusal(self.state, self.agent, action) is not None:
            return False
        outcome = self.outcome(action)
        if outcome.lost or any(outcome.gained & set(job.propositions) for job in self.jobs if not self.ready(job)):
            return False
        if action.tool != "Place":
            return bool(outcome.gained)
        return self.arrives(action.args[0], outcome) or (frees and not outcome.gained)

    def outcome(self, action: Action) -> Outcome:
        """What a change would make of the task's propositions."""
        return outcome_of(self.state, self.agent, action, self.world.evaluation.predicates, self.holds)

    def arrives(self, name: str, outcome: Outcome) -> bool:
        """Whether an object would be all that its job asks of its place."""
        jobs = [job for job in self.jobs if name in job.subjects]
        return any(
            all(
                self.holds[index] or index in outcome.gained for index in job.propositions if self.is_about_place(index)
            )
            and "Fill" not in self.missing_states(job)
            for job in jobs
            if job.moves
        )
