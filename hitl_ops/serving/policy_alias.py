"""Which policy serves: aliases in MLflow's model registry, and the frozen weights they stand for.

The registry has one model a program. Each version of it is one policy, named by its card's ``policy_id``; its weights
and card lie in a folder of their own, ``<root>/<program>/policies/<policy_id>``, and are never written again, so that
training an iteration anew changes nothing of what serves, and going back always finds what served before.

Three aliases: ``candidate`` was registered last, ``serving`` is what servers follow, ``previous`` is what served
before. Whoever serves looks up the alias every few seconds; that lookup reads two tables of the registry's SQLite
file, since importing MLflow costs seconds and a few hundred megabytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing
from hitl_ops.contracts.store import PROGRAMS, Store, iteration_key

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from hitl_ops.contracts.policy_card import PolicyCard

Alias = Literal["candidate", "serving", "previous"]
ALIASES: tuple[Alias, ...] = ("candidate", "serving", "previous")
_POLICY_ID = "policy_id"
_ITERATION = "iteration"
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class RegisteredPolicy:
    """One version of a program's policy.

    Attributes:
        program: whose policy.
        version: the registry's number.
        policy_id: as on its card.
        folder: its weights (``merged/``) and ``card.json``.
    """

    program: str
    version: int
    policy_id: str
    folder: Path

    @property
    def card(self) -> PolicyCard:
        """The policy's card.

        Raises:
            UserError: it is missing or damaged.
        """
        from hitl_ops.models.planner_lm import read_card

        return read_card(self.folder)


def resolve(store: Store, program: str, alias: Alias = "serving") -> RegisteredPolicy | None:
    """The policy an alias stands for, None where there is none; takes about a millisecond.

    Raises:
        UserError: the program is unknown, or the registry cannot be read.
    """
    _need_program(program)
    if not store.mlflow_uri.startswith(_SQLITE):
        return _resolve_by_client(store, program, alias)
    file = Path(store.mlflow_uri.removeprefix(_SQLITE))
    if not file.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            row = connection.execute(
                "SELECT aliases.version, tags.value FROM registered_model_aliases AS aliases "
                "JOIN model_version_tags AS tags ON tags.name = aliases.name AND tags.version = aliases.version "
                "WHERE aliases.name = ? AND aliases.alias = ? AND tags.key = ?",
                (program, alias, _POLICY_ID),
            ).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise UserError(f"registry '{file}' cannot be read", str(error)) from None
    except sqlite3.DatabaseError as error:
        raise UserError(f"registry '{file}' is damaged ({error})", "restore it, or move it away") from None
    if row is None:
        return None
    return RegisteredPolicy(program, int(row[0]), str(row[1]), store.policy(program, str(row[1])))


def _resolve_by_client(store: Store, program: str, alias: Alias) -> RegisteredPolicy | None:
    from mlflow.exceptions import MlflowException

    try:
        version = _client(store).get_model_version_by_alias(program, alias)
    except MlflowException:
        return None
    policy_id = version.tags[_POLICY_ID]
    return RegisteredPolicy(program, int(version.version), policy_id, store.policy(program, policy_id))


def register(store: Store, program: str, iteration: int | str) -> RegisteredPolicy:
    """Freeze an iteration's policy and give it the alias ``candidate``; again for the same policy changes nothing.

    Args:
        store: holds the policy and the registry.
        program: whose policy.
        iteration: number or key of the iteration that made it.

    Raises:
        UserError: the iteration has no policy, or the registry cannot be written.
    """
    from mlflow.exceptions import MlflowException

    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER, read_card

    paths = store.iteration(program, iteration)
    if not (paths.policy / CARD_FILE).is_file() or not (paths.policy / MERGED_FOLDER).is_dir():
        raise UserError(
            f"iteration {paths.key} of '{program}' has no policy ('{paths.policy}')",
            "materialise planner_policy of that iteration, or train and merge by hand",
        )
    card = read_card(paths.policy)
    folder = store.policy(program, card.policy_id)
    if not folder.is_dir():
        with publishing(folder) as temporary:
            temporary.mkdir(parents=True)
            _freeze(paths.policy / MERGED_FOLDER, temporary / MERGED_FOLDER)
            # Copied, so that a later card cannot show through; the card is what names the weights.
            shutil.copyfile(paths.policy / CARD_FILE, temporary / CARD_FILE)
    if read_card(folder).policy_id != card.policy_id:
        raise UserError(f"policy folder '{folder}' holds another policy's card", "move it away and register again")
    try:
        client = _client(store)
        _need_model(client, program)
        version = _version_of(client, program, card.policy_id)
        if version is None:
            made = client.create_model_version(
                program,
                source=folder.as_uri(),
                tags={_POLICY_ID: card.policy_id, _ITERATION: iteration_key(card.iteration), "parent": card.parent},
            )
            version = int(made.version)
        client.set_registered_model_alias(program, "candidate", str(version))
    except (MlflowException, OSError) as error:
        raise _registry_error(store, error) from None
    return RegisteredPolicy(program, version, card.policy_id, folder)


def promote(store: Store, program: str, iteration: int | str) -> RegisteredPolicy:
    """Let an iteration's policy serve; what served becomes ``previous``. Servers follow within seconds.

    Promoting what already serves changes nothing. A promotion cut off half-way leaves what served serving.

    Raises:
        UserError: the iteration has no policy, or the registry cannot be written.
    """
    chosen = register(store, program, iteration)
    serving = resolve(store, program, "serving")
    if serving is not None and serving.version == chosen.version:
        return chosen
    if serving is not None:
        _point(store, program, "previous", serving)
    _point(store, program, "serving", chosen)
    return chosen


def rollback(store: Store, program: str) -> RegisteredPolicy:
    """Let the policy serve that served before; the two change places, so that a second rollback undoes the first.

    Raises:
        UserError: nothing served before, its weights are gone, or the registry cannot be written.
    """
    serving, previous = resolve(store, program, "serving"), resolve(store, program, "previous")
    if serving is None or previous is None or previous.version == serving.version:
        raise UserError(f"no policy of '{program}' served before", "promote another with `flywheel promote`")
    if not previous.folder.is_dir():
        raise UserError(f"the weights of '{previous.policy_id}' are gone ('{previous.folder}')", "restore them")
    _point(store, program, "serving", previous)
    _point(store, program, "previous", serving)
    return previous


def _point(store: Store, program: str, alias: Alias, to: RegisteredPolicy) -> None:
    from mlflow.exceptions import MlflowException

    try:
        _client(store).set_registered_model_alias(program, alias, str(to.version))
    except (MlflowException, OSError) as error:
        raise _registry_error(store, error) from None


def _client(store: Store) -> MlflowClient:
    from mlflow import MlflowClient

    if store.mlflow_uri.startswith(_SQLITE):
        Path(store.mlflow_uri.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=store.mlflow_uri, registry_uri=store.mlflow_uri)


def _need_program(program: str) -> None:
    if program not in PROGRAMS:
        raise UserError(f"program '{program}' is unknown", f"choose one of {', '.join(PROGRAMS)}")


def _need_model(client: MlflowClient, program: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(program)
    except MlflowException:
        client.create_registered_model(program, description=f"Policies of the {program} program")


def _version_of(client: MlflowClient, program: str, policy_id: str) -> int | None:
    found = client.search_model_versions(f"name = '{program}' and tags.{_POLICY_ID} = '{policy_id}'")
    return min((int(version.version) for version in found), default=None)


def _registry_error(store: Store, error: Exception) -> UserError:
    return UserError(f"MLflow registry '{store.mlflow_uri}' cannot be used", " ".join(str(error).split())[:200])


def _freeze(source: Path, target: Path) -> None:
    """Make ``target`` the same files as ``source``: further names for them, or copies on another file system.

    Weights are published by renaming, never written in place, so a further name keeps what it named.
    """

    def link(name: str, copy: str) -> str:
        try:
            os.link(name, copy)
        except OSError:
            shutil.copyfile(name, copy)
        return copy

    shutil.copytree(source, target, copy_function=link)
