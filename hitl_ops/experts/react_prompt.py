"""ReAct as text: what a language model is told. How its reply is read is in ``react_reply.py``.

The form follows PARTNR's ReAct baseline (arXiv 2411.00081): the model writes ``Thought: …``, then one call, then
``Assigned!``; it is answered with ``Result: …`` and ``Objects: …``. The words are our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hitl_ops.experts.llm_client import Message
from hitl_ops.experts.react_reply import END_OF_REPLY, find_calls
from hitl_ops.worlds.household.tools import NO_ACTION, PERCEPTION_TOOLS, TOOLS

NOTHING_FOUND = "No objects found yet"

_NOTES = {
    "Place": "relation is on or within; constraint and ref are next_to and an object standing there, or None and None. "
    "The floor is floor_<room>",
    "Rearrange": "the arguments are those of Place; it walks, picks up, walks again and puts down by itself",
    "Pick": "you can hold one thing; walk to it first",
    "Open": "what lies inside is seen only once it is open",
    "Explore": "the way to find objects",
    "Done": "only when the whole task is finished",
}

_RULES = """\
How a home works:
- You know all furniture from the start, but an object only once somebody has seen it. What is not listed under \
Objects may be anywhere: explore rooms one after another and open closed furniture.
- Walk to a thing before you pick it up, clean it or switch it, and to furniture before you open it or put something \
on it: arms reach two metres, no further.
- Only what is out of the ordinary is said of an object's state: not clean, filled, switched on.
- Use names exactly as they are listed, with their numbers. Never make one up.
- A call that failed is answered with the reason. Do something else then; the same call will fail again.
- If the task sets an order, keep to it."""

_FORM_ONE = """\
Answer in exactly this form, with one call and nothing after it:
Thought: <one or two sentences on what is done, what is missing and what comes next>
<Tool>[<arguments>]
Assigned!"""

_FORM_BOTH = """\
Answer in exactly this form, with one call for each agent that is free and nothing after it:
Thought: <one or two sentences on what is done, what is missing and who does what next>
Agent_0_Action: <Tool>[<arguments>]
Agent_1_Action: <Tool>[<arguments>]
Assigned!
Leave out the line of an agent that is still busy. Share the work: the agents must not go for the same thing."""

_FIRST_AN_EXAMPLE = "First comes an example from another home, then your own task."

_EXAMPLE_HOME = """\
Task: Put the teapot from the pantry on the garden table, then wash it.
Furniture:
pantry_9: cupboard_91, shelf_94
garden_room_9: table_92, bench_95
Objects:
No objects found yet"""

_EXAMPLE_ONE = f"""\
{_EXAMPLE_HOME}

Thought: I don't know where the teapot is. The task says the pantry, so I look there first.
Explore[pantry_9]
Assigned!
Result: Successful execution!
Objects: No objects found yet

Thought: No teapot stands in sight, so it may be inside the cupboard.
Navigate[cupboard_91]
Assigned!
Result: Successful execution!
Objects: No objects found yet

Thought: I stand at the cupboard and can open it.
Open[cupboard_91]
Assigned!
Result: Successful execution!
Objects: teapot_93: cupboard_91 in pantry_9. States: clean: False

Thought: There it is. The table is in the garden room; moving it there comes before washing.
Rearrange[teapot_93, on, table_92, None, None]
Assigned!
Result: Successful execution!
Objects: teapot_93: table_92 in garden_room_9. States: clean: False

Thought: It stands on the table. Now it can be washed.
Clean[teapot_93]
Assigned!
Result: Successful execution!
Objects: teapot_93: table_92 in garden_room_9

Thought: The teapot is on the garden table and clean, so nothing is left.
Done[]
Assigned!"""

_EXAMPLE_BOTH = f"""\
{_EXAMPLE_HOME}

Thought: Nobody has seen the teapot. The task says the pantry; meanwhile the other one can look round the garden room.
Agent_0_Action: Explore[pantry_9]
Agent_1_Action: Explore[garden_room_9]
Assigned!
Agent_0_Result: Explore[pantry_9] Successful execution!
Agent_1_Result: Explore[garden_room_9] Successful execution!
Objects: teapot_93: floor_pantry_9 in pantry_9. States: clean: False

Thought: Agent 0 stands next to the teapot and moves it. Only agent 1 can wash, so it goes to the table meanwhile.
Agent_0_Action: Rearrange[teapot_93, on, table_92, None, None]
Agent_1_Action: Navigate[table_92]
Assigned!
Agent_0_Result: Rearrange[teapot_93, on, table_92, None, None] Successful execution!
Agent_1_Result: Navigate[table_92] Successful execution!
Objects: teapot_93: table_92 in garden_room_9. States: clean: False

Thought: It stands on the table, so agent 1 washes it. For agent 0 nothing is left.
Agent_0_Action: Done[]
Agent_1_Action: Clean[teapot_93]
Assigned!
Agent_1_Result: Clean[teapot_93] Successful execution!
Agent_0 has finished; give no line for it.
Objects: teapot_93: table_92 in garden_room_9

Thought: Agent 0 is done and the teapot is clean. Agent 1 can stop as well.
Agent_1_Action: Done[]
Assigned!"""


def describe_tools(abilities: Iterable[str]) -> str:
    """One line a tool, in the order given; perception tools are left out, as in PARTNR's ReAct baselines."""
    lines = []
    for name in abilities:
        if name in PERCEPTION_TOOLS:
            continue
        tool = TOOLS.get(name)
        if tool is None:
            lines.append(f"- {name}[…]")
            continue
        note = f" ({_NOTES[name]})" if name in _NOTES else ""
        lines.append(f"- {name}[{', '.join(tool.arguments)}]: {tool.description}{note}")
    return "\n".join(lines)


def example_turns(*, joint: bool = False) -> list[Message]:
    """The example as a conversation of its own: small models imitate turns they took far better than quoted ones.

    Args:
        joint: the one planner's example instead of a single agent's.
    """
    task, *steps = (_EXAMPLE_BOTH if joint else _EXAMPLE_ONE).split("\n\n")
    turns: list[Message] = [{"role": "user", "content": task}]
    for step in steps:
        reply, end, result = step.partition(END_OF_REPLY)
        turns.append({"role": "assistant", "content": reply + end})
        turns.append({"role": "user", "content": result.strip()})
    # The last reply ends the example; what would follow it is the reader's own task.
    return turns[:-1]


def system_prompt(agent: int, abilities: Sequence[str]) -> str:
    """What one agent's own model is told: who it is, its own tools, how a home works, the form.

    Args:
        agent: agent number.
        abilities: names of the agent's tools.
    """
    return "\n\n".join(
        (
            f"You are agent {agent}, one of two agents that work together in a home. You decide what you do; the "
            f"other agent decides for itself, and you are told of what it did to things. Finish the task together, in "
            f"as few calls as you can.",
            f"Your tools:\n{describe_tools(abilities)}",
            _RULES,
            _FORM_ONE,
            _FIRST_AN_EXAMPLE,
        )
    )


def joint_system_prompt(abilities: Mapping[int, Sequence[str]]) -> str:
    """What the one model that plans for both agents is told.

    Args:
        abilities: names of each agent's tools.
    """
    tools = "\n\n".join(
        f"Tools of agent {agent}:\n{describe_tools(names)}" for agent, names in sorted(abilities.items())
    )
    return "\n\n".join(
        (
            "You plan for the two agents that work together in a home, agent 0 and agent 1. Finish the task in as few "
            "calls as you can.",
            tools,
            _RULES,
            _FORM_BOTH,
            _FIRST_AN_EXAMPLE,
        )
    )


def task_turn(instruction: str, world_text: str) -> str:
    """The first turn: the task and the home as it is known."""
    return f"Task: {instruction}\n{world_text.strip()}" if world_text.strip() else f"Task: {instruction}"


def objects_text(world_text: str, news: str = "") -> str:
    """The list after ``Objects:``: all known objects out of a world text, else the news."""
    _, found, rest = f"\n{world_text}".rpartition("\nObjects:")
    listed = rest.strip() if found else news.strip().removeprefix("Objects:").strip()
    return listed or NOTHING_FOUND


def objects_line(objects: str) -> str:
    """``Objects: <list>``; a list of several starts on a line of its own."""
    return f"Objects:\n{objects}" if "\n" in objects else f"Objects: {objects}"


def result_turn(response: str, objects: str, partner: Sequence[str] = ()) -> str:
    """The turn after an action.

    Args:
        response: the world's answer.
        objects: the objects known now.
        partner: what the other agent was noticed to do meanwhile, one line each.
    """
    return "\n".join((f"Result: {response}", *partner, objects_line(objects)))


def refusal(text: str) -> str:
    """What a model is told when a reply held no admissible call, in the world's own words where it has some."""
    calls = find_calls(text)
    if not calls:
        return f"Result: {NO_ACTION}"
    call = next((call for call in calls if call.alone), calls[0])
    if call.tool.lower() not in {name.lower() for name in TOOLS}:
        return f'Result: Tool "{call.tool}" not found'
    return (
        f"Result: {call.text} is not possible now. Call one of your tools, with names exactly as listed, and walk to "
        f"a thing before you handle it."
    )


def joint_refusal(missing: Iterable[int]) -> str:
    """What the one model is told when free agents got no admissible call."""
    return "\n".join(
        f"Agent_{agent}_Result: no action that is possible now was assigned to it. Give a line for every agent that is "
        f"free, with one of its tools and names exactly as listed."
        for agent in sorted(missing)
    )


def joint_objects(world_texts: Mapping[int, str]) -> str:
    """The list after ``Objects:`` for both agents: the union of what each knows.

    "The agent" and "the other agent" become numbers; where the two believe different things both lines stand.

    Args:
        world_texts: each agent's world text.
    """
    believed: dict[str, dict[str, list[int]]] = {}
    for agent, world_text in sorted(world_texts.items()):
        numbered = (
            objects_text(world_text)
            .replace("held by the other agent", f"held by agent {1 - agent}")
            .replace("held by the agent", f"held by agent {agent}")
        )
        for line in numbered.splitlines():
            if line.strip() and line != NOTHING_FOUND:
                believed.setdefault(line.partition(":")[0], {}).setdefault(line, []).append(agent)
    lines: list[str] = []
    for beliefs in believed.values():
        if len(beliefs) == 1:
            lines.extend(beliefs)
        else:
            lines.extend(f"{line} (as agent {agents[0]} knows it)" for line, agents in beliefs.items())
    return "\n".join(lines) or NOTHING_FOUND


def joint_world_text(world_texts: Mapping[int, str]) -> str:
    """Furniture once, then the objects either agent knows."""
    first = world_texts[min(world_texts)]
    furniture, _, _ = f"\n{first}".rpartition("\nObjects:")
    return f"{furniture.strip()}\nObjects:\n{joint_objects(world_texts)}".strip()
