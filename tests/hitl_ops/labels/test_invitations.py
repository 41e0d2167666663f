"""Invitations: secret, counted exactly, and refused for a reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from subprocess import Popen
from typing import Any

import pytest
from sqlalchemy import text

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import InvitationRefused, UnknownRecord
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.tokens import hash_token, is_id, new_id, new_token
from tests.support.label_writers import go


def refusal(store: LabelStore, token: str) -> str:
    with pytest.raises(InvitationRefused) as caught:
        store.use_invitation(token)
    return caught.value.reason


def test_tokens_and_ids_are_random_and_plain() -> None:
    tokens = {new_token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)
    assert len({new_id() for _ in range(200)}) == 200
    assert is_id(new_id())
    assert not any(is_id(text) for text in ("", "..", "0123456789ABCDEF", "0123456789abcdef\n", "0123456789abcde"))
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(hash_token("\ud800\x00")) == 64


def test_invitation_lets_in_as_many_as_it_is_for(store: LabelStore, clock: Any) -> None:
    invitation, token = store.create_invitation("planner", 3, max_uses=2)
    assert (invitation.uses, invitation.max_uses, invitation.created_at) == (0, 2, clock.moment)
    first, second = store.use_invitation(token, display_name="Zoë"), store.use_invitation(token)
    assert first.participant.display_name == "Zoë"
    assert first.participant.invitation_id == invitation.id
    assert first.session.participant_id == first.participant.id
    assert (first.session.program, first.session.iteration, first.session.stage) == ("planner", 3, "consent")
    assert len({first.token, second.token, token}) == 3
    assert len({first.session.id, second.session.id, first.participant.id, second.participant.id}) == 4
    assert refusal(store, token) == "used_up"
    assert [row.uses for row in store.invitations()] == [2]


def test_refusals_say_why(store: LabelStore, clock: Any) -> None:
    revoked, revoked_token = store.create_invitation("planner", 0)
    assert store.revoke_invitation(revoked.id).revoked
    assert store.revoke_invitation(revoked.id).revoked
    _, short_token = store.create_invitation("planner", 0, 5, clock.moment + timedelta(hours=1))
    store.use_invitation(short_token)
    clock.forward(hours=1)
    assert refusal(store, revoked_token) == "revoked"
    assert refusal(store, short_token) == "expired"
    for odd in ("", "nonsense", "\x00", "\ud800", hash_token(short_token), short_token + " "):
        assert refusal(store, odd) == "unknown"
    assert store.overview().participants == 1


def test_revoking_what_is_not_there(store: LabelStore) -> None:
    for odd in ("0123456789abcdef", "../../x", "", "\x00"):
        with pytest.raises(UnknownRecord):
            store.revoke_invitation(odd)


def test_refused_person_is_not_counted(store: LabelStore) -> None:
    _, token = store.create_invitation("planner", 0)
    for name in ("x" * 81, "a\x00b", "a\rb", "\ud800"):
        with pytest.raises(UserError):
            store.use_invitation(token, display_name=name)
    assert store.use_invitation(token, display_name="x" * 80).participant.display_name == "x" * 80


@pytest.mark.parametrize(
    "arguments",
    [("nobody", 0, 1), ("planner", -1, 1), ("planner", 0, 0), ("planner", 0, 1, datetime(2026, 1, 1))],
)
def test_invitation_out_of_range_is_refused(store: LabelStore, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(UserError):
        store.create_invitation(*arguments)
    assert store.invitations() == []


def test_invitations_are_listed_newest_first(store: LabelStore, clock: Any) -> None:
    made = []
    for program, iteration in (("planner", 0), ("planner", 1), ("dagger", 1)):
        made.append(store.create_invitation(program, iteration)[0])
        clock.forward(seconds=1)
    assert store.invitations() == made[::-1]
    assert store.invitations("planner") == [made[1], made[0]]
    assert store.invitations(iteration=1) == [made[2], made[1]]


def test_secrets_are_kept_as_hashes_only(store: LabelStore) -> None:
    invitation, token = store.create_invitation("planner", 0)
    admission = store.use_invitation(token)
    assert admission.token not in repr(admission)
    with store._transaction() as session:
        everything = repr(
            [session.execute(text(f"SELECT * FROM {table}")).all() for table in ("invitations", "sessions")]
        )
    assert hash_token(token) in everything
    assert hash_token(admission.token) in everything
    assert token not in everything
    assert admission.token not in everything
    assert "token" not in invitation.model_dump() | admission.session.model_dump()


@pytest.mark.slow
def test_two_processes_never_let_in_one_too_many(store: LabelStore, start_writer: Callable[..., Popen[str]]) -> None:
    invitation, token = store.create_invitation("planner", 0, max_uses=30)
    writers = [start_writer("join", token, "25") for _ in range(2)]
    go(*writers)
    let_in = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert sum(let_in) == 30
    assert all(let_in), "one of them never got its turn: the test raced nobody"
    figures = store.overview()
    assert figures.participants == 30
    assert figures.sessions_by_stage == {"consent": 30}
    assert [row.uses for row in store.invitations() if row.id == invitation.id] == [30]
