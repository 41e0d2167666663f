"""Which policy serves: aliases in MLflow's model registry, and the frozen weights they stand for.

The registry has one model a program. Each version of it is one policy, named by its card's ``policy_id``; its
weights, its card and the provenance of its samples lie in a folder of their own,
``<root>/<program>/policies/<policy_id>``, and are never written again, so that training an iteration anew changes
nothing of what serves, and going back always finds what served before. Only a policy whose evaluation is finished can
come to serve; the evaluation is frozen beside it, for the gate to compare later policies with.

Three aliases: ``candidate`` was registered last, ``serving`` is what servers follow, ``previous`` is what served
before. Whoever serves looks up the alias every few seconds; that lookup reads two tables of the registry's SQLite
file, since importing MLflow costs seconds and a few hundred megabytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named, publishing, sweep_temporaries
from hitl_ops.contracts.store import PROGRAMS, IterationPaths, Store, iteration_key

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from hitl_ops.contracts.policy_card import PolicyCard
    from hitl_ops.evaluation.gate import EvaluatedPolicy

Alias = Literal["candidate", "serving", "previous"]
ALIASES: tuple[Alias, ...] = ("candidate", "serving", "previous")
_POLICY_ID = "policy_id"
_ITERATION = "iteration"
_SQLITE = "sqlite:///"
_EVALUATION = "evaluation"
_LOCK = ".changing"


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
    paths = store.iteration(program, iteration)
    policy_id = policy_of(paths).policy_id
    with _changing(store, program):
        return _register(store, program, paths.policy, policy_id)


def policy_of(paths: IterationPaths) -> PolicyCard:
    """The card of the policy an iteration made.

    Raises:
        UserError: there is none, or it is not whole.
    """
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER, read_card

    if not (paths.policy / CARD_FILE).is_file() or not (paths.policy / MERGED_FOLDER).is_dir():
        raise UserError(
            f"iteration {paths.key} of '{paths.program}' has no policy ('{paths.policy}')",
            f"materialise {paths.program}_policy of that iteration, or train and merge by hand",
        )
    return read_card(paths.policy)


def evaluation_of(store: Store, program: str, iteration: int | str, policy_id: str) -> EvaluatedPolicy:
    """The finished evaluation of a policy: its iteration's, or, where that is of another one by now, the frozen one.

    Args:
        store: holds both.
        program: whose policy.
        iteration: the iteration that made it.
        policy_id: as on its card.

    Raises:
        UserError: it has not been evaluated, or the evaluation is damaged.
    """
    from hitl_ops.evaluation.gate import evaluated_policy

    try:
        return evaluated_policy(store.iteration(program, iteration).evaluation, policy_id)
    except UserError:
        frozen = store.policy(program, policy_id) / _EVALUATION
        if not frozen.is_dir():
            raise
        return evaluated_policy(frozen, policy_id)


def first_policy_of(paths: IterationPaths) -> PolicyCard | None:
    """The card of what an iteration's first phase made; None where it has none, or took over an earlier policy.

    Raises:
        UserError: the card is damaged.
    """
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER, read_card

    if not (paths.first_policy / CARD_FILE).is_file() or not (paths.first_policy / MERGED_FOLDER).is_dir():
        return None
    card = read_card(paths.first_policy)
    return card if card.iteration == paths.iteration else None


def promote(
    store: Store,
    program: str,
    iteration: int | str,
    *,
    instead_of: RegisteredPolicy | Literal["any"] | None = "any",
    first: bool = False,
) -> RegisteredPolicy:
    """Let an iteration's policy serve; what served becomes ``previous``. Servers follow within seconds.

    Only a policy whose evaluation is finished is let to serve. Weights, card and evaluation lie frozen on disk before
    any alias moves, and ``serving`` moves last: a promotion cut off at any moment leaves what served serving, and the
    next one finishes it. Promoting what already serves changes nothing.

    Whether it is good enough is not asked here but by :func:`hitl_ops.serving.promotion.promote_by_gate`.

    Args:
        store: holds the policy and the registry.
        program: whose policy.
        iteration: number or key of the iteration that made it.
        instead_of: what must serve at this moment, as somebody found it before deciding; "any": whatever does.
        first: whether it is the policy of the iteration's first phase, see :func:`first_policy_of`.

    Raises:
        UserError: the iteration has no such policy, it has not been evaluated, another policy serves than
            ``instead_of``, or the registry cannot be written.
    """
    paths = store.iteration(program, iteration)
    card = first_policy_of(paths) if first else policy_of(paths)
    if card is None:
        raise UserError(f"iteration {paths.key} of '{program}' has no first policy of its own", "promote its policy")
    policy_id = card.policy_id
    evaluation_of(store, program, iteration, policy_id)
    with _changing(store, program):
        serving = resolve(store, program, "serving")
        if instead_of != "any" and serving != instead_of:
            raise UserError(
                f"meanwhile {serving.policy_id if serving else 'no policy'} serves '{program}'", "decide again"
            )
        chosen = _register(store, program, paths.first_policy if first else paths.policy, policy_id)
        _freeze_evaluation(paths.evaluation, chosen)
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
    nobody = UserError(f"no policy of '{program}' served before", "promote another with `flywheel promote`")
    if resolve(store, program, "previous") is None:
        raise nobody
    with _changing(store, program):
        serving, previous = resolve(store, program, "serving"), resolve(store, program, "previous")
        if serving is None or previous is None or previous.version == serving.version:
            raise nobody
        if not previous.folder.is_dir():
            raise UserError(f"the weights of '{previous.policy_id}' are gone ('{previous.folder}')", "restore them")
        _point(store, program, "serving", previous)
        _point(store, program, "previous", serving)
        return previous


@contextlib.contextmanager
def _changing(store: Store, program: str) -> Iterator[None]:
    """One process at a time changes what serves; what a killed one left half-made is removed first."""
    _need_program(program)
    place = store.policies(program)
    with disk_errors_named(place):
        place.mkdir(parents=True, exist_ok=True)
        lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep_temporaries(place)
        yield
    finally:
        os.close(lock)


def _register(store: Store, program: str, source: Path, policy_id: str) -> RegisteredPolicy:
    from mlflow.exceptions import MlflowException

    from hitl_ops.models.planner_lm import read_card

    folder = store.policy(program, policy_id)
    if not folder.is_dir():
        _freeze_policy(source, folder, policy_id)
    card = read_card(folder)
    if card.policy_id != policy_id:
        raise UserError(f"policy folder '{folder}' holds another policy's card", "move it away and register again")
    try:
        client = _client(store)
        _need_model(client, program)
        version = _version_of(client, program, policy_id)
        if version is None:
            made = client.create_model_version(
                program,
                source=folder.as_uri(),
                tags={_POLICY_ID: policy_id, _ITERATION: iteration_key(card.iteration), "parent": card.parent},
            )
            version = int(made.version)
        client.set_registered_model_alias(program, "candidate", str(version))
    except (MlflowException, OSError) as error:
        raise _registry_error(store, error) from None
    return RegisteredPolicy(program, version, policy_id, folder)


def _point(store: Store, program: str, alias: Alias, to: RegisteredPolicy) -> None:
    from mlflow.exceptions import MlflowException

    try:
        _client(store).set_registered_model_alias(program, alias, str(to.version))
    except (MlflowException, OSError) as error:
        raise _registry_error(store, error) from None


def _client(store: Store) -> MlflowClient:
    from mlflow import MlflowClient

    from hitl_ops.training.mlflow_database import prepare_mlflow_database

    prepare_mlflow_database(store.mlflow_uri)
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


def _freeze_policy(source: Path, folder: Path, policy_id: str) -> None:
    """Make ``folder`` the policy that lies in ``source`` at this moment."""
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER, read_card
    from hitl_ops.samples.provenance import PROVENANCE_FILE

    changed = UserError(f"'{source}' was written anew while it was frozen", "run it again")
    with publishing(folder) as temporary:
        temporary.mkdir(parents=True)
        try:
            _freeze(source / MERGED_FOLDER, temporary / MERGED_FOLDER)
            # Copied, so that a later card cannot show through; the card is what names the weights.
            shutil.copyfile(source / CARD_FILE, temporary / CARD_FILE)
            if (source / PROVENANCE_FILE).is_file():
                shutil.copyfile(source / PROVENANCE_FILE, temporary / PROVENANCE_FILE)
        except FileNotFoundError:
            raise changed from None
        # A card goes before its weights do: where it still lies there, they were its own all the while.
        if read_card(temporary).policy_id != policy_id or read_card(source).policy_id != policy_id:
            raise changed


def _freeze_evaluation(source: Path, policy: RegisteredPolicy) -> None:
    """Lay the policy's evaluation beside it, where it is not there yet or has been made again."""
    from hitl_ops.evaluation.evaluate import SCORES_FILE, SUMMARY_FILE
    from hitl_ops.evaluation.gate import evaluated_policy

    target = policy.folder / _EVALUATION
    files = (SUMMARY_FILE, SCORES_FILE)
    try:
        evaluated_policy(source, policy.policy_id)
    except UserError:
        return  # the iteration's evaluation is of another policy by now; the frozen one was found whole before
    found = {name: (source / name).read_bytes() for name in files}
    if all((target / name).is_file() and (target / name).read_bytes() == found[name] for name in files):
        return
    with publishing(target) as temporary:
        temporary.mkdir()
        for name, content in found.items():
            (temporary / name).write_bytes(content)
        evaluated_policy(temporary, policy.policy_id)


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
