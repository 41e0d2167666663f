"""Who gets which task; and the tutorial's task itself."""

from __future__ import annotations

from collections import Counter

from hitl_ops.contracts.episode import Episode
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.play import play_episode
from ui_collect.assignment import Assignment, shuffled
from ui_collect.tutorial import tutorial_episode


def tasks(count: int) -> list[Episode]:
    return [Episode(episode_id=f"e{number}", scene_id="s", instruction="") for number in range(count)]


def test_the_task_played_least_comes_first_and_never_one_the_person_had() -> None:
    assignment = Assignment(tasks(3), attempts=3, plays=Counter({"e0": 2, "e2": 1}))
    given = []
    for _ in range(3):
        episode = assignment.next_task("ann")
        assert episode is not None
        given.append(episode.episode_id)
        assignment.count(episode.episode_id, "ann")
    assert given == ["e1", "e2", "e0"]
    assert assignment.next_task("ann") is None
    assert assignment.tasks_of("ann") == 3


def test_a_task_that_could_not_be_begun_is_not_counted() -> None:
    assignment = Assignment(tasks(2))
    assignment.count("e0", "ann")
    assignment.uncount("e0", "ann")
    assert assignment.plays["e0"] == 0
    assert (assignment.tasks_of("ann"), assignment.attempts_left("ann", "e0")) == (0, 3)


def test_two_people_at_once_get_different_tasks() -> None:
    assignment = Assignment(tasks(2))
    first = assignment.next_task("ann")
    assert first is not None
    assignment.count(first.episode_id, "ann")
    second = assignment.next_task("bob")
    assert second is not None
    assert second.episode_id != first.episode_id


def test_no_more_than_three_attempts_at_a_task_also_after_a_restart() -> None:
    assignment = Assignment(tasks(2))
    assert assignment.attempts_left("ann", "e0") == 3
    assignment.count("e0", "ann")
    assignment.count("e0", "ann")
    assert assignment.attempts_left("ann", "e0") == 1
    again = Assignment(tasks(2), plays=assignment.plays)
    again.remember("ann", ["e0", "e0"])
    assert again.attempts_left("ann", "e0") == 1
    assert again.plays["e0"] == 2, "remembering does not count twice"
    again.count("e0", "ann")
    assert again.attempts_left("ann", "e0") == 0
    assert again.attempts_left("bob", "e0") == 3


def test_the_tutorial_can_be_solved_by_either_agent_and_asks_for_opening_picking_and_placing() -> None:
    for human in (0, 1):
        episode = tutorial_episode(human)
        assert episode == tutorial_episode(human), "always the same"
        oracle = Oracle("full")
        played = play_episode(episode, {human: oracle, 1 - human: oracle})
        assert played.result.success
        tools = {decision.action.partition("[")[0] for decision in played.decisions}
        assert {"Open", "Pick", "Place"} <= tools


def test_each_iteration_meets_the_tasks_in_an_order_of_its_own() -> None:
    tasks = [tutorial_episode().model_copy(update={"episode_id": f"task_{number}"}) for number in range(40)]
    orders = {key: [task.episode_id for task in shuffled(tasks, *key)] for key in (("planner", 1), ("planner", 2))}
    again = [task.episode_id for task in shuffled(reversed(tasks), "planner", 1)]
    assert orders["planner", 1] == again and sorted(again) == sorted(task.episode_id for task in tasks)
    assert len(set(orders["planner", 1][:10]) & set(orders["planner", 2][:10])) < 8
