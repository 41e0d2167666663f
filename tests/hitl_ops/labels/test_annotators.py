"""Annotators: let in by invitations of their own, known by a token, their time and labels counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import InvitationRefused, UnknownRecord
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import SessionRow


def test_an_invitation_lets_in_for_what_it_is_for(store: LabelStore) -> None:
    made, to_annotate = store.create_invitation("planner", 4, 1, purpose="annotate")
    _, to_play = store.create_invitation("planner", 4)
    assert made.purpose == "annotate"
    for refused in (lambda: store.use_invitation(to_annotate), lambda: store.admit_annotator(to_play, "Eva")):
        with pytest.raises(InvitationRefused) as caught:
            refused()
        assert caught.value.reason == "other_purpose" and "something else" in str(caught.value)
    assert [one.uses for one in store.invitations("planner", 4)] == [0, 0], "a refusal uses nothing up"
    assert [one.id for one in store.invitations("planner", 4, "annotate")] == [made.id]
    store.use_invitation(to_play)
    admitted = store.admit_annotator(to_annotate, "Eva")
    assert (admitted.annotator.display_name, admitted.annotator.program, admitted.annotator.iteration) == (
        "Eva",
        "planner",
        4,
    )
    with pytest.raises(InvitationRefused) as caught:
        store.admit_annotator(to_annotate, "Finn")
    assert caught.value.reason == "used_up"
    with pytest.raises(UserError, match="purpose 'look' is unknown"):
        store.create_invitation("planner", 4, purpose="look")  # type: ignore[arg-type]


def test_an_annotator_is_known_by_their_token_alone(store: LabelStore) -> None:
    _, token = store.create_invitation("planner", 0, 3, purpose="annotate")
    eva, finn = (store.admit_annotator(token, name) for name in ("Eva", "Finn"))
    assert store.annotator_by_token(eva.token) == eva.annotator
    assert store.annotator_by_token(finn.token) == finn.annotator
    for other in (token, "", "x" * 43, eva.annotator.id, "\ud800"):
        assert store.annotator_by_token(other) is None
    assert eva.token not in repr(eva)
    assert {one.display_name for one in store.annotators("planner", 0)} == {"Eva", "Finn"}
    assert store.annotators("planner", 1) == [] and len(store.annotators("planner")) == 2
    assert store.annotator(eva.annotator.id) == eva.annotator and store.annotator("nobody") is None
    for name in ("", "a\nb", "x" * 81):
        with pytest.raises(UserError):
            store.admit_annotator(token, name)
    assert store.invitations(purpose="annotate")[0].uses == 2


def test_seconds_add_up(store: LabelStore) -> None:
    _, token = store.create_invitation("planner", 0, purpose="annotate")
    eva = store.admit_annotator(token, "Eva").annotator
    store.annotator_active(eva.id, 2.5)
    assert store.annotator_active(eva.id, 1.5).seconds_active == 4.0
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError):
            store.annotator_active(eva.id, wrong)
    with pytest.raises(UnknownRecord):
        store.annotator_active("0" * 16, 1)
    assert store.label_seconds(eva.id) == 0.0
    for number in range(3):
        store.add_label(
            "verdict",
            program="planner",
            iteration=0,
            annotator=eva.id,
            client_key=f"key-{number}",
            value={"n": number},
            target="something",
            seconds=1.5,
        )
    assert store.label_seconds(eva.id) == 4.5 and store.label_seconds("somebody") == 0.0
    found = store.label_by_key(eva.id, "key-1")
    assert found is not None and found.value == {"n": 1}
    assert store.label_by_key(eva.id, "key-9") is None and store.label_by_key("somebody", "key-1") is None


def test_one_finished_play_is_found_where_all_of_them_are(store: LabelStore, admit: Callable[..., SessionRow]) -> None:
    def played(*, iteration: int = 1, tutorial: bool = False, finish: bool = True) -> str:
        sitting = admit(iteration=iteration)
        play = store.start_play(sitting.id, "task", 1, tutorial=tutorial)
        if finish:
            store.finish_play(play.id, percent_complete=1, success=True, ended_by="person", seconds=1)
        return play.id

    plays = [
        played(),
        played(iteration=2),
        played(tutorial=True),
        played(finish=False),
        played(),
    ]
    store.withdraw_play(plays[4], "asked for", "tester")
    for iteration in (0, 1, 2):
        listed = {play.id: play for play in store.finished_plays("planner", iteration)}
        for play_id in [*plays, "0" * 16, "../x"]:
            assert store.finished_play("planner", iteration, play_id) == listed.get(play_id)
    assert store.finished_play("planner", 1, plays[0]) is not None
