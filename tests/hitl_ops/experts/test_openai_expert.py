"""The LLM teacher against a real HTTP server: what it asks, what it makes of the replies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import HistoryEntry, Observation, Planner
from hitl_ops.experts.llm_ledger import BudgetExhausted
from hitl_ops.experts.openai_llm import CentralisedOpenAIExpert, OpenAIExpert, OpenAIExpertConfig, make_openai_expert
from hitl_ops.experts.react_prompt import example_turns
from hitl_ops.experts.react_reply import parse_joint_reply, parse_reply
from tests.support.openai_server import OpenAIServer, Raw, Received, Say, Status

HOME = "Furniture:\nkitchen_1: floor_kitchen_1, fridge_1\nbedroom_1: floor_bedroom_1, desk_1\nObjects:\n"
NOTHING = HOME + "No objects found yet"
MUG = "mug_1: fridge_1 in kitchen_1. States: clean: False"
ADMISSIBLE = ["Explore[kitchen_1]", "Explore[bedroom_1]", "Pick[mug_1]", "Open[fridge_1]", "Wait[]", "Done[]"]
SUCCESS = "Successful execution!"
EPISODE = Episode(episode_id="1", scene_id="home", instruction="Bring the mug to the desk.")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def expert_for(
    server: OpenAIServer, folder: Path, client: dict[str, Any] | None = None, **changes: Any
) -> OpenAIExpert:
    settings = {
        "client": {
            "base_url": server.base_url,
            "api_key_env": "",
            "model": server.model,
            "backoff_initial_s": 0.001,
            **(client or {}),
        },
        **changes,
    }
    expert = make_openai_expert(parse_config(OpenAIExpertConfig, settings, source="test"), folder)
    expert.start(EPISODE, None)
    return expert


def seen_by(agent: int, *history: HistoryEntry, world: str = NOTHING, **changes: Any) -> Observation:
    return Observation(
        agent=agent,
        role="ai",
        instruction=EPISODE.instruction,
        prompt="unused",
        admissible=changes.pop("admissible", ADMISSIBLE),
        world_text=world,
        history=list(history),
        abilities=changes.pop("abilities", ["Explore", "Pick", "Open", "Wait", "Done", "FindObjectTool"]),
    )


def said(server: OpenAIServer, request: int = -1) -> list[tuple[str, str]]:
    """A request's system prompt and what follows the example."""
    system, *rest = server.received[request].messages
    joint = "You plan for the two agents" in system["content"]
    example = example_turns(joint=joint)
    assert rest[: len(example)] == example
    return [(message["role"], message["content"]) for message in [system, *rest[len(example) :]]]


def lengths(received: list[Received]) -> list[int]:
    return [len(request.messages) - len(example_turns()) for request in received]


# --- what is asked ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_conversation_tells_the_task_the_home_the_tools_and_then_each_result(
    server: OpenAIServer, tmp_path: Path
) -> None:
    server.script = [
        Say("Well!\n**Thought:** look first\n`explore(kitchen 1)`"),
        Say("Thought: there.\nOpen[fridge_1]\nAssigned!"),
        Say("Thought: done.\nDone[]\nAssigned!"),
    ]
    expert = expert_for(server, tmp_path)
    assert expert.decide(seen_by(1)).action == "Explore[kitchen_1]"
    (system, told), (user, task) = said(server)
    assert (system, user) == ("system", "user")
    assert task == f"Task: Bring the mug to the desk.\n{NOTHING}"
    assert "You are agent 1" in told and "- Pick[obj]" in told
    assert "Assigned!" in told and "Thought:" in told
    # Only its own tools: no cleaning, and no perception tools, which PARTNR's ReAct baselines leave out.
    assert "- Clean[" not in told and "FindObjectTool" not in told
    assert server.received[0].payload["stop"] == ["Assigned!"]

    explored = HistoryEntry(1, "Explore[kitchen_1]", SUCCESS, "Objects: book_1: desk_1 in bedroom_1")
    partner = HistoryEntry(0, "Pick[book_1]", SUCCESS)
    two = "book_1: held by the other agent\ncup_1: desk_1 in bedroom_1"
    assert expert.decide(seen_by(1, partner, explored, world=HOME + two)).action == "Open[fridge_1]"
    assert said(server)[:2] == [("system", told), ("user", task)]
    assert said(server)[2:] == [
        ("assistant", "Thought: look first\nExplore[kitchen_1]\nAssigned!"),
        ("user", f"Result: {SUCCESS}\nOther_Agent_Action: Pick[book_1] {SUCCESS}\nObjects:\n{two}"),
    ]
    opened = HistoryEntry(1, "Open[fridge_1]", "Unexpected failure! - no")
    assert expert.decide(seen_by(1, partner, explored, opened, world=HOME + MUG)).action == "Done[]"
    assert said(server)[:4] == said(server, 1)  # grows at its end only
    assert said(server)[4:] == [
        ("assistant", "Thought: there.\nOpen[fridge_1]\nAssigned!"),
        ("user", f"Result: Unexpected failure! - no\nObjects: {MUG}"),
    ]


def test_each_agent_has_a_conversation_of_its_own_and_each_episode_a_fresh_one(
    server: OpenAIServer, tmp_path: Path
) -> None:
    expert = expert_for(server, tmp_path)
    expert.decide(seen_by(0))
    expert.decide(seen_by(1))
    assert "You are agent 1" in said(server)[0][1] and len(said(server)) == 2
    expert.decide(seen_by(0, HistoryEntry(0, "Wait[]", SUCCESS)))
    assert len(said(server)) == 4
    expert.start(EPISODE, None)
    expert.decide(seen_by(0, world=HOME + MUG))
    assert said(server)[1:] == [("user", f"Task: Bring the mug to the desk.\n{HOME}{MUG}")]


def test_what_happened_before_or_against_its_word_is_told_too(server: OpenAIServer, tmp_path: Path) -> None:
    expert = expert_for(server, tmp_path)
    before = [HistoryEntry(0, "Open[fridge_1]", SUCCESS, MUG), HistoryEntry(1, "Clean[mug_1]", SUCCESS)]
    expert.decide(seen_by(0, *before, world=HOME + MUG))  # called in the middle of an episode
    assert said(server)[2:] == [
        ("assistant", "Open[fridge_1]\nAssigned!"),
        ("user", f"Result: {SUCCESS}\nOther_Agent_Action: Clean[mug_1] {SUCCESS}\nObjects: {MUG}"),
    ]
    # It said Wait[], somebody took over and picked the mug up instead.
    taken = HistoryEntry(0, "Pick[mug_1]", SUCCESS)
    expert.decide(seen_by(0, *before, taken, world=HOME + "mug_1: held by the agent"))
    assert said(server)[4:] == [
        ("assistant", "Pick[mug_1]\nAssigned!"),
        ("user", f"Result: {SUCCESS}\nObjects: mug_1: held by the agent"),
    ]
    # Asked once more with nothing done meanwhile, it asks the same question again: the cache answers.
    asked = len(server.received)
    expert.decide(seen_by(0, *before, taken, world=HOME + "mug_1: held by the agent"))
    assert len(server.received) == asked


@pytest.mark.slow
def test_a_long_conversation_loses_its_oldest_turns(server: OpenAIServer, tmp_path: Path) -> None:
    expert = expert_for(server, tmp_path, context_tokens=6000)
    history: list[HistoryEntry] = []
    for turn in range(40):
        expert.decide(seen_by(0, *history))
        history.append(HistoryEntry(0, "Wait[]", f"{turn}: " + "no " * 100))
    texts = [content for _, content in said(server)]
    assert len(texts) < 40
    assert texts[1].startswith("Task: Bring the mug") and "38: no" in texts[-1]
    assert not any("Result: 0: no" in text for text in texts)
    roles = [role for role, _ in said(server)]
    assert roles == ["system", "user"] + ["assistant", "user"] * (len(roles) // 2 - 1)


def test_the_examples_keep_to_the_form_they_ask_for() -> None:
    for joint in (False, True):
        turns = example_turns(joint=joint)
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        for turn in turns[1::2]:
            reply = turn["content"]
            assert reply.startswith("Thought: ") and reply.endswith("\nAssigned!")
            calls = [line for line in reply.splitlines()[1:-1]]
            if joint:
                named = {int(line[6]): line.partition(": ")[2] for line in calls}
                assert parse_joint_reply(reply, {agent: [call] for agent, call in named.items()}) == named
            else:
                assert [parse_reply(reply, [call]) for call in calls] == calls and len(calls) == 1
        assert "Done[]" in turns[-1]["content"]


# --- what is made of the replies ----------------------------------------------------------------------------------


def test_empty_and_inadmissible_replies_are_asked_again_with_rising_temperature(
    server: OpenAIServer, tmp_path: Path
) -> None:
    server.script = [
        Status(429, headers={"Retry-After": "0.01"}),
        Say(""),
        Say(None),
        Status(500),
        Say("I am so happy to help! Let us think about mugs.\n\nThey are wonderful."),
        Raw("{"),
        Say("Pick[mug_9]\nAssigned!"),
        Say("Fly[kitchen_1]\nAssigned!"),
        Say("Sure thing!\n\nThought: I look\ninto the kitchen.\n```\nexplore [ Kitchen 1 ]\n```\nGood luck!"),
    ]
    expert = expert_for(server, tmp_path)
    reply = expert.decide(seen_by(1))
    assert reply.action == "Explore[kitchen_1]"
    assert reply.text.startswith("Sure thing!")
    answered = [request for position, request in enumerate(server.received) if position not in (0, 3, 5)]
    assert [request.payload["temperature"] for request in answered] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert reply.stats["tries"] == 6 and reply.stats["temperature"] == 1.0 and reply.stats["gave_up"] == 0
    assert reply.stats["completion_tokens"] > 0 and reply.latency_ms > 0
    # An inadmissible reply is answered in the world's words, an empty one cannot be; only the last one is shown.
    assert lengths(answered) == [2, 2, 2, 4, 4, 4]
    assert answered[3].messages[-1]["content"].startswith("Result: No actions were assigned.")
    assert answered[4].messages[-2:] == [
        {"role": "assistant", "content": "Pick[mug_9]"},
        {
            "role": "user",
            "content": "Result: Pick[mug_9] is not possible now. Call one of your tools, with names exactly as listed, "
            "and walk to a thing before you handle it.",
        },
    ]
    assert answered[5].messages[-1]["content"] == 'Result: Tool "Fly" not found'
    # What went wrong stays out of the conversation.
    expert.decide(seen_by(1, HistoryEntry(1, "Explore[kitchen_1]", SUCCESS)))
    assert said(server)[2] == ("assistant", "Thought: I look into the kitchen.\nExplore[kitchen_1]\nAssigned!")
    usage = expert.usage()
    assert (usage.requests, usage.retries) == (7, 3)


@pytest.mark.slow
def test_giving_up_is_waiting_and_says_so(server: OpenAIServer, tmp_path: Path) -> None:
    server.brain = lambda messages: "Pick[mug_9]"
    expert = expert_for(server, tmp_path, temperatures=[0.0, 0.7], explain_refusals=False)
    reply = expert.decide(seen_by(1))
    assert (reply.action, reply.text, reply.stats["gave_up"], reply.stats["tries"]) == ("Wait[]", "Pick[mug_9]", 1, 2)
    assert [request.payload["temperature"] for request in server.received] == [0.0, 0.7]
    assert lengths(server.received) == [2, 2]
    with pytest.raises(UserError, match=r"no admissible action for agent 1 \(last reply: 'Pick\[mug_9\]'\)"):
        expert.decide(seen_by(1, admissible=["Open[fridge_1]"]))


def test_more_than_six_tries_are_refused(server: OpenAIServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'temperatures' is invalid"):
        expert_for(server, tmp_path, temperatures=[0.0] * 7)


def test_a_rerun_is_free_and_the_same(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [Say("hm"), Say("Explore[bedroom_1]")]
    first = expert_for(server, tmp_path).decide(seen_by(1))
    again = expert_for(server, tmp_path).decide(seen_by(1))
    assert len(server.received) == 2
    assert (again.action, again.text, again.latency_ms) == (first.action, first.text, first.latency_ms)
    assert (first.stats["cached"], again.stats["cached"]) == (0, 2)


def test_the_budget_stops_it(server: OpenAIServer, tmp_path: Path) -> None:
    expert = expert_for(server, tmp_path, {"budget": {"max_tokens": 5000}, "cache": False})
    decided = 0
    with pytest.raises(BudgetExhausted):
        while True:
            expert.start(EPISODE, None)
            expert.decide(seen_by(1))
            decided += 1
    usage = expert.usage()
    assert decided == usage.requests > 1
    assert usage.prompt_tokens + usage.completion_tokens <= 5000


def test_policy_ids_name_model_and_mode(server: OpenAIServer, tmp_path: Path) -> None:
    alone, joint = expert_for(server, tmp_path), expert_for(server, tmp_path, mode="centralised")
    assert alone.policy_id == "openai:test-model:react-decentralised"
    assert joint.policy_id == "openai:test-model:react-centralised"
    assert isinstance(alone, Planner) and isinstance(joint, Planner)
    # Whoever runs episodes asks for both actions at once exactly where it is told so.
    assert not alone.plans_jointly and joint.plans_jointly
    assert not hasattr(alone, "decide_joint") and hasattr(joint, "decide_joint")


# --- one planner for both -----------------------------------------------------------------------------------------


def joint_for(server: OpenAIServer, folder: Path, **changes: Any) -> CentralisedOpenAIExpert:
    expert = expert_for(server, folder, mode="centralised", **changes)
    assert isinstance(expert, CentralisedOpenAIExpert)
    return expert


def test_one_planner_plans_for_both_and_then_for_whoever_is_free(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [
        Say("Thought: share.\nAgent_0_Action: Explore[kitchen_1]\nAgent_1_Action: Explore[bedroom_1]\nAssigned!"),
        Say("Thought: next.\nAgent_1_Action: Open[fridge_1]\nAssigned!"),
        Say("Thought: end.\n**Agent 0 Action:** `done[]`\nAgent_1_Action: Wait\n"),
        Say("Done[]"),
    ]
    expert = joint_for(server, tmp_path)
    clean = ["Clean", "Wait", "Done"]
    replies = expert.decide_joint({0: seen_by(0), 1: seen_by(1, abilities=clean)})
    assert {agent: reply.action for agent, reply in replies.items()} == {
        0: "Explore[kitchen_1]",
        1: "Explore[bedroom_1]",
    }
    assert len(server.received) == 1
    tools_0, _, tools_1 = said(server)[0][1].partition("Tools of agent 1:")
    assert "- Clean[" not in tools_0 and "- Clean[" in tools_1
    assert said(server)[1][1] == f"Task: Bring the mug to the desk.\n{NOTHING}"
    assert replies[0].stats["prompt_tokens"] + replies[1].stats["prompt_tokens"] == expert.usage().prompt_tokens

    seen = HistoryEntry(1, "Explore[bedroom_1]", SUCCESS)
    reply = expert.decide(seen_by(1, seen, world=HOME + "cup_1: held by the agent", abilities=clean))
    assert reply.action == "Open[fridge_1]"
    assert said(server)[2:] == [
        (
            "assistant",
            "Thought: share.\nAgent_0_Action: Explore[kitchen_1]\nAgent_1_Action: Explore[bedroom_1]\nAssigned!",
        ),
        (
            "user",
            f"Agent_1_Result: Explore[bedroom_1] {SUCCESS}\n"
            "Agent_0 is still busy with Explore[kitchen_1]; give no line for it.\n"
            "Objects: cup_1: held by agent 1",
        ),
    ]
    opened = HistoryEntry(1, "Open[fridge_1]", SUCCESS)
    looked = HistoryEntry(0, "Explore[kitchen_1]", SUCCESS)
    replies = expert.decide_joint(
        {
            0: seen_by(0, looked, world=HOME + f"{MUG}\ncup_1: held by the other agent"),
            1: seen_by(1, seen, opened, world=HOME + "cup_1: held by the agent\nmug_1: desk_1 in bedroom_1"),
        }
    )
    assert [replies[0].action, replies[1].action] == ["Done[]", "Wait[]"]
    assert said(server)[-1][1] == (
        f"Agent_0_Result: Explore[kitchen_1] {SUCCESS}\nAgent_1_Result: Open[fridge_1] {SUCCESS}\nObjects:\n"
        f"{MUG} (as agent 0 knows it)\nmug_1: desk_1 in bedroom_1 (as agent 1 knows it)\ncup_1: held by agent 1"
    )
    # With only one left, a line without a label can be meant for no other.
    waited = HistoryEntry(1, "Wait[]", SUCCESS)
    assert expert.decide(seen_by(1, seen, opened, waited)).action == "Done[]"
    assert "Agent_0 has finished; give no line for it." in said(server)[-1][1]


def test_a_joint_reply_that_forgets_an_agent_is_asked_again(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [
        Say("Agent_0_Action: Explore[kitchen_1]"),
        Say("Agent_0_Action: Open[fridge_1]\nAgent_1_Action: Wait[]"),
    ]
    expert = joint_for(server, tmp_path)
    replies = expert.decide_joint({0: seen_by(0), 1: seen_by(1)})
    assert [replies[0].action, replies[1].action] == ["Open[fridge_1]", "Wait[]"]
    assert said(server)[-1][1].startswith("Agent_1_Result: no action")
    assert [request.payload["temperature"] for request in server.received] == [0.0, 0.2]


def test_an_agent_forgotten_to_the_end_waits(server: OpenAIServer, tmp_path: Path) -> None:
    server.brain = lambda messages: "Agent_1_Action: Explore[kitchen_1]"
    expert = joint_for(server, tmp_path, client={"cache": False})
    replies = expert.decide_joint({0: seen_by(0), 1: seen_by(1)})
    assert [(reply.action, reply.stats["gave_up"]) for reply in replies.values()] == [
        ("Wait[]", 1),
        ("Explore[kitchen_1]", 0),
    ]
    assert len(server.received) == 6
    # The next episode starts from nothing.
    expert.start(EPISODE, None)
    expert.decide_joint({0: seen_by(0), 1: seen_by(1)})
    assert said(server, 6) == said(server, 0) and len(said(server, 0)) == 2
