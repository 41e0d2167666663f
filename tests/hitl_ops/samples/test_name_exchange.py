"""Exchanged names: consistent, reversible in structure, and blind to everything that is no kind's name."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.contracts.episode import Episode
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.rollouts.play import play_episode
from hitl_ops.samples.name_exchange import exchange_names
from hitl_ops.worlds.household.catalog import FURNITURE, OBJECTS, ROOMS


@pytest.fixture(scope="module")
def texts() -> list[list[str]]:
    episode: Episode = generate_episode("train", 1)
    oracle = Oracle("partial")
    played = play_episode(episode, {0: oracle, 1: oracle})
    return [[f"{d.prompt}{d.action}<end_act>" for d in played.decisions if d.agent == agent] for agent in (0, 1)]


def test_a_text_keeps_its_shape(texts: list[list[str]]) -> None:
    text = texts[0][-1]
    other = exchange_names(text, "1")
    assert other != text
    assert other.count("\n") == text.count("\n")
    assert re.findall(r"_\d+", other) == re.findall(r"_\d+", text)
    opening = text.partition("Task:")[0]
    assert other.startswith(opening)
    for tool in ("Navigate[", "Place[", "Action Result: Successful execution!"):
        assert other.count(tool) == text.count(tool)


def test_prompts_of_an_episode_stay_prefixes(texts: list[list[str]]) -> None:
    for mine in texts:
        exchanged = [exchange_names(text, "7") for text in mine]
        for before, after in itertools.pairwise(exchanged):
            assert after.startswith(before)


def test_the_exchange_is_one_to_one_within_each_group() -> None:
    for group in (OBJECTS, FURNITURE, ROOMS):
        others = [exchange_names(f"Task: {kind}_1", "3").removeprefix("Task: ") for kind in group]
        assert {other.removesuffix("_1") for other in others} == set(group)


def test_a_name_and_the_word_for_it_stay_together() -> None:
    text = "Task: bring the mug to the coffee table in the living room\nmug_1: living_room_coffee_table_1"
    task, line = exchange_names(text, "5").split("\n")
    thing, place = line.split(": ")
    kind = thing.removesuffix("_1")
    assert f"the {kind} to the" in task
    spoken_furniture, spoken_room = task.split(" to the ")[1].split(" in the ")
    assert place == f"{spoken_room} {spoken_furniture}".replace(" ", "_") + "_1"


@given(st.text(alphabet="ABCXYZ 0123456789.,:\n[]", max_size=80))
def test_a_text_without_kinds_is_left_alone(text: str) -> None:
    assert exchange_names(text, "2") == text
