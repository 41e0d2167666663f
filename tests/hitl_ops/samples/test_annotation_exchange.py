"""Corrections go out as ``annotations.json`` and come back; what fits no record is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.records.session_export import episode_file_path, read_episode_file
from hitl_ops.samples.annotation_exchange import (
    ImportSummary,
    export_annotations,
    import_annotations,
    read_annotations,
    timestep_of,
)
from hitl_ops.samples.collected_plays import PlayManifest, collect_plays
from tests.support.annotations import another, made_in, mark, said_in
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode


def _wanders(player: Player) -> None:
    for action in ("Explore[kitchen_1]", "Open[bedroom_bed_1]", "Explore[bedroom_1]"):
        player.partner_does(action)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collected, list[EpisodePlay]]:
    collected = Collected(Store.at(tmp_path_factory.mktemp("exchange")), iteration=1)
    plays = [
        collected.play(small_episode(), "ann", through=_wanders),
        collected.play(small_episode(), "bob", through=_wanders),
    ]
    collected.labels.close()
    return collected, plays


class Desk:
    """Two plays of one episode, and files of annotations."""

    def __init__(self, collected: Collected, plays: list[EpisodePlay], folder: Path) -> None:
        self.collected = collected
        self.plays = plays
        self.file = folder / "annotations.json"
        self.manifest: PlayManifest = collect_plays(collected.labels, collected.store.iteration("planner", 1))

    def export(self) -> Any:
        export_annotations(self.manifest, self.collected.sessions, said_in(self.collected), self.file)
        return json.loads(self.file.read_text())

    def take(self, annotations: Any = None, **more: Any) -> ImportSummary:
        if annotations is not None:
            self.file.write_text(json.dumps(annotations))
        return import_annotations(
            self.collected.labels, self.manifest, self.collected.sessions, said_in(self.collected), self.file, **more
        )

    def entry(self, play: int = 0, number: int = 0, **changes: Any) -> dict[str, Any]:
        """An annotation with nothing but the keys everybody writes."""
        decision = made_in(self.collected, self.plays[play])[number]
        tool, _, target = decision.action.rstrip("]").partition("[")
        better, _, place = another(decision).rstrip("]").partition("[")
        return {
            "timestep": timestep_of(decision),
            "agent_uid": 1,
            "original_action": tool,
            "original_target": target,
            "corrected_action": better,
            "corrected_target": place or None,
            "reason": "it was seen before",
            "task_progress_at_time": 0.0,
            **changes,
        }


@pytest.fixture
def desk(sound: tuple[Collected, list[EpisodePlay]], tmp_path: Path) -> Desk:
    shutil.copytree(sound[0].store.root, tmp_path / "store")
    copied = Collected(Store.at(tmp_path / "store"), iteration=1, people=dict(sound[0].people))
    return Desk(copied, sound[1], tmp_path)


def test_what_goes_out_has_the_keys_everybody_reads(desk: Desk) -> None:
    decision = made_in(desk.collected, desk.plays[0])[1]
    right = another(decision)
    mark(desk.collected, desk.plays[0], decision, right, reason="the bed has no lid")
    mark(desk.collected, desk.plays[0], decision, another(decision, 1), annotator="dan")
    written = desk.export()
    (episode, (first, second)) = next(iter(written.items()))
    tool, _, target = right.rstrip("]").partition("[")
    assert (list(written), episode) == (["bring_the_mug"], "bring_the_mug")
    assert [first["annotator"], second["annotator"]] == ["dan", "eva"]
    assert second == {
        "timestep": timestep_of(decision),
        "agent_uid": 1,
        "original_action": "Open",
        "original_target": "bedroom_bed_1",
        "corrected_action": tool,
        "corrected_target": target or None,
        "reason": "the bed has no lid",
        "task_progress_at_time": 0.0,
        "play_id": desk.plays[0].id,
        "decision_index": decision.index,
        "annotator": "eva",
    }


def test_a_timestep_is_a_frame_of_the_episode_file(desk: Desk) -> None:
    play = desk.plays[0]
    frames = read_episode_file(episode_file_path(desk.collected.sessions / play.session_id, play.id)).frames
    for decision in made_in(desk.collected, play):
        step = timestep_of(decision)
        assert 0 <= step < len(frames) and 0 <= step * 3 - decision.sim_step < 3


def test_what_went_out_comes_back_elsewhere_and_adds_nothing_here(desk: Desk, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    shutil.copytree(desk.collected.store.root, fresh)
    for number, annotator in ((0, "eva"), (1, "eva"), (1, "dan")):
        mark(desk.collected, desk.plays[1], made_in(desk.collected, desk.plays[1])[number], annotator=annotator)
    mark(desk.collected, desk.plays[0], made_in(desk.collected, desk.plays[0])[0])
    mark(desk.collected, desk.plays[0], made_in(desk.collected, desk.plays[0])[0], "")
    desk.export()
    assert desk.take().model_dump() == {"added": 0, "known": 3, "refused": []}
    other = Desk(Collected(Store.at(fresh), iteration=1), desk.plays, tmp_path)
    assert other.take().model_dump() == {"added": 3, "known": 0, "refused": []}
    assert other.take().model_dump() == {"added": 0, "known": 3, "refused": []}

    def words(one: Desk) -> Any:
        plays = said_in(one.collected).plays
        return {
            (play_id, index, name): (opinion.corrected, opinion.original, opinion.prompt_hash)
            for play_id, play in plays.items()
            for index, said in play.decisions.items()
            for name, opinion in said.items()
            if opinion.corrected
        }

    assert words(other) == words(desk) and len(words(desk)) == 3
    assert other.export() == desk.export()


def test_entries_of_other_tools_are_found_by_time_and_action(desk: Desk) -> None:
    by_play = {desk.plays[1].id: [desk.entry(1, 2, whatever="else")]}
    assert desk.take(by_play).added == 1
    (said,) = said_in(desk.collected).plays[desk.plays[1].id].decisions.values()
    assert said["import"].reason == "it was seen before"
    assert desk.take(by_play, annotator="eva").added == 1
    # Both plays of the episode begin alike.
    both = desk.take({"bring_the_mug": [desk.entry()]})
    assert (both.added, both.refused) == (0, ["bring_the_mug, annotation 0: 2 decisions fit: name the play_id"])
    assert desk.take({"bring_the_mug": [desk.entry(play_id=desk.plays[0].id)]}).added == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timestep": 100_000}, "the policy did not choose Explore[kitchen_1] at timestep 100000"),
        ({"original_target": "bedroom_1"}, "the policy did not choose Explore[bedroom_1] at"),
        ({"agent_uid": 0}, "the policy did not choose"),
        ({"corrected_action": "Pick", "corrected_target": "moon_1"}, "Pick[moon_1] was not possible at"),
        ({"corrected_action": "Explore", "corrected_target": "kitchen_1"}, "Explore[kitchen_1] is what the policy"),
        ({"corrected_action": "Go]["}, "not an action"),
        ({"decision_index": 7}, "the policy did not choose"),
    ],
)
def test_what_fits_no_record_is_named_and_the_rest_is_taken(desk: Desk, changes: dict[str, Any], said: str) -> None:
    play_id = desk.plays[0].id
    summary = desk.take({play_id: [desk.entry(**changes), desk.entry(0, 2)], "elsewhere": [desk.entry()]})
    assert summary.added == 1
    assert said in summary.refused[0] and summary.refused[0].startswith(f"{play_id}, annotation 0: ")
    assert summary.refused[1] == "elsewhere, annotation 0: there is no such play"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "invalid json"),
        ("[]", "should be an object"),
        ('{"e": [{"timestep": 3}]}', "at 'e.0.original_action'"),
        ('{"e": [{"timestep": -1, "original_action": "Wait", "corrected_action": "Done"}]}', "'e.0.timestep'"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "a.json"
    with pytest.raises(UserError, match="does not exist"):
        read_annotations(file)
    file.write_text(content)
    with pytest.raises(UserError) as refused:
        read_annotations(file)
    assert said in str(refused.value) and "\n" not in str(refused.value)
