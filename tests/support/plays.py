"""Plays for tests: a small task in a real home, and somebody who plays it event by event."""

from __future__ import annotations

import math
from typing import Any

from hitl_ops.contracts.episode import Episode, Proposition
from hitl_ops.records.session_events import (
    ActEvent,
    ControlEvent,
    DecisionEvent,
    FinishEvent,
    FinishReason,
    MarkEvent,
    OverrideEvent,
    PauseEvent,
    ResumeEvent,
    SessionEvent,
)
from hitl_ops.records.session_log import SessionLogHeader, SessionLogWriter
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.rollouts.session_replay import session_of
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.world import Finished, heading

HOME = "flywheel_train_000"
STARTED = 1_700_000_000.0


def small_episode(**places: str) -> Episode:
    """Bring the mug to the bed; the agents start in the middle of the kitchen, facing +x."""
    scene = load_scene(HOME)
    x, z = scene.grid.center(scene._goals["kitchen_1"][0])
    proposition = Proposition(
        function_name="is_on_top", args={"object_handles": ["mug_1"], "receptacle_handles": ["bedroom_bed_1"]}
    )
    return Episode(
        episode_id="bring_the_mug",
        scene_id=HOME,
        instruction="Bring the mug to the bed.",
        name_to_receptacle={
            "mug_1": "kitchen_counter_1|on|0",
            "kettle_1": "kitchen_counter_1|on|1",
            "apple_1": "kitchen_fridge_1|within|0",
            "lamp_1": "living_room_coffee_table_1|on|0",
            **places,
        },
        info={
            "flywheel": {
                "task_type": "constraint_free",
                "split": "train",
                "seed": 1,
                "spawns": [[x, z, 0.0], [x, z, 0.0]],
            }
        },
        evaluation_propositions=[proposition],
        object_states={"is_clean": {"mug_1": False}},
    )


def header(play_id: str = "p1", **changes: Any) -> SessionLogHeader:
    """A header for a play of the small task."""
    fields = {
        "session_id": "s1",
        "play_id": play_id,
        "episode": small_episode(),
        "participant": "ann",
        "partner_policy": "policy-1",
        "started": STARTED,
    }
    return SessionLogHeader(**{**fields, **changes})


class Player:
    """Plays one play: makes its events, applies them, keeps them, and logs them where there is a log."""

    def __init__(self, header_: SessionLogHeader | None = None, *, writer: SessionLogWriter | None = None) -> None:
        self.header = header_ or header()
        self.session: LiveSession = session_of(self.header)
        self.writer = writer
        self.events: list[SessionEvent] = []
        self.seq = self.session.last_seq

    def _happens(self, event: SessionEvent) -> None:
        self.session.apply(event)
        self.events.append(event)
        if self.writer is not None:
            self.writer.append(event)

    def _place(self) -> dict[str, Any]:
        tick = self.session.tick
        return {"n": self.session.next_n, "tick": tick, "wall": STARTED + tick / 30}

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def keys(self, forward: float = 0.0, strafe: float = 0.0, turn: float = 0.0) -> None:
        """Hold the keys so from now on."""
        self._happens(ControlEvent(**self._place(), seq=self._next_seq(), forward=forward, strafe=strafe, turn=turn))

    def act(self, action: str) -> None:
        """Begin an act."""
        self._happens(ActEvent(**self._place(), seq=self._next_seq(), action=action))

    def do(self, action: str) -> str:
        """Carry out an act to its end; returns the world's answer."""
        self.act(action)
        while True:
            for answer in self.session.take_answers():
                if answer.seq == self.seq:
                    return answer.response
            self.run(1)

    def decide(self, action: str, asked_tick: int | None = None, stats: dict[str, float] | None = None) -> None:
        """Have the partner's policy reply."""
        asked = self.session.asked_tick if asked_tick is None else asked_tick
        self._happens(
            DecisionEvent(
                **self._place(),
                action=action,
                policy_id=self.header.partner_policy,
                latency_ms=5.0,
                stats=stats or {},
                asked_tick=asked or 0,
            )
        )

    def partner_does(self, action: str, probability: float | None = None) -> str:
        """Have the partner's policy choose an action, and wait for its end; returns the world's answer."""
        self.decide(action, stats={} if probability is None else {"logprob": math.log(probability)})
        while self.session.partner_status().status == "acting":
            self.run(1)
        return self.session.partner_status().response

    def override(self, action: str, decision_index: int = -1) -> None:
        """Decide for the partner."""
        self._happens(
            OverrideEvent(**self._place(), seq=self._next_seq(), action=action, decision_index=decision_index, by="ann")
        )

    def mark(self) -> None:
        """The world has come this far."""
        self._happens(MarkEvent(**self._place()))

    def pause(self) -> None:
        """Stand still."""
        self._happens(PauseEvent(**self._place(), reason="left"))

    def resume(self) -> None:
        """Go on."""
        self._happens(ResumeEvent(**self._place()))

    def finish(self, reason: FinishReason = "person") -> FinishEvent:
        """End the play."""
        event = self.session.finish_event(reason, wall=STARTED + self.session.tick / 30)
        self._happens(event)
        return event

    def run(self, ticks: int) -> list[Finished]:
        """Let time pass."""
        return [ended for _ in range(ticks) for ended in self.session.step()]

    def walk_to(self, target: str, within: float = 0.15) -> None:
        """Walk with the keys, along the shortest way, until the person stands at a target's access."""
        world, human = self.session.world, self.session.human
        body = world.state.facts.agents[human]
        route = world.scene.route((body.x, body.z), target)
        assert route is not None
        for point in route.points[1:]:
            for _ in range(400):
                here = (world.facts.agents[human].x, world.facts.agents[human].z)
                if ((here[0] - point[0]) ** 2 + (here[1] - point[1]) ** 2) ** 0.5 < within:
                    break
                self._step_towards(here, point)
            else:
                raise AssertionError(f"stuck on the way to {target}")
        self.keys()

    def _step_towards(self, here: tuple[float, float], there: tuple[float, float]) -> None:
        yaw = self.session.world.facts.agents[self.session.human].yaw
        off = math.remainder(heading(here, there) - yaw, math.tau)
        self.keys(forward=1.0 if abs(off) < 0.3 else 0.0, turn=max(-1.0, min(1.0, off / 0.08)))
        self.run(1)

    def fetch_the_mug(self) -> None:
        """Play the whole task by hand."""
        self.walk_to("kitchen_counter_1")
        self.do("Pick[mug_1]")
        self.walk_to("bedroom_bed_1")
        self.do("Place[mug_1, on, bedroom_bed_1, None, None]")
