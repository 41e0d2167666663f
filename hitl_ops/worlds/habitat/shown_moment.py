"""A moment of a home as a scene's worker is told it, for its pictures."""

from __future__ import annotations

from typing import Any

from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer.agent_body import hand
from hitl_ops.worlds.household.scene_description import SceneDescription


def moment_of(facts: Facts, description: SceneDescription) -> dict[str, Any]:
    """Everything that moves, as the worker's ``show`` takes it."""
    objects = []
    for name, thing in facts.objects.items():
        held = int(thing.parent.removeprefix("agent_")) if thing.relation == "held" else None
        objects.append(
            {
                "name": name,
                "kind": thing.kind,
                "position": thing.position if held is None else hand(facts.agents[held]),
                "yaw": 0.0,
                "held_by": held,
                "parent": thing.parent,
                "relation": thing.relation,
                "states": thing.states,
            }
        )
    doors = sum(1 << i for i, door in enumerate(description.doors) if facts.doors_open.get(door.name))
    return {
        "objects": objects,
        "agents": [{"x": agent.x, "z": agent.z, "yaw": agent.yaw} for agent in facts.agents],
        "open": [name for name, is_open in facts.furniture_open.items() if is_open],
        "states": facts.furniture_states,
        "doors_open": f"{doors:x}",
    }
