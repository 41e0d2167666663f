"""From a policy to everybody who made it, and back."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.models.planner_lm import CARD_FILE
from hitl_ops.samples.provenance import PROVENANCE_FILE
from hitl_ops.serving.descent import Descendant, made_from
from hitl_ops.serving.known_policies import find_policy, known_policies
from hitl_ops.serving.lineage import Lineage, lineage_of
from hitl_ops.serving.lineage_page import write_lineage_page
from hitl_ops.serving.policy_alias import promote, register
from tests.support.evaluated_policies import write_evaluation
from tests.support.registries import with_registry
from tests.support.taught_store import Taught, sample, taught_store, write_taught

pytestmark = pytest.mark.slow


@pytest.fixture
def taught(tmp_path: Path) -> Taught:
    return taught_store(with_registry(Store.at(tmp_path / "root")))


def of(taught: Taught, iteration: int) -> Lineage:
    return lineage_of(taught.store, taught.labels, "planner", taught.policies[iteration])


def came_of(taught: Taught, kind: Any, name: str) -> dict[str, Descendant]:
    return {one.policy_id: one for one in made_from(taught.store, taught.labels, "planner", kind, name)}


def test_a_policy_is_led_back_to_its_people(taught: Taught) -> None:
    ann, bob = taught.plays[0], taught.plays[1]
    first, corrected, other, in_play = taught.said
    found = of(taught, 1)
    assert [step.policy_id for step in found.chain] == taught.policies[1::-1] and found.base == "tiny"
    assert [(g.policy_id, g.source, g.iteration, g.samples, g.weight) for g in found.groups] == [
        (taught.policies[1], "distilled", 0, 6, 3.0),
        (taught.policies[1], "expert", 1, 3, 15.0),
        (taught.policies[1], "human_gold", 1, 1, 1.0),
        (taught.policies[0], "distilled", 0, 6, 3.0),
    ]
    assert [(g.episodes, g.plays, g.labels) for g in found.groups][1] == (2, 2, 3)
    assert found.samples == 10, "what parent and child both learned from is counted once"
    assert found.episodes["train_1"] == {"distilled": 2, "expert": 1, "human_gold": 1}

    by_id = {label.label_id: label for label in found.labels}
    assert list(by_id) == [first.id, other.id, in_play.id], "the last word on decision 3 made no sample yet"
    assert corrected.id not in by_id
    assert by_id[first.id].found and not by_id[first.id].standing and by_id[other.id].standing
    assert (by_id[other.id].annotator, by_id[other.id].play_id, by_id[other.id].decision) == (
        taught.annotator,
        ann.id,
        5,
    )
    assert (by_id[other.id].original, by_id[other.id].corrected) == ("Wait[]", "Done[]")
    assert len(by_id[other.id].samples) == 2 and by_id[other.id].policies == [taught.policies[1]]
    assert [
        (one.annotator, one.display_name, one.labels, one.samples, one.seconds) for one in found.annotators
    ] == sorted(
        [
            (taught.annotator, "Eve <e>", 2, 3, 30.0),
            (taught.labels.session(bob.session_id).participant_id, "", 1, 1, 15.0),
        ]
    )
    plays = {play.play_id: play for play in found.plays}
    assert set(plays) == {ann.id, bob.id}, "a play that taught nothing made nothing"
    assert plays[bob.id].samples == {"expert": 1, "human_gold": 1} and plays[bob.id].success is True
    assert plays[ann.id].labels == [first.id, other.id] and plays[ann.id].percent_complete == 0.5
    assert {session.session_id: session.plays for session in found.sessions} == {ann.session_id: 1, bob.session_id: 1}
    assert len(found.participants) == 2
    assert found.human_seconds == 3 * 15.0 + 2 * 60.0


def test_what_the_parents_learned_is_part_of_it(taught: Taught) -> None:
    found = of(taught, 2)
    assert [step.policy_id for step in found.chain] == taught.policies[::-1]
    assert {label.label_id for label in found.labels} == {taught.said[0].id, taught.said[2].id, taught.said[3].id}
    assert all(label.policies == [taught.policies[1]] for label in found.labels)
    assert found.samples == 11
    assert list(found.provenance) == taught.policies[::-1]
    assert of(taught, 0).labels == [] and of(taught, 0).plays == [] and of(taught, 0).human_seconds == 0


def test_without_the_label_store_the_samples_still_tell(taught: Taught) -> None:
    found = lineage_of(taught.store, None, "planner", taught.policies[1])
    assert [label.label_id for label in found.labels] == [taught.said[0].id, taught.said[2].id, taught.said[3].id]
    assert not any(label.found for label in found.labels) and found.annotators == [] and found.sessions == []
    assert {play.play_id for play in found.plays} == {taught.plays[0].id, taught.plays[1].id}


def test_a_withdrawn_play_is_told_as_such(taught: Taught) -> None:
    taught.labels.withdraw_play(taught.plays[0].id, "asked to", "admin")
    assert {play.play_id: play.withdrawn for play in of(taught, 1).plays} == {
        taught.plays[0].id: True,
        taught.plays[1].id: False,
    }


def test_from_a_person_to_the_policies(taught: Taught) -> None:
    _, second, third = taught.policies
    ann, bob, idle = taught.plays
    for kind, name, samples in [
        ("play", ann.id, 2),
        ("play", bob.id, 2),
        ("label", str(taught.said[2].id), 2),
        ("label", str(taught.said[0].id), 1),
        ("session", bob.session_id, 2),
        ("annotator", taught.annotator, 3),
        ("annotator", taught.said[3].annotator, 1),
    ]:
        found = came_of(taught, kind, name)
        assert list(found) == [second, third], (kind, name)
        assert (len(found[second].samples), found[second].inherited_from) == (samples, ""), (kind, name)
        assert (found[third].samples, found[third].inherited_from) == ([], second), (kind, name)
    assert came_of(taught, "play", bob.id)[second].weight == 6.0
    assert came_of(taught, "play", idle.id) == {}
    assert came_of(taught, "label", str(taught.said[1].id)) == {}
    assert list(came_of(taught, "episode", "train_1")) == taught.policies
    assert list(came_of(taught, "episode", "train_9")) == [third], "a variation comes of its episode"


@pytest.mark.slow
def test_what_serves_is_led_back_after_its_iteration_was_made_anew(taught: Taught) -> None:
    store, second = taught.store, taught.policies[1]
    write_evaluation(store.iteration("planner", 1).evaluation, second, "110")
    promote(store, "planner", 1)
    before = of(taught, 1)
    assert before.chain[0].success == pytest.approx(2 / 3) and before.chain[0].aliases == ["candidate", "serving"]
    # Trained anew on other samples: the iteration's folder holds another policy, with other provenance.
    other = write_taught(store, 1, [sample("000/train_5/0/distilled", "distilled", 0)], taught.policies[0])
    shutil.rmtree(store.iteration("planner", 1).samples)
    assert of(taught, 1) == before
    assert lineage_of(store, taught.labels, "planner", "serving").policy_id == second
    assert lineage_of(store, taught.labels, "planner", "1").policy_id == other
    assert lineage_of(store, taught.labels, "planner", "001").samples == 7
    known = known_policies(store, "planner")
    assert list(known) == [taught.policies[0], *sorted([second, other]), taught.policies[2]]
    assert known[second].registered and not known[other].registered
    assert list(came_of(taught, "play", taught.plays[0].id)) == [second, taught.policies[2]]


@pytest.mark.slow
def test_an_ancestor_without_provenance_is_named_not_hidden(taught: Taught) -> None:
    store = taught.store
    (store.iteration("planner", 0).policy / PROVENANCE_FILE).unlink()
    register(store, "planner", 0)  # as an earlier version left it
    found = of(taught, 1)
    assert [step.samples for step in found.chain] == [10, None]
    with pytest.raises(UserError, match=r"has no provenance\.parquet: publish the policy again"):
        of(taught, 0)


def test_a_parent_that_is_gone_is_named(taught: Taught) -> None:
    shutil.rmtree(taught.store.iteration("planner", 0).policy)
    found = of(taught, 2)
    assert [step.policy_id for step in found.chain] == taught.policies[:0:-1] and found.base == taught.policies[0]


def test_mistakes_are_a_line_each(taught: Taught) -> None:
    with pytest.raises(UserError, match=f"no policy of 'planner' is called 'servin': known: {taught.policies[0]}, "):
        of_name(taught, "servin")
    with pytest.raises(UserError, match="no policy of 'planner' is called '7'"):
        of_name(taught, "7")
    with pytest.raises(UserError, match="program 'plannet' is unknown"):
        lineage_of(taught.store, taught.labels, "plannet", "1")
    with pytest.raises(UserError, match="label 'x' is not a number"):
        came_of(taught, "label", "x")
    with pytest.raises(UserError, match="the label store knows no session 'x'"):
        came_of(taught, "session", "x")
    with pytest.raises(UserError, match="only the label store knows annotator 'x'"):
        made_from(taught.store, None, "planner", "annotator", "x")
    file = taught.store.iteration("planner", 1).policy / PROVENANCE_FILE
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"provenance\.parquet' is corrupt"):
        of(taught, 1)
    assert find_policy(taught.store, "planner", "2").folder == taught.store.iteration("planner", 2).policy
    (taught.store.iteration("planner", 2).policy / CARD_FILE).write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        of_name(taught, "2")


def of_name(taught: Taught, name: str) -> Lineage:
    return lineage_of(taught.store, taught.labels, "planner", name)


class _Page(HTMLParser):
    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            elif name in ("href", "src"):
                self.links.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
def test_the_page_names_everything_and_needs_nothing(taught: Taught, tmp_path: Path) -> None:
    file = write_lineage_page(of(taught, 2), tmp_path / "pages" / "lineage.html")
    page = _Page(file.read_text(encoding="utf-8"))
    assert page.open == []
    assert page.links and all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    for told in [*taught.policies, *(play.id for play in taught.plays[:2]), taught.annotator, "Eve <e>", "train_9~1"]:
        assert told in page.text, told
    assert "the cup is <here>" in page.text and "<here>" not in file.read_text(), "what people wrote is escaped"
    assert "(said otherwise since)" in page.text and taught.plays[2].id not in page.text
    before = file.read_bytes()
    assert write_lineage_page(of(taught, 2), file).read_bytes() == before
    bare = _Page(write_lineage_page(of(taught, 0), tmp_path / "bare.html").read_text(encoding="utf-8"))
    assert "Annotators" not in bare.text and "the base model" in bare.text
