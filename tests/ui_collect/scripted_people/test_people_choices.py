"""What to do next: whole plays, without server or clock."""

from __future__ import annotations

import random

import pytest

from hitl_ops.contracts.episode import Episode
from hitl_ops.rollouts.episode_sets import generate_episode
from tests.support.plays import small_episode
from tests.support.watched_play import WatchedPlay
from ui_collect.scripted_people.choices import Choices, Step, as_named
from ui_collect.scripted_people.coach import Coach
from ui_collect.scripted_people.errands import errands_of
from ui_collect.scripted_people.floor_plan import FloorPlan
from ui_collect.scripted_people.page import Sight


def choices_of(play: WatchedPlay, **keywords: object) -> Choices:
    episode = play.page.episode
    assert episode is not None
    plan = FloorPlan(episode.scene)
    return Choices(plan, episode.abilities[episode.human], episode.human, **keywords)  # type: ignore[arg-type]


def next_step(play: WatchedPlay, choices: Choices) -> Step:
    return choices.next_step(Sight.of(play.page), errands_of(play.page.missing or []))


def play_through(play: WatchedPlay, choices: Choices, steps: int = 60) -> list[str]:
    """Play by name until nothing is left to do; returns what was done."""
    done: list[str] = []
    for _ in range(steps):
        if play.session.success:
            break
        step = next_step(play, choices)
        if step.kind in ("wait", "nothing"):
            for _ in range(30):
                play.tick()
            continue
        if step.kind == "walk":
            walked = as_named(step)
            done.append(str(walked))
            choices.memory.at = step.target if play.act(str(walked)).startswith("Successful") else ""
        if step.action is not None:
            done.append(str(step.action))
            if not play.act(str(step.action)).startswith("Successful"):
                choices.memory.refused[str(step.action)] += 1
                choices.memory.at = ""
        for _ in range(6):  # what is within reach is looked up a few times a second
            play.tick()
    return done


@pytest.mark.parametrize("index", range(12))
def test_a_person_and_an_oracle_finish_generated_tasks(index: int) -> None:
    play = WatchedPlay(generate_episode("train", index), partner=True)
    done = play_through(play, choices_of(play))
    assert play.session.success, (done, play.session.missing())


@pytest.mark.parametrize("index", [0, 3, 7])
def test_whoever_has_all_abilities_needs_no_partner(index: int) -> None:
    play = WatchedPlay(generate_episode("train", index), human=1)
    done = play_through(play, choices_of(play))
    assert play.session.success, (done, play.session.missing())


def hidden() -> Episode:
    return small_episode(mug_1="kitchen_fridge_1|within|1")


def test_a_coach_spares_the_search() -> None:
    episode = hidden()
    alone, coached = WatchedPlay(episode), WatchedPlay(episode)
    searching = play_through(alone, choices_of(alone))
    assert coached.page.episode is not None
    whispered = Coach([episode]).places(coached.page.episode)
    assert whispered["mug_1"] == ("kitchen_fridge_1", "within")
    led = play_through(coached, choices_of(coached, whispered=whispered))
    assert alone.session.success and coached.session.success
    assert led[:2] in (
        ["Open[kitchen_fridge_1]", "Pick[mug_1]"],
        ["Navigate[kitchen_fridge_1]", "Open[kitchen_fridge_1]"],
    )
    assert len(led) < len(searching)


def test_what_the_task_names_is_searched_first() -> None:
    play = WatchedPlay(hidden())
    done = play_through(play, choices_of(play, instruction="Take the mug out of the kitchen fridge to the bed."))
    assert done[:3] == ["Open[kitchen_fridge_1]", "Pick[mug_1]", "Navigate[bedroom_bed_1]"]


def test_a_coach_knows_nothing_of_other_tasks() -> None:
    play = WatchedPlay(small_episode())
    assert play.page.episode is not None
    other = play.page.episode.model_copy(update={"instruction": "Something else."})
    assert Coach([small_episode()]).places(other) == {}


def test_what_the_partner_is_about_is_left_to_it() -> None:
    play = WatchedPlay(small_episode())
    choices = choices_of(play)
    errands = errands_of(play.page.missing or [])
    assert choices.next_step(Sight.of(play.page), errands).action is not None
    assert choices.next_step(Sight.of(play.page), errands, taken="Pick[mug_1]").kind in ("wait", "walk")
    step = choices.next_step(Sight.of(play.page), errands, taken="Pick[mug_1]")
    assert step.action is None or "mug_1" not in step.action.args


def test_what_was_refused_twice_is_not_tried_again() -> None:
    play = WatchedPlay(small_episode())
    choices = choices_of(play)
    first = next_step(play, choices)
    assert first.action is not None and str(first.action) == "Pick[mug_1]"
    choices.memory.refused["Pick[mug_1]"] = 2
    again = next_step(play, choices)
    assert again.action is None or str(again.action) != "Pick[mug_1]"


def test_mistakes_do_not_serve_and_depend_on_the_seed_alone() -> None:
    play = WatchedPlay(small_episode())
    choices = choices_of(play)
    sight = Sight.of(play.page)

    def mistakes(seed: int) -> list[Step]:
        luck = random.Random(seed)
        return [choices.mistake(sight, luck) for _ in range(40)]

    assert mistakes(1) == mistakes(1) != mistakes(2)
    tools = {step.action.tool if step.action else "walk" for step in mistakes(1)}
    assert {"walk", "Pick"} <= tools
    wrong = {step.action.args[0] for step in mistakes(1) if step.action and step.action.tool == "Pick"}
    assert any(name.startswith("unicorn_") for name in wrong)
