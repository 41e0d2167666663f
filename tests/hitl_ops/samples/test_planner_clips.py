"""Plays become clips whose numbers are the same in every process, compared within an episode."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.decision import Decision, EpisodeHeader, EpisodeResult
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.records.clips import ClipSet, open_clip_set
from hitl_ops.records.traces import read_trace, trace_path, write_trace
from hitl_ops.samples.planner_clips import (
    ACTION_WIDTH,
    HAPPENED,
    KNOWN,
    OBSERVATION_WIDTH,
    TOLD,
    PlannerClipConfig,
    decision_numbers,
    make_planner_clips,
)
from hitl_ops.samples.text_features import bag_of_words, words
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode

INSTRUCTION = "Bring the mug to the bed."


def header(episode_id: str = "train_0000", policy: str = "policy-1", instruction: str = INSTRUCTION) -> EpisodeHeader:
    return EpisodeHeader(
        episode_id=episode_id,
        scene_id="home",
        task_type="constraint_free",
        split="train",
        instruction=instruction,
        seed=5,
        roles={0: "ai", 1: "ai"},
        policies={0: policy, 1: policy},
    )


def decision(index: int, action: str, *, agent: int = 0, took: int = 30, **told: object) -> Decision:
    fields = {
        "index": index,
        "agent": agent,
        "role": "ai",
        "policy_id": "policy-1",
        "sim_step": 30 * index,
        "end_step": 30 * index + took,
        "prompt": "Next Agent_Action:<act>",
        "admissible": [action],
        "reply": action,
        "action": action,
        "response": "Successful execution!",
        "world_graph": {"mug_1": {"relation": "on", "parent": "table_1", "states": {"is_clean": False}}},
    }
    return Decision.model_validate({**fields, **told})


def play(store: Store, episode_id: str, source: str, *actions: str, policy: str = "", iteration: int = 0) -> Path:
    """A trace as rollouts leave it."""
    decisions = [decision(index, action, agent=index % 2) for index, action in enumerate(actions)]
    result = EpisodeResult(
        percent_complete=1.0,
        success=True,
        sim_steps=60 * len(actions),
        replans={0: 1, 1: 1},
        runtime_s=1.0,
        ended_by="done",
    )
    path = trace_path(store.iteration("planner", iteration).rollouts / source / "traces", episode_id)
    write_trace(path, header(episode_id, policy or source), decisions, result)
    return path


def made(store: Store, out: Path, **config: object) -> ClipSet:
    make_planner_clips(store, PlannerClipConfig.model_validate(config), out)
    return open_clip_set(out)


def test_plays_of_one_episode_are_compared_those_of_different_players_first(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    for number in range(3):
        play(store, f"train_{number:04d}", "teacher", "Navigate[mug_1]", "Pick[mug_1]")
        play(store, f"train_{number:04d}", "student", "Wait[]", "Navigate[mug_1]", "Pick[mug_1]")
    play(store, "train_0000", "again", "Explore[kitchen_1]", policy="teacher")
    play(store, "train_0009", "teacher", "Wait[]")
    found = made(store, tmp_path / "clips")
    assert len(found.clips) == 7, "an episode that was played once is no question"
    sides = [(found.clips[pair.left], found.clips[pair.right]) for pair in found.pairs]
    assert all(left.episode_id == right.episode_id for left, right in sides)
    alike = [left.policy_id == right.policy_id for left, right in sides]
    assert alike == [False] * 4 + [True]
    for facts in found.clips.values():
        trace = read_trace(store.root / facts.record)
        assert (facts.kind, facts.task, facts.seed) == ("planner", INSTRUCTION, 5)
        assert facts.steps == len(trace.decisions)
        assert facts.fps == pytest.approx(0.5)


def test_the_same_play_twice_is_no_question(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    play(store, "train_0000", "teacher", "Wait[]")
    play(store, "train_0000", "copy", "Wait[]")
    with pytest.raises(UserError, match="no episode has two different plays among the 2 of iteration 000"):
        made(store, tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


def test_an_iteration_is_chosen_and_as_many_clips_as_wanted(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    for source in "abcd":
        for number in range(4):
            play(store, f"train_{number:04d}", source, f"Navigate[{source}]", iteration=1)
    play(store, "train_0000", "old", "Wait[]")
    assert len(made(store, tmp_path / "all").clips) == 16
    few = made(store, tmp_path / "few", clips=5, per_episode=3)
    assert len(few.clips) == 5
    # Two episodes of three and two plays: no clip without another to be compared with.
    assert {name for pair in few.pairs for name in (pair.left, pair.right)} == set(few.clips)
    assert len(made(store, tmp_path / "asked", pairs=2).pairs) == 2
    with pytest.raises(UserError, match="among the 1 of iteration 000"):
        made(store, tmp_path / "none", iteration=0)


def test_a_damaged_trace_is_left_out_and_named(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    play(store, "train_0000", "teacher", "Wait[]")
    play(store, "train_0000", "student", "Pick[mug_1]")
    spoilt = play(store, "train_0000", "other", "Open[fridge_1]")
    spoilt.write_bytes(spoilt.read_bytes()[:-20])
    empty = play(store, "train_0000", "idle")
    found = made(store, tmp_path / "clips")
    assert len(found.clips) == 2
    left_out = found.facts.made["left_out"]
    assert set(left_out) == {path.relative_to(store.root).as_posix() for path in (spoilt, empty)}
    assert "line" in left_out[spoilt.relative_to(store.root).as_posix()]
    assert "has no decision" in left_out[empty.relative_to(store.root).as_posix()]


def test_peoples_plays_are_compared_but_withdrawn_ones_are_not(tmp_path: Path) -> None:
    collected = Collected(Store.at(tmp_path))

    def goes_to(place: str) -> Callable[[Player], None]:
        return lambda player: player.act(f"Navigate[{place}]") or player.run(40)

    plays = [
        collected.play(small_episode(), person, through=goes_to(place), idle_ticks=1)
        for person, place in (("ann", "kitchen_sink_1"), ("bob", "kitchen_fridge_1"), ("cleo", "bedroom_1"))
    ]
    collected.play(small_episode(), "ann", through=goes_to("kitchen_stove_1"), idle_ticks=1, tutorial=True)
    found = made(collected.store, tmp_path / "clips")
    records = {collected.files(play)["trace"].relative_to(tmp_path).as_posix() for play in plays}
    assert {facts.record for facts in found.clips.values()} == records
    assert len(found.pairs) == 3
    assert len({facts.policy_id for facts in found.clips.values()}) == 3
    assert made(collected.store, tmp_path / "again").facts == found.facts
    # The list of plays is older than this word.
    collected.labels.withdraw_play(plays[1].id, "asked to", "ann")
    fewer = made(collected.store, tmp_path / "fewer")
    assert len(fewer.clips) == 2 and len(fewer.pairs) == 1
    with pytest.raises(UserError, match="no episode has two different plays among the 0"):
        made(collected.store, tmp_path / "none", people=False)


def test_a_part_of_an_observation_says_one_thing() -> None:
    parts = {"told": slice(0, TOLD), "known": slice(TOLD, TOLD + KNOWN)}
    parts["happened"] = slice(TOLD + KNOWN, TOLD + KNOWN + HAPPENED)
    parts["clock"] = slice(TOLD + KNOWN + HAPPENED, OBSERVATION_WIDTH)

    def differs(one: Decision, other: Decision, instruction: str = INSTRUCTION) -> set[str]:
        seen, done = decision_numbers(header(), [one])
        others, told = decision_numbers(header(instruction=instruction), [other])
        assert seen.shape == (1, OBSERVATION_WIDTH) and done.shape == (1, ACTION_WIDTH)
        changed = {name for name, part in parts.items() if not np.array_equal(seen[:, part], others[:, part])}
        return changed | ({"action"} if not np.array_equal(done, told) else set())

    pick = decision(0, "Pick[mug_1]")
    assert differs(pick, decision(0, "Pick[mug_1]", prompt="another", reply="hm", latency_ms=3.0)) == set()
    assert differs(pick, pick, instruction="Wash the mug.") == {"told"}
    assert differs(pick, decision(0, "Pick[mug_1]", world_graph={})) == {"known"}
    assert differs(pick, decision(0, "Pick[mug_1]", response="Failed: it is too far away.")) == {"happened"}
    assert differs(pick, decision(0, "Pick[mug_1]", took=90)) == {"clock"}
    assert differs(pick, decision(0, "Pick[kettle_1]")) == {"action"}
    # How far the task has come is the simulator's word: what is learned is not to know it.
    assert differs(pick, decision(0, "Pick[mug_1]", percent_complete=1.0)) == set()


def test_an_agent_is_known_by_what_it_did_before() -> None:
    ways = [
        [decision(0, before), decision(1, "Wait[]", agent=1), decision(2, "Place[mug_1, on, bed_1, None, None]")]
        for before in ("Pick[mug_1]", "Open[fridge_1]")
    ]
    one, other = (decision_numbers(header(), decisions)[0] for decisions in ways)
    assert not np.array_equal(one[2], other[2])
    assert np.array_equal(one[1], other[1]), "the other agent did the same"
    shuffled = decision_numbers(header(), ways[0][::-1])[0]
    assert np.array_equal(one, shuffled)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=30), st.integers(1, 64), st.randoms(use_true_random=False))
def test_a_bag_knows_no_order_and_has_length_one(tokens: list[str], width: int, chance: object) -> None:
    bag = bag_of_words(tokens, width)
    turned = list(tokens)
    chance.shuffle(turned)  # type: ignore[attr-defined]
    assert np.array_equal(bag, bag_of_words(turned, width))
    length = float(np.linalg.norm(bag))
    # Words that cancel each other may leave nothing.
    assert bag.shape == (width,) and bag.dtype == np.float32 and (length == 0 or length == pytest.approx(1))
    assert words("Place[mug_1, on, Bed_2]") == ["place", "mug_1", "on", "bed_2"]


def test_numbers_are_the_same_in_every_process() -> None:
    told = """
        import hashlib
        from hitl_ops.samples.text_features import bag_of_words
        print(hashlib.sha256(bag_of_words(sorted({"mug_1", "bed", "pick mug_1"}), 37).tobytes()).hexdigest())
        print(hashlib.sha256(bag_of_words({"mug_1", "bed", "pick mug_1"}, 37).tobytes()).hexdigest())
    """
    said = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(told)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    }
    assert len(said) == 1
    assert len(set(said.pop().split())) == 1
    # What was learned from numbers once is of no use when they mean something else.
    bag = bag_of_words(["mug_1", "bed"], 8)
    assert bag.tolist() == pytest.approx([0, 0, 0, 0, 0, 0.5**0.5, 0, 0.5**0.5])
