"""A household text game under way: where the agent stands, what it can do there, and what it is told.

The home's facts and rules are the household's (``HomeState``, ``skills``). Added above them: an agent is always in
the middle of the room or at one place, and things can be hot or cool, two states of the thing beside PARTNR's
``is_clean``. A stove heats what is held, a fridge cools it, running water cleans it, as in ALFWorld.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hitl_ops.contracts.action import Action
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household import skills
from hitl_ops.worlds.household.catalog import kind_of
from hitl_ops.worlds.household.home_state import HomeState
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.renderer.camera import EYE_HEIGHT, Camera
from hitl_ops.worlds.household.scene_description import Furniture
from hitl_ops.worlds.household.world import heading
from hitl_ops.worlds.household_text import wording
from hitl_ops.worlds.household_text.setup import HouseholdSetup
from hitl_ops.worlds.text_commands import TextCommand

AGENT = 0
LIGHTS = ("standing_lamp", "lamp")
"""Kinds of furniture and of things that give light."""
HEATABLE = frozenset(
    (
        *("mug", "cup", "bowl", "plate", "pan", "pot", "kettle", "teapot", "can", "jar"),
        *("apple", "banana", "bread", "sandwich"),
    )
)
"""Kinds of things a stove may heat."""
COOLABLE = HEATABLE | {"jug", "pitcher", "bottle", "glass", "orange", "lemon"}
"""Kinds of things a fridge may cool."""
_STEEPEST = math.radians(-55.0)


def is_place(piece: Furniture) -> bool:
    """Whether one can go to a piece of furniture in a game: it holds things or gives light."""
    return bool(piece.within_slots if piece.articulated else piece.on_slots) or piece.kind in LIGHTS


def treatments_of(piece: Furniture) -> tuple[str, ...]:
    """What can be done at a piece of furniture to a thing in the hand: "clean", "heat", "cool"."""
    found = ["clean"] if piece.has_faucet else []
    return (*found, *(verb for kind, verb in (("stove", "heat"), ("fridge", "cool")) if piece.kind == kind))


class HomePlay:
    """One game's home with one agent in it.

    Args:
        setup: the game.

    Attributes:
        goal: what is to be reached.
        state: the home.
        places: spoken name → furniture one can go to, in the home's order.
        at: the furniture the agent stands at; None in the middle of the room.

    Raises:
        UserError: the setup names what its home does not have.
    """

    def __init__(self, setup: HouseholdSetup) -> None:
        self.goal = setup.goal
        self.scene = load_scene(setup.episode.scene_id)
        self.state = HomeState(setup.episode, self.scene)
        unknown = sorted(set(setup.rooms) - set(self.state.rooms))
        if unknown:
            raise UserError(
                f"room '{unknown[0]}' is not in home '{setup.episode.scene_id}'", "generate the games again"
            )
        self.places: dict[str, str] = {
            wording.said(piece.name): piece.name
            for piece in self.scene.description.furniture
            if piece.room in setup.rooms and is_place(piece)
        }
        self.at: str | None = None
        self._things = {wording.said(name): name for name in self.state.facts.objects}
        body = self.state.facts.agents[AGENT]
        self.state.enter(AGENT, body.x, body.z)

    # --- reading ------------------------------------------------------------------------------------------

    @property
    def held(self) -> str | None:
        """The object in the agent's hand."""
        return self.state.facts.agents[AGENT].held

    def is_open(self, place: str) -> bool:
        """Whether things in or on a furniture can be seen and reached."""
        return self.state.facts.furniture_open.get(place, True)

    def things_at(self, place: str) -> list[str]:
        """Objects in or on a furniture, seen or not, sorted by kind and number."""
        return sorted(self.state.contents[place], key=lambda name: (kind_of(name), int(name.rsplit("_", 1)[1])))

    def relation(self, place: str) -> str:
        """How things stand to a furniture: what has a door holds them inside only."""
        return "within" if place in self.state.facts.furniture_open else "on"

    def has_space(self, place: str) -> bool:
        """Whether one more thing fits."""
        return bool(self.state.free_slots(place, self.relation(place)))

    @property
    def won(self) -> bool:
        """Whether the goal is reached, by the facts of this moment alone."""
        if self.goal.task.under_light:
            held = self.held
            return (
                held is not None
                and kind_of(held) == self.goal.thing
                and any(
                    kind_of(light) == self.goal.place and self.state.facts.state(light, "is_powered_on")
                    for light in self.lights_here()
                )
            )
        return any(
            kind_of(place) == self.goal.place
            and sum(self.is_ready(name) for name in self.state.contents[place]) >= self.goal.task.count
            for place in self.places.values()
        )

    def is_ready(self, name: str) -> bool:
        """Whether an object is of the wanted kind and in the wanted state."""
        thing = self.state.facts.objects[name]
        wanted = {"clean": "is_clean", "heat": "is_hot", "cool": "is_cool"}.get(self.goal.task.treatment or "")
        return thing.kind == self.goal.thing and (wanted is None or bool(thing.states.get(wanted)))

    def lights_here(self) -> list[str]:
        """Lights within sight where the agent stands."""
        if self.at is None:
            return []
        here = [self.at] if self.state.furniture[self.at].kind in LIGHTS else []
        if self.is_open(self.at):
            here += [name for name in self.things_at(self.at) if kind_of(name) in LIGHTS]
        return here

    def camera(self) -> Camera:
        """The agent's eyes, on the middle of the place it stands at."""
        if self.at is None:
            return Camera.of_agent(self.state.facts, AGENT)
        body, piece = self.state.facts.agents[AGENT], self.state.furniture[self.at]
        away = math.dist((body.x, body.z), (piece.position[0], piece.position[2]))
        height = piece.size[1] / 2 if piece.articulated else piece.size[1]
        return Camera.of_agent(self.state.facts, AGENT, pitch=max(_STEEPEST, math.atan2(height - EYE_HEIGHT, away)))

    # --- commands -----------------------------------------------------------------------------------------

    def commands(self) -> list[TextCommand]:
        """Everything that can be done here and now, in no special order."""
        commands = [TextCommand("inventory"), TextCommand("look")]
        commands += [TextCommand("go", said) for said, name in self.places.items() if name != self.at]
        if self.held is not None:
            commands.append(TextCommand("examine", wording.said(self.held)))
        if self.at is not None:
            commands += self._commands_at(self.at, wording.said(self.at))
        return commands

    def _commands_at(self, place: str, said: str) -> Iterator[TextCommand]:
        yield TextCommand("examine", said)
        if place in self.state.facts.furniture_open:
            yield TextCommand("close" if self.is_open(place) else "open", said)
        for light in self.lights_here():
            yield TextCommand("use", wording.said(light))
        held = self.held
        if self.is_open(place):
            for name in self.things_at(place):
                yield TextCommand("examine", wording.said(name))
                if not self._refused("Pick", name):
                    yield TextCommand("take", wording.said(name), said)
            if held is not None and not self._refused("Place", held, self.relation(place), place, "None", "None"):
                yield TextCommand("put", wording.said(held), said)
        if held is not None:
            for verb in treatments_of(self.state.furniture[place]):
                if self._changes(verb, held):
                    yield TextCommand(verb, wording.said(held), said)  # type: ignore[arg-type]  # three of the verbs

    def _refused(self, tool: str, *args: str) -> bool:
        return skills.refusal(self.state, AGENT, Action(tool, args)) is not None

    def _changes(self, verb: str, name: str) -> bool:
        """Whether a treatment would change anything about a thing."""
        thing = self.state.facts.objects[name]
        if verb == "clean":
            return thing.states.get("is_clean") is False
        kinds, state = (HEATABLE, "is_hot") if verb == "heat" else (COOLABLE, "is_cool")
        return thing.kind in kinds and not thing.states.get(state)

    # --- acting -------------------------------------------------------------------------------------------

    def perform(self, command: TextCommand) -> str:
        """Carry out one of ``commands()``; returns what the agent is told."""
        thing = self.places.get(command.thing) or self._things.get(command.thing, "")
        match command.verb:
            case "go":
                self._walk(thing)
                return f"You arrive at {command.thing}. {self._told(thing)}"
            case "open" | "close":
                self._do(command.verb.capitalize(), thing)
                done = f"You {command.verb} the {command.thing}."
                return f"{done} {self._told(thing)}" if command.verb == "open" else done
            case "take":
                self._do("Pick", thing)
                return f"You pick up the {command.thing} from the {command.place}."
            case "put":
                place = self.places[command.place]
                self._do("Place", thing, self.relation(place), place, "None", "None")
                return f"You put the {command.thing} in/on the {command.place}."
            case "clean" | "heat" | "cool":
                self._treat(command.verb, thing)
                return f"You {command.verb} the {command.thing} using the {command.place}."
            case "use":
                was_on = self.state.facts.state(thing, "is_powered_on")
                self._do("PowerOff" if was_on else "PowerOn", thing)
                return f"You turn {'off' if was_on else 'on'} the {command.thing}."
            case "examine":
                return self._told(thing) if thing in self.state.furniture else self._looks(thing)
            case "inventory":
                return wording.carrying(self.held)
        return self.opening() if self.at is None else wording.facing(self.at)

    def opening(self) -> str:
        """What is seen from the middle of the room."""
        return wording.opening(self.places.values())

    def _do(self, tool: str, *args: str) -> None:
        action = Action(tool, args)
        problem = skills.refusal(self.state, AGENT, action)
        if problem is not None:
            raise AssertionError(f"{action} was offered and refused: {problem}")
        skills.perform(self.state, AGENT, action)

    def _treat(self, verb: str, name: str) -> None:
        if verb == "clean":
            self._do("Clean", name)
            return
        self.state.set_state(name, "is_hot", verb == "heat")
        self.state.set_state(name, "is_cool", verb == "cool")

    def _walk(self, place: str) -> None:
        """Along the shortest way, opening the room doors on it, then turn to the place."""
        body = self.state.facts.agents[AGENT]
        route = self.scene.route((body.x, body.z), place)
        if route is None:
            raise AssertionError(f"no way to {place}: homes are generated so that there is one")
        for x, z in route.points:
            body.x, body.z = x, z
            self.state.enter(AGENT, x, z)
        piece = self.state.furniture[place]
        body.yaw = heading((body.x, body.z), (piece.position[0], piece.position[2]))
        self.at = place

    def _told(self, place: str) -> str:
        if self.state.furniture[place].kind in LIGHTS:
            return wording.light(place, bool(self.state.facts.state(place, "is_powered_on")))
        if not self.is_open(place):
            return wording.closed(place)
        tell = wording.inside if place in self.state.facts.furniture_open else wording.on
        return tell(place, self.things_at(place))

    def _looks(self, name: str) -> str:
        return wording.condition(name, self.state.facts.objects[name].states)
