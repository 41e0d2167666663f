"""Generated episodes: a home, objects in their usual rooms, and a task of one of PARTNR's four types.

A candidate is complete but unproved: whoever keeps it must see it solved first (``rollouts.episode_sets``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from hitl_ops.contracts.episode import TASK_TYPES, Constraint, Episode, Proposition, TaskType
from hitl_ops.worlds.household import instructions
from hitl_ops.worlds.household.catalog import FURNITURE, OBJECTS, kind_of
from hitl_ops.worlds.household.instructions import Goal
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.layout import scene_id
from hitl_ops.worlds.household.scene_description import Furniture, SceneDescription

HOMES = {"train": 40, "val": 6, "test": 6}
"""Homes per split."""
_SPLIT_SEED = {"train": 1_000_000, "val": 2_000_000, "test": 3_000_000}
_IN_CONTAINER = 0.15
_ON_FLOOR = 0.06
_SAID_ROOM = 0.85
"""Share of objects whose room the instruction names; the others must be searched for."""


WORDINGS = 8
"""Other ways an episode's task is said and other places its agents may start, for variations of its play."""


def episode_seed(split: str, index: int, attempt: int) -> int:
    """The seed of one candidate; no two splits, indices or attempts share one."""
    return _SPLIT_SEED[split] + index * 100 + attempt


def generate_candidate(split: str, index: int, attempt: int = 0) -> Episode | None:
    """The candidate episode of a split's ``index``-th place; None where this attempt found no task.

    Homes and task types take turns, so that every home of a split sees every type.
    """
    home = load_scene(scene_id(split, index % HOMES[split])).description
    task_type = TASK_TYPES[(index // HOMES[split] + index) % len(TASK_TYPES)]
    seed = episode_seed(split, index, attempt)
    return _Draft(home, task_type, np.random.default_rng(seed)).finish(f"{split}_{index:04d}", split, seed)


class _Draft:
    """An episode while it is being made up."""

    def __init__(self, home: SceneDescription, task_type: TaskType, rng: Generator) -> None:
        self.home = home
        self.task_type = task_type
        self.rng = rng
        self.rooms = {room.name: room for room in home.rooms}
        self.furniture = {piece.name: piece for piece in home.furniture}
        self.places: dict[str, tuple[str, str, int]] = {}
        self.taken: dict[tuple[str, str], set[int]] = {}
        self.states: dict[str, dict[str, bool]] = {}
        self.goals: list[Goal] = []
        self.clauses: list[Callable[[Generator], str]] = []
        self.propositions: list[Proposition] = []
        self.groups: list[list[int]] = []
        self.used: set[str] = set()

    # --- objects ------------------------------------------------------------------------------------------

    def _scatter(self) -> None:
        numbers: dict[str, int] = {}
        kinds = list(OBJECTS)
        for room in self.home.rooms:
            usual = [kind for kind in kinds if room.kind in OBJECTS[kind].homes]
            for _ in range(int(self.rng.integers(1, 4))):
                # Two in three things are where they belong; the others are why people ask for help.
                pool = usual if usual and self.rng.random() < 0.66 else kinds
                kind = pool[int(self.rng.integers(len(pool)))]
                if numbers.get(kind, 0) and self.rng.random() < 0.8:
                    continue
                numbers[kind] = numbers.get(kind, 0) + 1
                self._put(f"{kind}_{numbers[kind]}", room.name)

    def _put(self, name: str, room: str) -> None:
        pieces = [piece for piece in self.home.furniture if piece.room == room]
        luck = self.rng.random()
        options: list[tuple[str, str]]
        if luck < _ON_FLOOR:
            options = [(f"floor_{room}", "floor")]
        elif luck < _ON_FLOOR + _IN_CONTAINER:
            options = [(piece.name, "within") for piece in pieces if piece.within_slots]
        else:
            options = [(piece.name, "on") for piece in pieces if piece.on_slots]
        self.rng.shuffle(options)
        for parent, relation in options:
            free = [
                slot
                for slot in range(self._capacity(parent, relation))
                if slot not in self.taken.get((parent, relation), set())
            ]
            if free:
                slot = free[int(self.rng.integers(len(free)))]
                self.taken.setdefault((parent, relation), set()).add(slot)
                self.places[name] = (parent, relation, slot)
                return

    def _capacity(self, parent: str, relation: str) -> int:
        if relation == "floor":
            return len(self.home.floor_slots[parent.removeprefix("floor_")])
        piece = self.furniture[parent]
        return len(piece.within_slots if relation == "within" else piece.on_slots)

    # --- goals --------------------------------------------------------------------------------------------

    def _of_kind(self, kind: str) -> list[str]:
        return [name for name in self.places if kind_of(name) == kind]

    def _room_of(self, name: str) -> str:
        parent = self.places[name][0]
        return parent.removeprefix("floor_") if parent.startswith("floor_") else self.furniture[parent].room

    def _source(self, name: str) -> dict[str, Any]:
        """What the instruction says of where an object is; a closed container is always said."""
        parent, relation, _ = self.places[name]
        room = self.rooms[self._room_of(name)].kind
        if relation == "within":
            return {"source_room": room, "source_container": self.furniture[parent].kind}
        return {"source_room": room if self.rng.random() < _SAID_ROOM else ""}

    def _free_objects(self, usable: Any = None) -> list[str]:
        names = []
        for name, (parent, relation, _) in self.places.items():
            kind = kind_of(name)
            if kind in self.used or (usable is not None and not usable(OBJECTS[kind])):
                continue
            if relation == "within":
                # "the cabinet in the kitchen" must mean this one.
                piece = self.furniture[parent]
                same = [
                    p
                    for p in self.home.furniture
                    if p.kind == piece.kind and self.rooms[p.room].kind == self.rooms[piece.room].kind
                ]
                if len(same) > 1 or len(self._of_kind(kind)) > 1:
                    continue
            names.append(name)
        return names

    def _target(self, source_room: str, *, room_only: float = 0.12, near: int = 1) -> dict[str, Any] | None:
        """A place in another room with space for at least ``near`` more things, as people would name it."""
        rooms = [room for room in self.home.rooms if room.kind != self.rooms[source_room].kind]
        if not rooms:
            return None
        room = rooms[int(self.rng.integers(len(rooms)))]
        luck = self.rng.random()
        if near == 1 and luck < room_only:
            return {"target_room": room.kind}
        if near == 1 and luck < room_only + 0.06:
            return {"target_room": room.kind, "target": "floor"}
        options = []
        for piece in self.home.furniture:
            if piece.room != room.name:
                continue
            if self._space(piece, "on") >= near:
                options += [(piece, "on")] * 2
            if near == 1 and self._space(piece, "within") >= 1:
                options.append((piece, "within"))
        if not options:
            return None
        piece, relation = options[int(self.rng.integers(len(options)))]
        return {"target_room": room.kind, "target": piece.kind, "relation": relation}

    def _space(self, piece: Furniture, relation: str) -> int:
        # Keep two places in hand: another goal may want the same furniture.
        reserve = 2 if relation == "on" else 1
        return self._capacity(piece.name, relation) - len(self.taken.get((piece.name, relation), ())) - reserve + 1

    def _move_goal(self, name: str) -> Goal | None:
        target = self._target(self._room_of(name))
        if target is None:
            return None
        return Goal("move", kind_of(name), **self._source(name), **target)

    def _add(self, goal: Goal, *, said: bool = True) -> None:
        self.used.add(goal.subject)
        self.goals.append(goal)
        if said:
            self.clauses.append(functools.partial(instructions.clause, goal))
        group = []
        for proposition in self._propositions(goal):
            group.append(len(self.propositions))
            self.propositions.append(proposition)
        self.groups.append(group)

    def _propositions(self, goal: Goal) -> list[Proposition]:
        subjects = self._of_kind(goal.subject) or [
            piece.name for piece in self._furniture_of(goal.subject, goal.source_room)
        ]
        found = []
        if goal.kind == "clean":
            found.append(Proposition(function_name="is_clean", args={"object_handles": subjects}))
        elif goal.kind == "fill":
            found.append(Proposition(function_name="is_filled", args={"object_handles": subjects}))
        elif goal.kind == "power_on":
            found.append(Proposition(function_name="is_powered_on", args={"object_handles": subjects}))
        elif goal.kind == "power_off":
            found.append(Proposition(function_name="is_powered_off", args={"object_handles": subjects}))
        if not goal.target_room:
            return found
        rooms = [room.name for room in self.home.rooms if room.kind == goal.target_room]
        if goal.target in ("", "floor"):
            found.append(Proposition(function_name="is_in_room", args={"object_handles": subjects, "room_ids": rooms}))
            if goal.target == "floor":
                found[-1] = Proposition(function_name="is_on_floor", args={"object_handles": subjects})
                found.append(
                    Proposition(function_name="is_in_room", args={"object_handles": subjects, "room_ids": rooms})
                )
        else:
            pieces = [piece.name for piece in self._furniture_of(goal.target, goal.target_room)]
            predicate = "is_inside" if goal.relation == "within" else "is_on_top"
            found.append(
                Proposition(function_name=predicate, args={"object_handles": subjects, "receptacle_handles": pieces})
            )
        if goal.next_to:
            found.append(
                Proposition(
                    function_name="is_next_to",
                    args={"entity_handles_a": subjects, "entity_handles_b": self._of_kind(goal.next_to)},
                )
            )
        return found

    def _furniture_of(self, kind: str, room_kind: str) -> list[Furniture]:
        return [
            p for p in self.home.furniture if p.kind == kind and (not room_kind or self.rooms[p.room].kind == room_kind)
        ]

    # --- task types ---------------------------------------------------------------------------------------

    def _moves(self, count: int) -> bool:
        for _ in range(count):
            names = self._free_objects()
            if not names:
                return False
            goal = self._move_goal(names[int(self.rng.integers(len(names)))])
            if goal is None:
                return False
            self._add(goal)
        return True

    def _constraint_free(self) -> bool:
        return self._moves(int(self.rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2])))

    def _temporal(self) -> bool:
        return self._moves(int(self.rng.choice([2, 3], p=[0.7, 0.3])))

    def _spatial(self) -> bool:
        if self.rng.random() < 0.5:
            if not self._beside_what_is_there():
                return False
        elif not self._two_side_by_side():
            return False
        return self._moves(1) if self.rng.random() < 0.4 else True

    def _beside_what_is_there(self) -> bool:
        """Put something beside what stands there already."""
        standing = [
            name
            for name, (parent, relation, _) in self.places.items()
            if relation == "on"
            and self._space(self.furniture[parent], "on") >= 2
            and len(self._of_kind(kind_of(name))) == 1
            and len(self._furniture_of(self.furniture[parent].kind, self.rooms[self.furniture[parent].room].kind)) == 1
        ]
        if not standing:
            return False
        other = standing[int(self.rng.integers(len(standing)))]
        self.used.add(kind_of(other))
        names = [name for name in self._free_objects() if self._room_of(name) != self._room_of(other)]
        if not names:
            return False
        name = names[int(self.rng.integers(len(names)))]
        piece = self.furniture[self.places[other][0]]
        goal = Goal(
            "move",
            kind_of(name),
            **self._source(name),
            target=piece.kind,
            target_room=self.rooms[piece.room].kind,
            next_to=kind_of(other),
        )
        self._add(goal)
        return True

    def _two_side_by_side(self) -> bool:
        names = self._free_objects()
        if len(names) < 2:
            return False
        order = self.rng.permutation(len(names))
        first = names[int(order[0])]
        second = next((names[int(i)] for i in order[1:] if names[int(i)].rsplit("_", 1)[0] != kind_of(first)), None)
        target = self._target(self._room_of(first), near=3)
        if second is None or target is None or self.rooms[self._room_of(second)].kind == target["target_room"]:
            return False
        if len(self._furniture_of(target["target"], target["target_room"])) != 1:
            return False
        goal = Goal("move", kind_of(first), **self._source(first), **target)
        beside = Goal("move", kind_of(second), **self._source(second), **target, next_to=goal.subject)
        self._add(goal, said=False)
        self._add(beside, said=False)
        self.clauses.append(functools.partial(instructions.side_by_side, goal, beside))
        return True

    def _heterogeneous(self) -> bool:
        states = int(self.rng.choice([1, 2], p=[0.65, 0.35]))
        makers = [self._cleaning, self._filling, self._switching_object, self._switching_furniture]
        order = self.rng.permutation(len(makers))
        made = sum(1 for position in order if len(self.goals) < states and makers[int(position)]())
        if not made:
            return False
        return self._moves(1) if self.rng.random() < 0.6 else True

    def _cleaning(self) -> bool:
        names = self._free_objects(lambda kind: kind.cleanable)
        names = [name for name in names if len(self._of_kind(kind_of(name))) == 1]
        if not names:
            return False
        name = names[int(self.rng.integers(len(names)))]
        self.states.setdefault("is_clean", {})[name] = False
        target = self._target(self._room_of(name)) if self.rng.random() < 0.5 else {}
        if target is None:
            return False
        goal = Goal("clean", kind_of(name), **self._source(name), **target)
        self._add(goal)
        return True

    def _filling(self) -> bool:
        names = self._free_objects(lambda kind: kind.fillable)
        if not names or not any(piece.has_faucet for piece in self.home.furniture):
            return False
        name = names[int(self.rng.integers(len(names)))]
        target = self._target(self._room_of(name))
        if target is None:
            return False
        goal = Goal("fill", kind_of(name), **self._source(name), **target)
        self._add(goal)
        return True

    def _switching_object(self) -> bool:
        names = [
            name for name in self._free_objects(lambda kind: kind.powerable) if len(self._of_kind(kind_of(name))) == 1
        ]
        if not names:
            return False
        name = names[int(self.rng.integers(len(names)))]
        off = self.rng.random() < 0.4
        if off:
            self.states.setdefault("is_powered_on", {})[name] = True
        goal = Goal("power_off" if off else "power_on", kind_of(name), **self._source(name))
        self._add(goal)
        return True

    def _switching_furniture(self) -> bool:
        pieces = [
            piece for piece in self.home.furniture if FURNITURE[piece.kind].powerable and piece.kind not in self.used
        ]
        if not pieces:
            return False
        piece = pieces[int(self.rng.integers(len(pieces)))]
        goal = Goal("power_on", piece.kind, source_room=self.rooms[piece.room].kind)
        self._add(goal)
        return True

    # --- the finished episode -----------------------------------------------------------------------------

    def finish(self, episode_id: str, split: str, seed: int) -> Episode | None:
        self._scatter()
        maker = {
            "constraint_free": self._constraint_free,
            "spatial": self._spatial,
            "temporal": self._temporal,
            "heterogeneous": self._heterogeneous,
        }[self.task_type]
        if not maker():
            return None
        ordered = self.task_type == "temporal"
        constraints = [
            Constraint(
                type="TerminalSatisfactionConstraint",
                args={"proposition_indices": list(range(len(self.propositions)))},
            )
        ]
        if ordered:
            edges = [
                [before, after]
                for first, second in zip(self.groups, self.groups[1:], strict=False)
                for before in first
                for after in second
            ]
            constraints.append(Constraint(type="TemporalConstraint", args={"dag_edges": edges}))
        return Episode(
            episode_id=episode_id,
            scene_id=self.home.scene_id,
            instruction=self._say(ordered),
            rigid_objs=[self._rigid_object(name) for name in self.places],
            name_to_receptacle={
                name: f"{parent}|{relation}|{slot}" for name, (parent, relation, slot) in self.places.items()
            },
            info={
                "flywheel": {
                    "task_type": self.task_type,
                    "split": split,
                    "seed": seed,
                    "spawns": self._spawns(),
                    "wordings": [self._say(ordered) for _ in range(WORDINGS)],
                    "places": [self._spawns() for _ in range(WORDINGS)],
                    "said": [
                        {"subject": goal.subject, "room": goal.source_room, "container": goal.source_container}
                        for goal in self.goals
                    ],
                }
            },
            evaluation_propositions=self.propositions,
            evaluation_constraints=constraints,
            object_states=self.states,
        )

    def _say(self, ordered: bool) -> str:
        return instructions.say([clause(self.rng) for clause in self.clauses], ordered=ordered, rng=self.rng)

    def _rigid_object(self, name: str) -> list[Any]:
        parent, relation, slot = self.places[name]
        if relation == "floor":
            x, y, z = self.home.floor_slots[parent.removeprefix("floor_")][slot]
        else:
            piece = self.furniture[parent]
            x, y, z = (piece.within_slots if relation == "within" else piece.on_slots)[slot]
        transform = [[1.0, 0.0, 0.0, x], [0.0, 1.0, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]]
        return [f"{kind_of(name)}.object_config.json", transform]

    def _spawns(self) -> list[list[float]]:
        order = self.rng.permutation(len(self.home.spawns))
        picked = [self.home.spawns[int(order[i % len(order)])] for i in range(2)]
        return [[x, z, round(float(self.rng.uniform(-3.14, 3.14)), 3)] for x, z in picked]
