"""Every policy of a program that lies on disk: the registered ones, and what each iteration made last."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.contracts.store import PROGRAMS, Store
from hitl_ops.models.planner_lm import CARD_FILE, read_card
from hitl_ops.serving.policy_alias import ALIASES, Alias, resolve

_ITERATION = re.compile(r"\d{3,}")


@dataclass(frozen=True)
class KnownPolicy:
    """A policy on disk.

    Attributes:
        policy_id: as on its card.
        card: what made it.
        folder: holds its card, weights and provenance.
        registered: it is frozen, and can serve or has served.
        aliases: what the registry calls it at this moment.
    """

    policy_id: str
    card: PolicyCard
    folder: Path
    registered: bool
    aliases: tuple[Alias, ...]


def known_policies(store: Store, program: str) -> dict[str, KnownPolicy]:
    """All policies of a program by id, ordered by iteration; the frozen folder of one that is registered.

    Raises:
        UserError: the program is unknown, a card is damaged, or the registry cannot be read.
    """
    if program not in PROGRAMS:
        raise UserError(f"program '{program}' is unknown", f"choose one of {', '.join(PROGRAMS)}")
    aliases: dict[str, list[Alias]] = {}
    for alias in ALIASES:
        named = resolve(store, program, alias)
        if named is not None:
            aliases.setdefault(named.policy_id, []).append(alias)
    places = [(folder, True) for folder in _folders(store.policies(program)) if TEMPORARY_MARK not in folder.name]
    for folder in _folders(store.root / program):
        if _ITERATION.fullmatch(folder.name):
            paths = store.iteration(program, folder.name)
            places += [(paths.policy, False), (paths.first_policy, False)]
    found: dict[str, KnownPolicy] = {}
    for folder, registered in places:
        if (folder / CARD_FILE).is_file():
            card = read_card(folder)
            policy_id = card.policy_id
            if policy_id not in found:
                found[policy_id] = KnownPolicy(policy_id, card, folder, registered, tuple(aliases.get(policy_id, ())))
    return dict(sorted(found.items(), key=lambda item: (item[1].card.iteration, item[0])))


def find_policy(store: Store, program: str, name: str) -> KnownPolicy:
    """The policy that somebody names: by its id, an alias, or the iteration that made it.

    Raises:
        UserError: there is none of that name.
    """
    known = known_policies(store, program)
    if name in known:
        return known[name]
    for policy in known.values():
        if name in policy.aliases:
            return policy
    if name.isascii() and name.isdigit():
        made = store.iteration(program, int(name)).policy
        if (made / CARD_FILE).is_file():
            return known[read_card(made).policy_id]
    near = ", ".join(known) or "none"
    raise UserError(f"no policy of '{program}' is called '{name}'", f"known: {near}; or an alias, or an iteration")


def ancestors(store: Store, policy: KnownPolicy) -> tuple[list[KnownPolicy], str]:
    """The policies a policy descends from, the nearest first, and what the first of them started from.

    Returns:
        The ancestors that lie on disk, and the name of the base model, or the id of a policy that is gone.
    """
    known = known_policies(store, policy.card.program)
    chain: list[KnownPolicy] = []
    current = policy
    while (parent := known.get(current.card.parent)) is not None and parent not in chain and parent != policy:
        chain.append(parent)
        current = parent
    return chain, current.card.parent


def _folders(place: Path) -> list[Path]:
    return sorted(folder for folder in place.iterdir() if folder.is_dir()) if place.is_dir() else []
