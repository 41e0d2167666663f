"""A collection server of the usual first design, to measure against: everything inside the event loop.

One FastAPI process. Every key-down event is a message; it steps the person's world once, asks the partner's planner
if the partner has nothing to do, draws what the person sees, and sends it back as a base64 JPEG inside JSON (640×480,
quality 75). Sessions live in this process's memory and are written when their connection ends. World, renderer and
planner are Flywheel's own, with everything they keep between calls: only the architecture differs.

Where the design leaves a choice, the faster one is taken: the planner is asked only when the partner is idle, homes
share their renderer, messages are not compressed. Run by ``benchmarks/collect.py`` as
``python -m benchmarks.collection.blocking_reference_server --port 8000 --episodes FILE --policy FOLDER --out FOLDER``.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.collection.key_script import AXES
from hitl_ops.contracts.episode import Episode, read_episodes
from hitl_ops.contracts.planner import Planner
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.prompts import AgentView
from hitl_ops.worlds.household.renderer import Camera, Renderer, make_renderer
from hitl_ops.worlds.household.world import Control, HouseholdWorld

WIDTH, HEIGHT, QUALITY = 640, 480, 75
_HUMAN, _PARTNER = 0, 1
_STILL = Control()


class Session:
    """One person's episode, in memory."""

    def __init__(self, session_id: str, episode: Episode, planner: Any, renderers: dict[str, Renderer]) -> None:
        self.session_id = session_id
        self.episode = episode
        self.frames: list[dict[str, Any]] = []
        self._planner = planner
        self._world = HouseholdWorld(episode)
        self._view = AgentView(self._world, _PARTNER)
        self._partner_action = ""
        if episode.scene_id not in renderers:
            renderers[episode.scene_id] = make_renderer(load_scene(episode.scene_id).description, OBJECT_SHAPES)
        self._renderer = renderers[episode.scene_id]

    def picture(self) -> str:
        """What the person sees, as base64 JPEG."""
        from PIL import Image

        facts = self._world.facts
        frame = self._renderer.render(facts, Camera.of_agent(facts, _HUMAN), WIDTH, HEIGHT, depth=False)
        buffer = io.BytesIO()
        Image.fromarray(frame.rgb).save(buffer, format="JPEG", quality=QUALITY)
        return base64.b64encode(buffer.getvalue()).decode()

    def step(self, action: dict[str, Any]) -> dict[str, Any]:
        """One step of the world: the partner decides if it must, the person moves or acts, a picture is taken."""
        world = self._world
        if not world.busy(_PARTNER) and not world.done[_PARTNER]:
            self._decide()
        name, target = str(action.get("action", "")), action.get("target")
        controls = None
        if name in AXES:
            controls = {_HUMAN: Control(*AXES[name])}
        elif target:
            world.start(_HUMAN, f"{name}[{target}]")
        for ended in world.tick(controls):
            self._view.finished(ended)
        body = world.facts.agents[_HUMAN]
        state = {
            "task_progress": world.percent_complete,
            "instruction": self.episode.instruction,
            "agent_0_position": [body.x, 0.0, body.z],
            "ai_action": self._partner_action,
        }
        self.frames.append({"t": time.time(), "action": action, "ai_action": self._partner_action, "state": state})
        return {"rgb": self.picture(), "state": state, "done": world.over, "success": world.success}

    def _decide(self) -> None:
        observation = self._view.observe()
        reply = self._planner.decide(observation, key=self.session_id)
        self._partner_action = reply.action
        self._world.start(_PARTNER, reply.action)

    def save(self, folder: Path) -> None:
        """Write the session."""
        content = {"episode": {"episode_id": self.episode.episode_id}, "frames": self.frames}
        with gzip.open(folder / f"{self.session_id}.json.gz", "wt") as file:
            json.dump(content, file)


def reference_app(episodes: list[Episode], planner: Planner, out: Path) -> FastAPI:
    """The server.

    Args:
        episodes: handed out in turn.
        planner: decides for every partner.
        out: where sessions are written.
    """
    app = FastAPI()
    renderers: dict[str, Renderer] = {}
    joined = 0

    @app.websocket("/ws/{name}")
    async def play(websocket: WebSocket, name: str) -> None:
        nonlocal joined
        await websocket.accept()
        episode = episodes[joined % len(episodes)]
        joined += 1
        # Not the client's own name for it, which has no business in a path.
        session = Session(f"session_{joined}", episode, planner, renderers)
        try:
            start = {"type": "init", "rgb": session.picture(), "instruction": episode.instruction, "session_id": name}
            await websocket.send_json(start)
            while True:
                data = await websocket.receive_json()
                if data["type"] == "action":
                    await websocket.send_json({"type": "step", **session.step(data["action"])})
        except WebSocketDisconnect:
            session.save(out)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--episodes", type=Path, required=True)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()

    import torch

    from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig

    torch.set_num_threads(given.threads)
    planner = PlannerLM.load(given.policy, PlannerLMConfig(kept_prefixes=256))
    app = reference_app(read_episodes(given.episodes), planner, given.out)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=given.port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_level="error",
    )


if __name__ == "__main__":
    main()
