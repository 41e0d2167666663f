"""The page's list of missing things, read."""

from __future__ import annotations

import pytest

from hitl_ops.worlds.household.episode_generator import generate_candidate
from hitl_ops.worlds.household.world import HouseholdWorld
from ui_collect.scripted_people.errands import Errand, errands_of


@pytest.mark.parametrize(
    ("lines", "errands"),
    [
        (["mug_1 must be on table_2 (living_room_1)"], [Errand(("mug_1",), places=["table_2"])]),
        (
            ["mug_1 must be inside cabinet_1 (kitchen_1) or cabinet_2 (kitchen_1)", "mug_1 must be clean"],
            [Errand(("mug_1",), places=["cabinet_1", "cabinet_2"], relation="within", tools=["Clean"])],
        ),
        (["mug_1 must be in living_room_1 or bedroom_1"], [Errand(("mug_1",), rooms=["living_room_1", "bedroom_1"])]),
        (
            ["hat_1 must be on the floor", "hat_1 must be in bedroom_2"],
            [Errand(("hat_1",), on_floor=True, rooms=["bedroom_2"])],
        ),
        (
            ["cup_1 must be on coffee_table_1 (living_room_1)", "cup_1 must be next to tv_stand_1 (living_room_1)"],
            [Errand(("cup_1",), places=["coffee_table_1"], beside=["tv_stand_1"])],
        ),
        (
            ["2 of cup_1, cup_2, cup_3 must be on desk_1 (office_1) (the same one), 1 so far"],
            [Errand(("cup_1", "cup_2", "cup_3"), places=["desk_1"])],
        ),
        (
            ["mug_1 must be filled (counts only while mug_1 is on table_2 (living_room_1))"],
            [Errand(("mug_1",), tools=["Fill"])],
        ),
        (["mug_1 must still be on desk_1 (office_1) at the end"], [Errand(("mug_1",), places=["desk_1"])]),
        (["book_1 and cup_1 must be next to each other"], [Errand(("book_1", "cup_1"), beside=["book_1", "cup_1"])]),
        (["office_standing_lamp_1 must be switched on"], [Errand(("office_standing_lamp_1",), tools=["PowerOn"])]),
        (["mug_1 was placed on desk_1 (office_1) before cup_1 was placed on desk_1 (office_1): order broken"], []),
        (["the episode has no propositions: there is nothing to do"], []),
    ],
)
def test_lines_become_errands(lines: list[str], errands: list[Errand]) -> None:
    assert errands_of(lines) == errands


@pytest.mark.slow
def test_generated_tasks_are_read_as_their_propositions_say() -> None:
    read = 0
    for index in range(60):
        episode = generate_candidate("train", index)
        if episode is None:
            continue
        errands = {errand.subjects: errand for errand in errands_of(HouseholdWorld(episode).evaluation.missing())}
        for proposition in episode.evaluation_propositions:
            args = proposition.args
            subjects = tuple(args.get("object_handles") or args["entity_handles_a"])
            if subjects not in errands:
                continue  # it is so from the beginning
            errand = errands[subjects]
            match proposition.function_name:
                case "is_on_top":
                    found = errand.places == args["receptacle_handles"] and errand.relation == "on"
                case "is_inside":
                    found = errand.places == args["receptacle_handles"] and errand.relation == "within"
                case "is_in_room":
                    found = errand.rooms in (args["room_ids"], [])
                case "is_on_floor":
                    found = errand.on_floor
                case "is_next_to":
                    found = errand.beside == args["entity_handles_b"]
                case state:
                    tools = {"is_clean": "Clean", "is_filled": "Fill", "is_powered_on": "PowerOn"}
                    found = tools.get(state, "PowerOff") in errand.tools
            assert found, (proposition, errand)
            read += 1
    assert read > 60
