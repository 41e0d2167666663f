"""The frames of PARTNR's episode files, filmed from a replay: ten a second, empty where nothing changed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from hitl_ops.contracts.action import Action, parse_action
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.worlds.household.facts import AgentFacts, ObjectFacts
from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.tools import STATE_OF_TOOL, STEPS_PER_SECOND, SUCCESS

FRAMES_PER_SECOND = 10
TICKS_PER_FRAME = STEPS_PER_SECOND // FRAMES_PER_SECOND
IDLE = b"{}"
_SIMPLE_EVENTS = {"Open": "open", "Close": "close"}
_UPRIGHT = [0.0, 0.0, 0.0, 1.0]


class FrameRecorder:
    """Looks at a session's moments and writes a frame for each, as JSON.

    Args:
        session: the play, at tick 0.
    """

    def __init__(self, session: LiveSession) -> None:
        self.frames: list[bytes] = []
        self._session = session
        self._ids = {name: number for number, name in enumerate(session.world.state.facts.objects)}
        self._objects: dict[str, str] = {}
        self._revision = -1
        self._last: object = None

    def record(self) -> None:
        """Write the frame of this moment; ``{}`` where nothing has changed since the last one that is not."""
        session = self._session
        facts = session.world.facts
        events = self._user_events()
        selected = self._selected()
        seen = (
            [(agent.x, agent.z, agent.yaw, agent.held) for agent in facts.agents],
            session.world.state.revision,
            session.percent_complete,
            selected,
            session.over,
        )
        if seen == self._last and not events:
            self.frames.append(IDLE)
            return
        self._last = seen
        body = facts.agents[session.human]
        user = {
            "finished_episode": session.over,
            "camera_transform": camera_transform(Camera.of_agent(facts, session.human)),
            "held_object": self._id(body.held),
            "hovered_object": None,
            "selected_object": selected,
            "events": events,
        }
        frame = {
            "t": round(session.tick / STEPS_PER_SECOND, 4),
            "task_percent_complete": session.percent_complete,
            "users": [user],
            "agent_states": [self._agent(agent) for agent in facts.agents],
        }
        text = json.dumps(frame, separators=(",", ":"))
        self.frames.append(f'{text[:-1]},"object_states":[{",".join(self._object_states())}]}}'.encode())

    def _id(self, name: str | None) -> int | None:
        return self._ids.get(name) if name is not None else None

    def _selected(self) -> int | None:
        action = self._session.current_action
        return self._id(parse_action(action).args[0]) if action and not action.endswith("[]") else None

    def _agent(self, agent: AgentFacts) -> dict[str, Any]:
        turned = [0.0, round(math.sin(agent.yaw / 2), 6), 0.0, round(math.cos(agent.yaw / 2), 6)]
        return {
            "position": _rounded((agent.x, 0.0, agent.z)),
            "rotation": turned,
            "grasp_mgr_snap_idx": self._id(agent.held),
        }

    def _object_states(self) -> Iterable[str]:
        """Every object's state as JSON; only what may have changed is written anew."""
        state = self._session.world.state
        everything = state.revision != self._revision
        self._revision = state.revision
        for name, thing in state.facts.objects.items():
            if everything or thing.relation == "held":
                self._objects[name] = self._object(name, thing)
        return self._objects.values()

    def _object(self, name: str, thing: ObjectFacts) -> str:
        row = {
            "position": _rounded(self._session.world.state.position_of(name)),
            "rotation": _UPRIGHT,
            "object_handle": name,
            "object_id": self._ids[name],
            "states": thing.states,
        }
        return json.dumps(row, separators=(",", ":"))

    # --- what the person did ----------------------------------------------------------------------------------

    def _user_events(self) -> list[dict[str, Any]]:
        events = [
            event
            for answer in self._session.take_answers()
            if answer.response == SUCCESS
            for event in self._events_of(parse_action(answer.action))
        ]
        finish = self._session.finish
        if finish is not None and finish.reason == "person":
            events.append({"type": "episode_finished"})
        return events

    def _events_of(self, action: Action) -> list[dict[str, Any]]:
        tool, args = action
        if tool in _SIMPLE_EVENTS:
            return [{"type": _SIMPLE_EVENTS[tool], "obj_handle": args[0]}]
        if tool == "Pick":
            return [self._event("pick", args[0])]
        if tool == "Place":
            return [self._event("place", args[0]) | {"receptacle_id": args[2]}]
        if tool == "Rearrange":
            return [self._event("pick", args[0]), self._event("place", args[0]) | {"receptacle_id": args[2]}]
        if tool in STATE_OF_TOOL or tool == "Pour":
            state, value = STATE_OF_TOOL.get(tool, ("is_filled", True))
            return [self._event("state_change", args[0]) | {"state_name": state, "new_value": value}]
        return []

    def _event(self, kind: str, name: str) -> dict[str, Any]:
        return {"type": kind, "obj_id": self._id(name), "obj_handle": name}


def camera_transform(camera: Camera) -> list[list[float]]:
    """Camera to world, 4×4, rows: +x right, +y up, looking along −z."""
    right, up, forward = camera.axes()
    rows = [
        [*_rounded((right[axis], up[axis], -forward[axis])), round(float(camera.position[axis]), 4)]
        for axis in range(3)
    ]
    return [*rows, [0.0, 0.0, 0.0, 1.0]]


def _rounded(values: Iterable[float]) -> list[float]:
    """To a tenth of a millimetre."""
    return [round(float(value), 4) for value in values]
