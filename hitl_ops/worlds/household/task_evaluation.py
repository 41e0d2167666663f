"""How far a task has come: PARTNR's percent complete, success, and what is missing in words.

A task is scored over the states of its propositions, one state for every step. As upstream scores it
(arXiv 2411.00081; ``evaluation_functions.py``), a proposition holds at a step if it is true and is evaluated,
that is, if all its dependencies are met; a dependency looks at whether the propositions it names *held*. In a chain
(c after b, b after a) c therefore waits for the b that came after a, not for a b that was true by accident before.

Unlike upstream, which looks dependencies up in the states before the current one, ours count the current step in.
A state then depends on the facts alone and not on how many steps passed since they changed, so that it is enough
to look when they change, and a task whose last step is gated is complete at that step and not one later.
"""

from __future__ import annotations

from hitl_ops.contracts.episode import Episode
from hitl_ops.worlds.household import task_wording
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.predicates import Bindings, Predicate
from hitl_ops.worlds.household.task_constraints import (
    NOT_SATISFIED,
    Breach,
    order_breaches,
    share_among_copies,
    tie_breaches,
)
from hitl_ops.worlds.household.task_definition import ArgumentTie, Gate, TemporalOrder, Terminal, define_task


class TaskEvaluation:
    """The score of one episode while it is played.

    The facts given to the constructor are the state of step 0.

    Args:
        episode: the task.
        facts: its home at the start.

    Raises:
        UserError: the task does not fit the home or contradicts itself; see ``define_task``.
    """

    def __init__(self, episode: Episode, facts: Facts) -> None:
        self._task = define_task(episode, facts)
        self._rooms = dict(facts.furniture_rooms)
        count = len(self._task.predicates)
        self._questions = tuple(predicate.holds for predicate in self._task.predicates)
        # Where nothing is gated the order does not matter and the gates need not be asked.
        self._order = self._task.order if any(self._task.gates) else tuple(range(count))
        self._holds = [False] * count
        self._held = [False] * count
        self._stopped = [False] * count
        self._satisfied_at = [NOT_SATISFIED] * count
        self._values: list[Bindings] = [{} for _ in range(count)]
        self._orders = tuple(c for c in self._task.constraints if isinstance(c, TemporalOrder))
        self._ties = tuple(c for c in self._task.constraints if isinstance(c, ArgumentTie))
        self._tied = frozenset(index for tie in self._ties for index in tie.arguments)
        self._terminal = frozenset(
            index for c in self._task.constraints if isinstance(c, Terminal) for index in c.propositions
        )
        self._valid: tuple[int, ...] = ()
        self._complete = 0
        self._step = 0
        self.update(facts, 0)

    def update(self, facts: Facts, step: int) -> None:
        """Take in the facts of a step; call it at every step at which they changed.

        Calls at steps without a change make no difference. Several calls within one step are several states of
        the same time: what they satisfy is satisfied simultaneously.

        Args:
            facts: what is true now.
            step: the simulation step, never smaller than in the call before.

        Raises:
            ValueError: time runs backwards.
        """
        if step < self._step:
            raise ValueError(f"step {step} comes after step {self._step}")
        self._step = step
        holds, held, gates, questions = self._holds, self._held, self._task.gates, self._questions
        news = False
        for index in self._order:
            value = questions[index](facts)
            if value and gates[index]:
                value = self._open(gates[index])
            if value:
                if not held[index]:
                    held[index] = news = True
                    self._satisfied_at[index] = step
                    if index in self._tied:
                        self._values[index] = self._task.predicates[index].bind(facts)
            elif holds[index]:
                self._stopped[index] = True
            holds[index] = value
        if news:
            self._valid = self._left_valid()
        terminal = self._terminal
        self._complete = sum([index not in terminal or holds[index] for index in self._valid])

    def _open(self, gates: tuple[Gate, ...]) -> bool:
        for gate in gates:
            if gate.relation == "while_satisfied":
                met = [self._holds[index] for index in gate.depends_on]
            elif gate.relation == "after_satisfied":
                met = [self._held[index] for index in gate.depends_on]
            elif gate.relation == "after_unsatisfied":
                met = [self._stopped[index] for index in gate.depends_on]
            else:
                met = [not self._held[index] for index in gate.depends_on]
            if not (all(met) if gate.every else any(met)):
                return False
        return True

    def _left_valid(self) -> tuple[int, ...]:
        """Satisfied propositions that orders and ties leave valid; changes only when another one is satisfied."""
        invalid = {breach.proposition for breach in (*self._order_breaches(), *self._tie_breaches())}
        return tuple(index for index, held in enumerate(self._held) if held and index not in invalid)

    def _order_breaches(self) -> list[Breach]:
        return [breach for order in self._orders for breach in order_breaches(order, self._satisfied_at)]

    def _tie_breaches(self) -> list[Breach]:
        if not self._ties:
            return []
        values = list(self._values)
        for family in self._task.families:
            if family[0] in self._tied:
                share_among_copies(family, values)
        return [breach for tie in self._ties for breach in tie_breaches(tie, self._satisfied_at, values)]

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """The unrolled propositions: the episode's own in order, then the copies of those with a number."""
        return self._task.predicates

    @property
    def satisfied_at(self) -> list[int]:
        """Per unrolled proposition the first step at which it held, -1 where it never did."""
        return list(self._satisfied_at)

    @property
    def percent_complete(self) -> float:
        """Share of propositions satisfied at some step and left valid by all constraints, 0 to 1; 0 without any."""
        return self._complete / len(self._held) if self._held else 0.0

    @property
    def success(self) -> bool:
        """Whether every proposition is satisfied and valid."""
        return bool(self._held) and self._complete == len(self._held)

    def missing(self) -> list[str]:
        """What is still missing or violated, a line each; empty exactly when the task is a success."""
        if not self._held:
            return ["the episode has no propositions: there is nothing to do"]
        lines = [*self._unsatisfied(), *self._undone(), *self._out_of_order(), *self._mismatched()]
        return list(dict.fromkeys(lines))

    def _unsatisfied(self) -> list[str]:
        lines = []
        copies = {family[-1]: family for family in self._task.families}
        hidden = {index for family in self._task.families for index in family[:-1]}
        for index, predicate in enumerate(self._task.predicates):
            # One line speaks for a whole family: its largest number is the original.
            if self._held[index] or index in hidden:
                continue
            done = sum(self._held[copy] for copy in copies.get(index, ()))
            so_far = f", {done} so far" if done else ""
            gates = task_wording.only_when(self._task.gates[index], self._task.predicates, self._rooms)
            lines.append(task_wording.must_be(predicate, self._rooms) + so_far + gates)
        return lines

    def _undone(self) -> list[str]:
        return [
            task_wording.must_still_be(self._task.predicates[index], self._rooms)
            + task_wording.only_when(self._task.gates[index], self._task.predicates, self._rooms)
            for index in sorted(self._terminal)
            if self._held[index] and not self._holds[index]
        ]

    def _out_of_order(self) -> list[str]:
        lines = []
        for breach in self._order_breaches():
            for earlier in breach.because_of:
                together = self._satisfied_at[earlier] == self._satisfied_at[breach.proposition]
                lines.append(
                    f"{self._was_done(breach.proposition)} {'at the very moment' if together else 'before'} "
                    f"{self._was_done(earlier)}: order broken"
                )
        return lines

    def _mismatched(self) -> list[str]:
        lines = []
        for breach in self._tie_breaches():
            kind = task_wording.argument_words(breach.argument)
            others = " and ".join(self._was_done(other) for other in breach.because_of)
            wanted = "the same" if breach.same else "another"
            lines.append(
                f"{self._was_done(breach.proposition)} with {kind} {task_wording.alternatives(breach.values)}, "
                f"but it must be {wanted} {kind} as when {others}"
            )
        return lines

    def _was_done(self, index: int) -> str:
        return task_wording.was_done(self._task.predicates[index], self._rooms)
