"""ALFWorld's grammar, parsed once by TextWorld's parser and then derived without parsing anything again.

TextWorld parses each template, condition and query anew whenever it meets one, at every step for every admissible
command. What comes out is the same here: the tests compare texts and commands state by state.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.alfworld.engine import GameFile
from hitl_ops.worlds.alfworld.fact_store import Binding, Condition, FactStore, Query
from hitl_ops.worlds.alfworld.package import alfworld_module

_TASK = re.compile(r'(Your task is to: )([^"\\#{}\[\]|;<>]*)(\.")')
_UNKNOWN = "UNKNOWN GOAL"


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Nonterminal:
    name: str


@dataclass(frozen=True, slots=True)
class _Value:
    expression: ast.expr


@dataclass(frozen=True, slots=True)
class _ForAll:
    """A symbol for every answer of a query."""

    symbol: _Value | _Nonterminal
    given: Query | None


@dataclass(frozen=True, slots=True)
class _Listed:
    """The same, with commas and an "and" between them."""

    symbols: _ForAll


_Symbol = _Text | _Nonterminal | _Value | _ForAll | _Listed


@dataclass(frozen=True, slots=True)
class _Production:
    condition: Query | None
    symbols: tuple[_Symbol, ...]


@dataclass(frozen=True, slots=True)
class ActionWording:
    """How an action's command is said, and what answers it."""

    template: tuple[_Symbol, ...]
    feedback: tuple[_Symbol, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """What texts are derived from: the facts now and everything's name."""

    facts: FactStore
    names: Mapping[str, str]


class GameGrammar:
    """One game's wording.

    Attributes:
        actions: wording of every action, by its name in lower case.

    Raises:
        UserError: the game's grammar cannot be read, or the extra is not installed.
    """

    def __init__(self, game: GameFile) -> None:
        found = _TASK.findall(game.grammar)
        # Games differ in the task's sentence only: without it they share one parsed grammar.
        self._task = found[0][1] if len(found) == 1 else _UNKNOWN
        shared = _TASK.sub(rf"\g<1>{_UNKNOWN}\g<3>", game.grammar) if len(found) == 1 else game.grammar
        self._productions, self.actions = _parse(shared)

    def intro(self, scene: Scene) -> str:
        """The opening of the game."""
        return self.derive((_Nonterminal("intro"),), scene, {}).replace(_UNKNOWN, self._task)

    def derive(self, symbols: Sequence[_Symbol], scene: Scene, binding: Binding) -> str:
        """The text that symbols come to.

        Args:
            symbols: an action's template or feedback.
            scene: what is true.
            binding: what the action's parameters stand for.
        """
        return "".join(self._derive_one(symbol, scene, binding) for symbol in symbols)

    def _derive_one(self, symbol: _Symbol, scene: Scene, binding: Binding) -> str:
        if isinstance(symbol, _Text):
            return symbol.text
        if isinstance(symbol, _Value):
            return _evaluate(symbol.expression, {name: thing for (name, _), thing in binding.items()}, scene.names)
        if isinstance(symbol, _Nonterminal):
            return self.derive(self._choose(symbol.name, scene, binding), scene, binding)
        if isinstance(symbol, _ForAll):
            return "".join(self._parts(symbol, scene, binding))
        return self._list(self._parts(symbol.symbols, scene, binding), scene, binding)

    def _choose(self, name: str, scene: Scene, binding: Binding) -> tuple[_Symbol, ...]:
        for production in self._productions.get(name, ()):
            if production.condition is None or scene.facts.holds(production.condition, binding):
                return production.symbols
        raise UserError(f"the game's grammar says nothing for '#{name}#'", "play it with the setting engine=stock")

    def _parts(self, symbol: _ForAll, scene: Scene, binding: Binding) -> list[str]:
        answers = [binding] if symbol.given is None else list(scene.facts.answers(symbol.given, binding))
        return [self._derive_one(symbol.symbol, scene, {**binding, **answer}) for answer in answers]

    def _list(self, parts: list[str], scene: Scene, binding: Binding) -> str:
        if not parts:
            return self._derive_one(_Nonterminal("list_empty"), scene, binding)
        if len(parts) == 1:
            return parts[0]
        between = self._derive_one(_Nonterminal("list_separator"), scene, binding)
        last = self._derive_one(_Nonterminal("list_last_separator"), scene, binding)
        return between.join(parts[:-1]) + last + parts[-1]


@functools.lru_cache(maxsize=8)
def _parse(grammar: str) -> tuple[dict[str, tuple[_Production, ...]], dict[str, ActionWording]]:
    logic = alfworld_module("textworld.envs.pddl.logic")
    textgen = alfworld_module("textworld.envs.pddl.textgen")
    try:
        parsed = logic.GameLogic(domain="", grammar=grammar)
        actions = {
            name: ActionWording(
                _symbols(textgen._parse_and_convert(action.template, rule_name="symbols")),
                _symbols(textgen._parse_and_convert(action.feedback_rule, rule_name="symbols")),
            )
            for name, action in parsed.actions.items()
        }
        productions = {
            name: tuple(_Production(_query(one.condition), _symbols(one.rhs)) for one in rules)
            for name, rules in parsed.grammar._rules.items()
        }
    except UserError:
        raise
    except Exception as error:  # the parser's own, of many kinds
        raise UserError("the game's grammar cannot be read", " ".join(str(error).split())[:200]) from None
    return productions, actions


def _symbols(parsed: Sequence[Any]) -> tuple[_Symbol, ...]:
    return tuple(_symbol(one) for one in parsed)


def _symbol(parsed: Any) -> _Symbol:
    kind = type(parsed).__name__
    if kind == "TerminalSymbol":
        return _Text(str(parsed.symbol))
    if kind == "NonterminalSymbol":
        return _Nonterminal(str(parsed.symbol))
    if kind == "EvalSymbol":
        return _Value(_expression(parsed.expression))
    if kind == "ConditionalSymbol":
        inner = _symbol(parsed.expression)
        if isinstance(inner, _Value | _Nonterminal):
            return _ForAll(inner, _query(parsed.given))
    if kind == "ListSymbol":
        inner = _symbol(parsed.symbol)
        if isinstance(inner, _ForAll):
            return _Listed(inner)
    raise UserError(f"the game's grammar has a symbol of kind '{kind}'", "play it with the setting engine=stock")


@functools.lru_cache(maxsize=1024)
def _query(text: str | None) -> Query | None:
    if not text:
        return None
    rule = alfworld_module("textworld.logic").Rule.parse_conjunctive_query(text)
    return tuple(Condition(one.name, tuple((ph.name, ph.type) for ph in one.parameters)) for one in rule.preconditions)


def _expression(text: str) -> ast.expr:
    """An expression of the grammar: names, their attributes, texts, ``+`` and ``or``. Nothing else is ever run."""
    expression = ast.parse(text.strip(), mode="eval").body
    for node in ast.walk(expression):
        allowed = isinstance(node, ast.BinOp | ast.Add | ast.BoolOp | ast.Or | ast.Name | ast.Attribute | ast.Load)
        if not allowed and not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            raise UserError(f"the game's grammar computes '{text}'", "play it with the setting engine=stock")
    return expression


def _evaluate(node: ast.expr, things: Mapping[str, str], names: Mapping[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp):
        return _evaluate(node.left, things, names) + _evaluate(node.right, things, names)
    if isinstance(node, ast.BoolOp):
        parts = [_evaluate(value, things, names) for value in node.values]
        return next((part for part in parts if part), "")
    if isinstance(node, ast.Name):
        return names[things[node.id]]
    assert isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    thing = things[node.value.id]
    values = {"name": names[thing], "id": thing, "definite": "the", "indefinite": "a"}
    if node.attr not in values:
        raise UserError(f"the game's grammar asks for '{node.attr}'", "play it with the setting engine=stock")
    return values[node.attr]
