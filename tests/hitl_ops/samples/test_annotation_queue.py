"""Which plays to look at first: where the policy was in doubt, and where a failure followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.samples.annotation_queue import (
    QUEUE_FILE,
    QueueConfig,
    QueuedPlay,
    doubt_of,
    has_failed,
    judged_decisions,
    policy_decisions,
    rank_plays,
    read_annotation_queue,
)
from hitl_ops.samples.collected_plays import PlayManifest, collect_plays
from tests.support.annotations import made_in
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode


def _sure(player: Player) -> None:
    player.partner_does("Explore[bedroom_1]", 0.99)
    player.fetch_the_mug()


def _doubtful(player: Player) -> None:
    player.partner_does("Explore[bedroom_1]", 0.95)
    player.partner_does("Explore[kitchen_1]", 0.2)
    player.fetch_the_mug()


def _failing(player: Player) -> None:
    for action in ("Explore[bedroom_1]", "Navigate[kitchen_1]", "Open[bedroom_bed_1]", "Explore[bedroom_1]"):
        player.partner_does(action)
    player.fetch_the_mug()


def _unfinished(player: Player) -> None:
    player.partner_does("Explore[bedroom_1]", 0.9)


def _overridden(player: Player) -> None:
    player.decide("Explore[bedroom_1]")
    player.run(5)
    player.override("Explore[kitchen_1]", decision_index=0)
    player.run(5)
    player.fetch_the_mug()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collected, PlayManifest, dict[str, Any]]:
    collected = Collected(Store.at(tmp_path_factory.mktemp("queue")), iteration=1)
    plays = {
        what.__name__[1:]: collected.play(small_episode(), through=what)
        for what in (_sure, _doubtful, _failing, _unfinished, _overridden)
    }
    return collected, collect_plays(collected.labels, collected.store.iteration("planner", 1)), plays


def _ranked(played: tuple[Collected, PlayManifest, dict[str, Any]], **config: Any) -> dict[str, QueuedPlay]:
    collected, manifest, plays = played
    names = {play.id: name for name, play in plays.items()}
    return {names[one.play_id]: one for one in rank_plays(manifest, collected.sessions, QueueConfig(**config))}


def test_the_most_promising_come_first(played: tuple[Collected, PlayManifest, dict[str, Any]]) -> None:
    queue = _ranked(played)
    assert next(iter(queue)) == "unfinished"
    assert list(queue).index("sure") > list(queue).index("doubtful")
    values = [one.value for one in queue.values()]
    assert values == sorted(values, reverse=True) and all(0 <= value <= 1 for value in values)
    assert [one.play_id for one in read_annotation_queue(played[0].sessions)] == [one.play_id for one in queue.values()]


def test_the_value_is_the_formula(played: tuple[Collected, PlayManifest, dict[str, Any]]) -> None:
    queue = _ranked(played)
    assert queue["sure"].success and queue["sure"].value == pytest.approx((2 * (0.01 + 0) / 2 + 0) / 3)
    assert queue["doubtful"].value == pytest.approx(2 * ((0.05 + 0) / 2 + (0.8 + 0) / 2) / 2 / 3)
    # Without the policy's word nearness counts alone: 1/3, 1/2, 1 before the failure, 0 after.
    assert queue["failing"].value == pytest.approx(2 * ((1 / 3 + 1 / 2 + 1 + 0) / 4) / 3)
    assert queue["unfinished"].value == pytest.approx((2 * (0.1 + 1) / 2 + 1) / 3)


def test_each_weight_counts_what_it_names(played: tuple[Collected, PlayManifest, dict[str, Any]]) -> None:
    assert next(iter(_ranked(played, uncertainty=1, failure=0, failed_play=0))) == "doubtful"
    only_failed = _ranked(played, uncertainty=0, failure=0, failed_play=1)
    assert [name for name, one in only_failed.items() if one.value > 0] == ["unfinished"]
    near = _ranked(played, uncertainty=0, failure=1, failed_play=0, look_back=0)
    assert near["failing"].value == pytest.approx(1 / 4)
    assert _ranked(played, uncertainty=0, failure=1, failed_play=0, most_looks=2)["failing"].value == pytest.approx(
        3 / 4
    )
    with pytest.raises(UserError, match="must be above 0"):
        QueueConfig().replace(uncertainty=0, failure=0, failed_play=0)


def test_decisions_worth_a_look_come_most_promising_first(
    played: tuple[Collected, PlayManifest, dict[str, Any]],
) -> None:
    made = {name: [one.index for one in made_in(played[0], play)] for name, play in played[2].items()}
    queue = _ranked(played)
    assert queue["sure"].decisions_worth_a_look == []
    assert queue["doubtful"].decisions_worth_a_look == [made["doubtful"][1]]
    assert queue["failing"].decisions_worth_a_look == [made["failing"][place] for place in (2, 1, 0)]
    assert _ranked(played, least_look=0.4)["failing"].decisions_worth_a_look == made["failing"][2:0:-1]
    assert _ranked(played, most_looks=1)["failing"].decisions_worth_a_look == [made["failing"][2]]


def test_reasons_are_in_words(played: tuple[Collected, PlayManifest, dict[str, Any]]) -> None:
    queue = _ranked(played)
    assert queue["sure"].reasons == []
    assert queue["doubtful"].reasons == ["the policy gave Explore[kitchen_1] 20%"]
    assert queue["failing"].reasons == ["1 action of the partner failed"]
    assert queue["unfinished"].reasons == ["the task was not finished (0% complete)"]
    assert queue["overridden"].reasons == ["the person broke off 1 action of the partner"]


def test_what_was_corrected_in_the_play_is_not_asked_for_again(
    played: tuple[Collected, PlayManifest, dict[str, Any]],
) -> None:
    assert _ranked(played)["overridden"].decisions_worth_a_look == []
    judged = judged_decisions(played[1], played[0].sessions)
    assert judged[played[2]["overridden"].id] == [0]
    assert len(judged[played[2]["failing"].id]) == 4


def test_a_queue_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_annotation_queue(tmp_path)
    (tmp_path / QUEUE_FILE).write_text('{"plays": 3}')
    with pytest.raises(UserError, match="is corrupt"):
        read_annotation_queue(tmp_path)


def _decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "index": 0, "agent": 1, "role": "ai", "policy_id": "p", "sim_step": 0, "prompt": "<act>", "admissible": [],
        "reply": "", "action": "Wait[]",
    }  # fmt: skip
    return Decision.model_validate({**fields, **changes})


@pytest.mark.parametrize(
    ("stats", "doubt"),
    [({}, None), ({"logprob": 0.0}, 0.0), ({"logprob": float("-inf")}, 1.0), ({"logprob": float("nan")}, None),
     ({"logprob": 1e-12}, 0.0), ({"entropy": 2.0}, None)],
)  # fmt: skip
def test_doubt_is_what_the_policy_did_not_give_its_choice(stats: dict[str, float], doubt: float | None) -> None:
    assert doubt_of(_decision(stats=stats)) == doubt


@pytest.mark.parametrize(
    ("action", "response", "failed"),
    [("Pick[mug_1]", "Successful execution!", False), ("Pick[mug_1]", "Unexpected failure! - …", True),
     ("Pick[mug_1]", "Overridden.", True), ("Pick[mug_1]", "Interrupted.", False), ("Pick[mug_1]", "", False),
     ("Done[]", "", False), ("Done[]", "Interrupted.", False)],
)  # fmt: skip
def test_what_has_failed(action: str, response: str, failed: bool) -> None:
    assert has_failed(_decision(action=action, response=response)) is failed


def test_only_the_policys_own_decisions_are_judged() -> None:
    decisions = [
        _decision(),
        _decision(index=1, role="human"),
        _decision(index=2, stats={"override": 1.0}),
        _decision(index=3),
    ]
    assert [one.index for one in policy_decisions(decisions)] == [0, 3]
