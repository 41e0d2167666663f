"""Generated household games: a home, some of its rooms, things in their usual places, and a task to be done.

A game is kept only if it is not won at the beginning and ``solution.solve`` wins it within the step limit.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.random import Generator

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import SPLITS, TextFamily, TextGame, TextSplit
from hitl_ops.worlds.household.catalog import OBJECTS, ObjectKind, kind_of
from hitl_ops.worlds.household.episode_generator import HOMES
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.layout import scene_id
from hitl_ops.worlds.household.scene_description import Furniture, SceneDescription
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.play import COOLABLE, HEATABLE, LIGHTS, is_place, treatments_of
from hitl_ops.worlds.household_text.setup import HouseholdGoal, HouseholdSetup
from hitl_ops.worlds.household_text.solution import solve
from hitl_ops.worlds.text_game_lists import MOST_GAMES, check_asked
from hitl_ops.worlds.text_tasks import WORDINGS, TextTask

_ATTEMPTS = 60
_USUAL = 0.75
"""Share of things that are in a room where one looks for them first."""


def game_seed(split: TextSplit, index: int, attempt: int, seed: int) -> int:
    """The seed of one candidate; no two splits share one, nor do two candidates: modulo three it is the split."""
    return ((seed * MOST_GAMES + index) * _ATTEMPTS + attempt) * len(SPLITS) + SPLITS.index(split)


def generate_games(split: TextSplit, count: int, seed: int, config: HouseholdTextConfig) -> list[TextGame]:
    """Games of one split, always the same ones; the first of a longer list are those of a shorter.

    Homes and families take turns. Splits share neither homes nor seeds.

    Args:
        split: "train", "val" or "test".
        count: how many.
        seed: chooses among lists of games.
        config: what the games are like.

    Raises:
        UserError: the seed or the count is out of range, or no solvable game was found (a step limit too small).
    """
    check_asked(count, seed)
    return [_generate_game(split, index, seed, config) for index in range(count)]


def _generate_game(split: TextSplit, index: int, seed: int, config: HouseholdTextConfig) -> TextGame:
    homes = HOMES[split]
    home = load_scene(scene_id(split, (index + seed) % homes)).description
    # Shifted by one each time round the homes, so that every home sees every family.
    family = config.families[(index + index // homes) % len(config.families)]
    for attempt in range(_ATTEMPTS):
        number = game_seed(split, index, attempt, seed)
        draft = _Draft(home, family, config, np.random.default_rng(number))
        name = f"household-{split}-{seed}-{index:05d}"
        setup = draft.finish(name)
        if setup is None or not solve(setup, config.max_steps):
            continue
        return TextGame(
            game_id=name,
            world="household",
            family=family,
            split=split,
            seed=number,
            task=setup.goal.task.sentence(int(draft.rng.integers(WORDINGS))),
            setup=setup.model_dump(mode="json", exclude_defaults=True),
        )
    raise UserError(
        f"no solvable game of family '{family}' in {_ATTEMPTS} attempts", "allow more steps or more objects per room"
    )


class _Draft:
    """A game while it is being made up."""

    def __init__(self, home: SceneDescription, family: TextFamily, config: HouseholdTextConfig, rng: Generator) -> None:
        self.home = home
        self.family = family
        self.config = config
        self.rng = rng
        self.rooms = {room.name: room.kind for room in home.rooms}
        self.chosen: list[str] = []
        self.places: list[Furniture] = []
        self.where: dict[str, tuple[str, Literal["on", "within"], int]] = {}
        self.numbers: dict[str, int] = {}

    def finish(self, name: str) -> HouseholdSetup | None:
        """The game; None where this attempt found none."""
        if not self._choose_rooms():
            return None
        goal = self._choose_goal()
        if goal is None or not self._place_wanted(goal) or not self._place_light(goal):
            return None
        self._scatter(goal)
        washable = [handle for handle in self.where if OBJECTS[kind_of(handle)].cleanable]
        dirty = {handle: bool(self.rng.random() < self.config.dirty_share) for handle in washable}
        if goal.task.treatment == "clean":
            dirty |= {handle: True for handle in washable if kind_of(handle) == goal.thing}
        spawn = self.home.spawns[[room.name for room in self.home.rooms].index(self.chosen[0])]
        episode = Episode(
            episode_id=name,
            scene_id=self.home.scene_id,
            instruction=goal.task.sentence(),
            name_to_receptacle={
                handle: f"{place}|{relation}|{slot}" for handle, (place, relation, slot) in self.where.items()
            },
            object_states={"is_clean": {handle: not is_dirty for handle, is_dirty in dirty.items()}},
            info={"flywheel": {"spawns": [[*spawn, round(float(self.rng.uniform(-np.pi, np.pi)), 3)]]}},
        )
        return HouseholdSetup(episode=episode, rooms=tuple(self.chosen), goal=goal)

    # --- rooms and goal -----------------------------------------------------------------------------------

    def _choose_rooms(self) -> bool:
        """One room the task needs, then neighbours of those chosen."""
        needed = [room for room in self.rooms if any(self._serves(piece) for piece in self._in(room))]
        if not needed:
            return False
        self.chosen = [self._pick(needed)]
        while len(self.chosen) < min(self.config.rooms, len(self.rooms)):
            beside = {
                room
                for door in self.home.doors
                for room in door.rooms
                if room not in self.chosen and set(door.rooms) & set(self.chosen)
            }
            self.chosen.append(self._pick(sorted(beside)))
        self.places = [piece for piece in self.home.furniture if piece.room in self.chosen and is_place(piece)]
        return True

    def _in(self, room: str) -> list[Furniture]:
        return [piece for piece in self.home.furniture if piece.room == room]

    def _serves(self, piece: Furniture) -> bool:
        """Whether the family can be played where this piece stands."""
        treatment = _task(self.family).treatment
        if treatment is not None:
            return treatment in treatments_of(piece)
        if _task(self.family).under_light and any(other.kind in LIGHTS for other in self.home.furniture):
            return piece.kind in LIGHTS
        return True

    def _choose_goal(self) -> HouseholdGoal | None:
        kinds = [kind for kind in OBJECTS.values() if self._is_suitable(kind)]
        usual = [kind for kind in kinds if {self.rooms[room] for room in self.chosen} & set(kind.homes)]
        thing = self._pick([kind.kind for kind in usual or kinds])
        if _task(self.family).under_light:
            standing = [kind_of(piece.name) for piece in self.places if piece.kind in LIGHTS]
            return HouseholdGoal(family=self.family, thing=thing, place=self._pick(standing) if standing else "lamp")
        count = _task(self.family).count
        targets = sorted({kind_of(piece.name) for piece in self.places if self._capacity(piece) > count})
        if not targets:
            return None
        return HouseholdGoal(family=self.family, thing=thing, place=self._pick(targets))

    def _is_suitable(self, kind: ObjectKind) -> bool:
        if kind.kind in LIGHTS:
            return False
        return {
            "clean": kind.cleanable,
            "heat": kind.kind in HEATABLE,
            "cool": kind.kind in COOLABLE,
            None: True,
        }[_task(self.family).treatment]

    # --- things -------------------------------------------------------------------------------------------

    @staticmethod
    def _capacity(piece: Furniture) -> int:
        return len(piece.within_slots if piece.articulated else piece.on_slots)

    def _place_wanted(self, goal: HouseholdGoal) -> bool:
        """The wanted things, anywhere but where they are to go; now and then one more than needed."""
        count = goal.task.count + int(self.rng.random() < 0.3)
        elsewhere = [piece for piece in self.places if kind_of(piece.name) != goal.place]
        return all(self._put(goal.thing, elsewhere) for _ in range(count))

    def _place_light(self, goal: HouseholdGoal) -> bool:
        return goal.place != "lamp" or self._put("lamp", self.places)

    def _scatter(self, goal: HouseholdGoal) -> None:
        """Fill up with other things, leaving space where the wanted ones go."""
        kinds = [kind for kind in OBJECTS if kind != goal.thing and (kind not in LIGHTS or goal.place not in LIGHTS)]
        free = [piece for piece in self.places if kind_of(piece.name) != goal.place or self._capacity(piece) > 4]
        for room in self.chosen:
            pieces = [piece for piece in free if piece.room == room]
            usual = [kind for kind in kinds if self.rooms[room] in OBJECTS[kind].homes]
            for _ in range(self.config.objects_per_room):
                pool = usual if usual and self.rng.random() < _USUAL else kinds
                self._put(self._pick(pool), pieces, anywhere=True)

    def _put(self, kind: str, places: list[Furniture], *, anywhere: bool = False) -> bool:
        """Put one more thing of a kind somewhere, in a usual room more often than not; whether there was space."""
        free = [piece for piece in places if len(self._taken(piece)) < max(1, self._capacity(piece) - 2)]
        free = [piece for piece in free if self._capacity(piece) > 0]
        if not anywhere and self.rng.random() < _USUAL:
            free = [piece for piece in free if self.rooms[piece.room] in OBJECTS[kind].homes] or free
        if not free:
            return False
        piece = free[int(self.rng.integers(len(free)))]
        slots = [slot for slot in range(self._capacity(piece)) if slot not in self._taken(piece)]
        self.numbers[kind] = self.numbers.get(kind, 0) + 1
        relation: Literal["on", "within"] = "within" if piece.articulated else "on"
        self.where[f"{kind}_{self.numbers[kind]}"] = (piece.name, relation, slots[int(self.rng.integers(len(slots)))])
        return True

    def _taken(self, piece: Furniture) -> set[int]:
        return {slot for place, _, slot in self.where.values() if place == piece.name}

    def _pick(self, names: list[str]) -> str:
        return names[int(self.rng.integers(len(names)))]


def _task(family: TextFamily) -> TextTask:
    """A family's task with nothing named yet."""
    return TextTask(family, "", "")
