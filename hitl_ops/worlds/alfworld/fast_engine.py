"""The fast way to play a game: the planner's library steps it, everything else is prepared once.

ALFWorld's own engine translates a game twice and parses each admissible command's template at every step. Here the
translation is kept on disk, the grammar is parsed once in a process, and a command is worded once in a game.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import NOTHING_HAPPENS
from hitl_ops.worlds.alfworld.engine import EngineTurn, Fact, GameFile
from hitl_ops.worlds.alfworld.fact_store import NEGATED, Binding, FactStore
from hitl_ops.worlds.alfworld.game_grammar import ActionWording, GameGrammar, Scene
from hitl_ops.worlds.alfworld.package import alfworld_module
from hitl_ops.worlds.alfworld.planner_library import give_back_library, take_library
from hitl_ops.worlds.alfworld.translation import Translation, TranslationCache


@dataclass(frozen=True, slots=True)
class _Operator:
    """An action with everything filled in, as it is said."""

    command: str
    wording: ActionWording
    binding: Binding


@dataclass(slots=True)
class _Game:
    translation: Translation
    grammar: GameGrammar
    scene: Scene
    operators: dict[bytes, _Operator]  # by the planner's name; each is worded when it first gets possible
    possible: dict[str, tuple[int, int, _Operator]]  # by command: the planner's number, its effects


class FastEngine:
    """Plays as ``StockEngine`` does, state by state the same.

    Args:
        translations: folder where translated games are kept.

    Raises:
        UserError: the extra is not installed.
    """

    def __init__(self, translations: Path) -> None:
        self._planner: Any = alfworld_module("fast_downward")
        self._misc: Any = alfworld_module("alfworld.agents.utils.misc")
        self._atom: Any = alfworld_module("textworld.envs.pddl.logic").Atom
        self._translations = TranslationCache(translations)
        self._library: Any = take_library()
        self._game: _Game | None = None

    def begin(self, game: GameFile) -> EngineTurn:
        """See ``AlfredEngine.begin``."""
        grammar = GameGrammar(game)
        translation = self._translations.get(game)
        self._library.load_sas(translation.sas.encode("utf-8"))
        facts = FactStore(translation.types)
        facts.add_all(translation.facts)
        atoms = (self._atom * self._library.get_state_size())()
        self._library.get_state(atoms)
        facts.add_all(fact for fact in map(_fact, atoms) if not fact[0].startswith(NEGATED))
        scene = Scene(facts, self._names(facts))
        self._game = _Game(translation, grammar, scene, {}, {})
        return self._turn(grammar.intro(scene))

    def _names(self, facts: FactStore) -> dict[str, str]:
        infos = {thing: _Named(thing) for _, arguments in facts for thing in arguments}
        demangler = self._misc.Demangler(game_infos=infos, shuffle=False)
        return {thing: demangler.demangle_alfred_name(thing) for thing in infos}

    def step(self, command: str) -> EngineTurn:
        """See ``AlfredEngine.step``."""
        game = self._playing
        chosen = game.possible.get(command.strip())
        if chosen is None:
            return self._turn(NOTHING_HAPPENS)
        number, effects, operator = chosen
        atoms = (self._atom * effects)()
        self._library.apply_operator(number, atoms)
        game.scene.facts.add_all(map(_fact, atoms))
        return self._turn(game.grammar.derive(operator.wording.feedback, game.scene, operator.binding))

    def facts(self) -> list[Fact]:
        """See ``AlfredEngine.facts``."""
        game = self._playing
        return [
            (predicate, tuple(game.scene.names[one].strip() for one in arguments))
            for predicate, arguments in game.scene.facts
        ]

    def names(self) -> dict[str, str]:
        """See ``AlfredEngine.names``."""
        return {thing: name.strip() for thing, name in self._playing.scene.names.items()}

    def close(self) -> None:
        """See ``AlfredEngine.close``."""
        if self._library is not None:
            give_back_library(self._library)
            self._library = self._game = None

    @property
    def _playing(self) -> _Game:
        if self._game is None:
            raise RuntimeError("no game was begun")
        return self._game

    def _turn(self, feedback: str) -> EngineTurn:
        game = self._playing
        found = (self._planner.Operator * self._library.get_applicable_operators_count())()
        self._library.get_applicable_operators(found)
        game.possible = {}
        for one in found:
            operator = game.operators.get(one._name) or self._word(game, one._name)
            # Several operators may be said alike, and come to the same; the first is the one TextWorld takes.
            game.possible.setdefault(operator.command, (one.id, one.nb_effect_atoms, operator))
        return EngineTurn(feedback, tuple(sorted(game.possible)), bool(self._library.check_goal()))

    @staticmethod
    def _word(game: _Game, planner_name: bytes) -> _Operator:
        action, *arguments = planner_name.decode("cp1252").split()
        wording = game.grammar.actions.get(action)
        if wording is None:
            raise UserError(f"the game's grammar has no words for '{action}'", "play it with the setting engine=stock")
        # Parameters first, arguments as far as there are any: those a translation adds have no name in the grammar.
        binding = dict(zip(game.translation.parameters[action], arguments, strict=False))
        # A template asks for facts that never change only: where a receptacle stands.
        command = game.grammar.derive(wording.template, game.scene, binding)
        operator = game.operators[planner_name] = _Operator(command, wording, binding)
        return operator


@dataclass(frozen=True, slots=True)
class _Named:
    """What the demangler wants of an entity."""

    id: str


def _fact(atom: Any) -> tuple[str, tuple[str, ...]]:
    """The planner's "Atom inreceptacle(mug_bar_1, desk_bar_1)" or "NegatedAtom …"."""
    kind, _, rest = atom.name.partition(" ")
    predicate, _, arguments = rest.partition("(")
    things = tuple(one for one in arguments[:-1].split(", ") if one)
    return (NEGATED + predicate if kind == "NegatedAtom" else predicate), things
