"""Who joins after the loop has opened another iteration plays for that one; who was told which keeps to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from ui_collect.open_iteration import OpenIteration
from ui_collect.settings import CollectSettings


def _open(store: Store, iteration: int) -> None:
    store.iteration("planner", iteration).base.mkdir(parents=True)


def test_follows_what_is_opened_while_the_server_runs(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    _open(store, 0)
    iteration = OpenIteration(store, CollectSettings(iteration=0, follow=True))
    assert (iteration.later(), iteration.now()) == (None, 0)
    _open(store, 1)
    (tmp_path / "planner" / "policies").mkdir()
    (tmp_path / "planner" / "002.part-x").mkdir()
    assert (iteration.later(), iteration.now()) == (1, 1)
    _open(store, 2)
    assert iteration.now() == 2


@pytest.mark.parametrize("settings", [CollectSettings(iteration=0), CollectSettings(iteration=3, follow=True)])
def test_keeps_to_what_it_was_told(settings: CollectSettings, tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    iteration = OpenIteration(store, settings)
    _open(store, 0)
    _open(store, 2)
    assert (iteration.later(), iteration.now()) == (None, settings.iteration)


def test_one_that_was_open_before_is_not_followed(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    _open(store, 4)
    iteration = OpenIteration(store, CollectSettings(iteration=1, follow=True))
    assert iteration.now() == 1
    _open(store, 5)
    assert iteration.now() == 5


def test_an_older_link_leads_to_the_iteration_that_is_open(tmp_path: Path) -> None:
    labels = LabelStore.open(f"sqlite:///{tmp_path / 'labels.db'}")
    invitation, token = labels.create_invitation("planner", 0, max_uses=3)
    assert labels.use_invitation(token).session.iteration == 0
    assert labels.use_invitation(token, iteration=1).session.iteration == 1
    with pytest.raises(UserError):
        labels.use_invitation(token, iteration=-1)
    (kept,) = labels.invitations("planner")
    assert (kept.id, kept.iteration, kept.uses) == (invitation.id, 0, 2)
    labels.close()
