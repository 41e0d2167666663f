"""A real collection server in a process of its own, and people who speak its protocol over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection, connect

from hitl_ops.contracts.episode import Proposition, write_episodes
from tests.support.server_process import ServerProcess, running
from ui_collect.tutorial import tutorial_episode

WAIT_S = 60.0
SUBPROTOCOL = "flywheel-collect-1"
HEAD = struct.Struct("<BII")


def write_tasks(home: Path, count: int = 6, *, shared: bool = False) -> None:
    """Small tasks for people, with ids of their own: the tutorial's; ``shared`` gives the partner a part in them."""
    task = tutorial_episode()
    if shared:
        book = {"object_handles": ["book_1"], "receptacle_handles": ["living_room_armchair_1"]}
        task = task.model_copy(
            update={
                "name_to_receptacle": {**task.name_to_receptacle, "book_1": "living_room_coffee_table_1|on|0"},
                "evaluation_propositions": [
                    *task.evaluation_propositions,
                    Proposition(function_name="is_on_top", args=book),
                ],
            }
        )
    episodes = [task.model_copy(update={"episode_id": f"task_{number}"}) for number in range(count)]
    write_episodes(home / "episodes" / "train.json.gz", episodes)


class CollectServer(ServerProcess):
    """``flywheel collect`` as somebody would start it.

    Args:
        home: the store's root; tasks are put into it if it has none.
        options: further words of the command line.
        settings: further ``--set`` values.
        page: serve the built page too.
        shared_tasks: the partner has a part in the tasks.
    """

    log_name = "server"
    start_within_s = 240.0

    def __init__(
        self,
        home: Path,
        *options: str,
        settings: dict[str, Any] | None = None,
        page: bool = False,
        shared_tasks: bool = False,
    ) -> None:
        super().__init__(home, ["collect", "--port", "0", "--workers", "1", *options], settings, page=page)
        self.admin_token = ""
        if not (home / "episodes").exists():
            write_tasks(home, shared=shared_tasks)

    def found(self, said: str) -> bool:
        """See :meth:`ServerProcess.found`."""
        address = re.search(r"dashboard +(https?://\S+)/admin", said)
        if address is None:
            return False
        self.url = address[1]
        for name, pattern in (("invitation", r"join#(\S+)"), ("admin_token", r"admin token +(\S+)")):
            if found := re.search(pattern, said):
                setattr(self, name, found[1])
        return True

    @property
    def accesses(self) -> list[dict[str, Any]]:
        """Lines of its access log; the last requests may still be on their way there."""
        return [json.loads(line) for line in (self.home / "collection" / "access.jsonl").read_text().splitlines()]

    def admin(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        """An admin's request."""
        headers = {"authorization": f"Bearer {self.admin_token}"}
        return httpx.request(method, f"{self.url}/admin{path}", headers=headers, timeout=30, **keywords)

    def overview(self) -> dict[str, Any]:
        """The dashboard's figures."""
        answer = self.admin("GET", "/api/overview")
        assert answer.status_code == 200, answer.text
        figures: dict[str, Any] = answer.json()
        return figures

    def join(self) -> str:
        """Come in by the invitation; returns the session's token."""
        answer = httpx.post(f"{self.url}/api/join", json={"invitation": self.invitation}, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])


@contextlib.contextmanager
def collect_server(home: Path, *options: str, **keywords: Any) -> Iterator[CollectServer]:
    """A server for the length of a block; whatever is left of it is killed at the end."""
    with running(CollectServer(home, *options, **keywords)) as server:
        yield server


@dataclass
class Person:
    """One browser's connection.

    Attributes:
        socket: the WebSocket.
        messages: all text messages received so far.
        frames: all keyframes received since the last episode message.
        seq: the next sequence number.
    """

    socket: ClientConnection
    messages: list[dict[str, Any]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    seq: int = 0

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def move(self, kind: str, **fields: Any) -> int:
        """Send a message that carries a sequence number; returns the number."""
        seq, self.seq = self.seq, self.seq + 1
        await self.say(kind, seq=seq, **fields)
        return seq

    async def act(self, tool: str, *args: str) -> dict[str, Any]:
        """Do something and wait for the world's answer."""
        seq = await self.move("act", tool=tool, args=list(args))
        return await self.hear("answer", lambda message: message["seq"] == seq)

    async def receive(self, within_s: float = WAIT_S) -> dict[str, Any] | bytes:
        """The next message or keyframe."""
        received = await asyncio.wait_for(self.socket.recv(), within_s)
        if isinstance(received, bytes):
            self.frames.append(received)
            return received
        message: dict[str, Any] = json.loads(received)
        self.messages.append(message)
        if message["type"] == "episode":
            self.frames.clear()
            self.seq = message["next_seq"]
        return message

    async def hear(
        self, kind: str, fits: Callable[[dict[str, Any]], bool] = lambda _message: True, within_s: float = WAIT_S
    ) -> dict[str, Any]:
        """Wait for a message of a kind."""
        deadline = time.monotonic() + within_s
        while True:
            left = deadline - time.monotonic()
            try:
                message = await self.receive(max(left, 0.01))
            except TimeoutError:
                heard = [str(message)[:200] for message in self.messages[-8:]]
                raise AssertionError(f"no '{kind}' came; last heard: {heard}") from None
            if isinstance(message, dict) and message["type"] == kind and fits(message):
                return message

    async def hear_stage(self, stage: str) -> dict[str, Any]:
        """Wait for a stage; any other one is a failure."""
        message = await self.hear("stage")
        assert message["stage"] == stage, (message, [str(earlier)[:200] for earlier in self.messages[-8:]])
        return message

    async def frame(self, kind: int) -> tuple[int, int]:
        """Wait for a keyframe of a kind (1 full, 2 increment); returns its tick and sequence number."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            received = await self.receive(deadline - time.monotonic())
            if isinstance(received, bytes):
                found, tick, seq = HEAD.unpack_from(received)
                if found == kind:
                    return tick, seq
        raise AssertionError(f"no keyframe of kind {kind} came")

    async def closed(self) -> int:
        """Wait until the server closes; returns the code."""
        try:
            while True:
                await self.receive()
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006

    # --- the way -------------------------------------------------------------------------------------------

    async def to_lobby(self) -> None:
        """From consent past the tutorial."""
        await self.hear_stage("consent")
        await self.say("consent")
        await self.hear_stage("tutorial")
        await self.hear("episode")
        await self.say("tutorial_done")
        await self.hear_stage("lobby")

    async def to_episode(self) -> dict[str, Any]:
        """From consent into the first episode."""
        await self.to_lobby()
        return await self.begin()

    async def begin(self, *, again: bool = False) -> dict[str, Any]:
        """Say ready, and wait until the episode is there."""
        await self.say("ready", again=again)
        await self.hear_stage("episode")
        episode = await self.hear("episode")
        await self.frame(1)
        return episode

    async def solve(self) -> None:
        """Do what all tasks of these tests ask of the person."""
        assert (await self.act("Open", "kitchen_fridge_1"))["response"] == "Successful execution!"
        assert (await self.act("Pick", "mug_1"))["response"] == "Successful execution!"
        assert (await self.act("Navigate", "living_room_couch_1"))["response"] == "Successful execution!"
        place = await self.act("Place", "mug_1", "on", "living_room_couch_1", "None", "None")
        assert place["response"] == "Successful execution!"


@contextlib.asynccontextmanager
async def person(server: CollectServer, token: str | None = None, **keywords: Any) -> AsyncIterator[Person]:
    """Somebody connected, and welcomed if they gave a good token.

    Args:
        server: where to.
        token: their session's; by default they come in by the invitation.
        keywords: for ``websockets``.
    """
    session = token if token is not None else await asyncio.to_thread(server.join)
    address = server.url.replace("http", "ws", 1) + "/ws/collect"
    # Like a browser, they take in whatever comes. With a limit to what waits unread, `websockets` would stop reading
    # there, and whoever leaves then would never see the server's answer to their goodbye.
    options = {"subprotocols": [SUBPROTOCOL], "max_size": None, "max_queue": None, **keywords}
    async with connect(address, **options) as socket:
        somebody = Person(socket)
        await somebody.say("hello", token=session, protocol=1)
        yield somebody
