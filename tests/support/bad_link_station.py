"""A station over a link that is slow and then cut: ``python -m tests.support.bad_link_station FOLDER LINK GAP``.

LINK is ``kernel``, the kernel's own netem in a network of the process's own, where the machine allows it, or ``relay``,
a relay between client and server, which works everywhere. GAP is ``short`` or ``long``, measured by
``control.lost_after_s``, or ``broken``: a short one in which connections are reset and refused. Prints what became of
it as JSON, or ``{"skip": why}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from hitl_ops.contracts.robot import CameraSpec
from robot_client.people import Situation
from robot_client.states import State
from tests.support.openpi_server import metadata, openpi_server
from tests.support.station_runs import Pressing, StationRun, station_config
from tests.support.toy_arms import ToyArms

DELAY_S, RATE = 0.06, 1_000_000
CUT_S = 1.5
PATIENCE_S = {"short": (10.0, 10.0), "broken": (10.0, 10.0), "long": (0.8, 1.2)}
"""Gap → reply_timeout_s and lost_after_s."""


class BadLink(Protocol):
    """A link of 60 ms and 8 Mbit/s each way."""

    def port(self, server: int) -> int:
        """Where a client reaches the server's port through it."""

    def cut(self) -> None:
        """Let nothing through."""

    def refuse(self) -> None:
        """Reset what is connected, and refuse whoever connects."""

    def mend(self) -> None:
        """Let everything through again."""


class KernelLink:
    """netem on the loopback of a network of this process's own."""

    def __init__(self) -> None:
        os.unshare(os.CLONE_NEWNET)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
        self._slow = ("delay", f"{DELAY_S * 1000:.0f}ms", "rate", f"{RATE * 8}bit")
        self._netem("add", *self._slow)

    def _netem(self, verb: str, *how: str) -> None:
        subprocess.run(["tc", "qdisc", verb, "dev", "lo", "root", "netem", *how], check=True, capture_output=True)

    def port(self, server: int) -> int:
        return server

    def cut(self) -> None:
        self._netem("change", *self._slow, "loss", "100%")

    def refuse(self) -> None:
        raise NotImplementedError("netem loses packets; it answers none")

    def mend(self) -> None:
        self._netem("change", *self._slow)


class RelayLink:
    """Passes bytes on late and slowly; while it is cut they wait, as retransmitted ones would."""

    def __init__(self) -> None:
        self._through = threading.Event()
        self._through.set()
        self._refusing = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))

    def port(self, server: int) -> int:
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        self._through.clear()

    def refuse(self) -> None:
        self._refusing = True
        for connected in self._open:
            _reset(connected)
        self._open.clear()

    def mend(self) -> None:
        self._refusing = False
        self._through.set()

    def _accept(self, server: int) -> None:
        while True:
            near, _ = self._listener.accept()
            if self._refusing:
                _reset(near)
                continue
            far = socket.create_connection(("127.0.0.1", server))
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                late: queue.Queue[tuple[float, bytes]] = queue.Queue()
                threading.Thread(target=self._take, args=(source, late), daemon=True).start()
                threading.Thread(target=self._give, args=(late, sink), daemon=True).start()

    def _take(self, source: socket.socket, late: queue.Queue[tuple[float, bytes]]) -> None:
        due = 0.0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                due = max(due, time.monotonic()) + len(data) / RATE
                late.put((due + DELAY_S, data))
        late.put((time.monotonic() + DELAY_S, b""))

    def _give(self, late: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        while True:
            due, data = late.get()
            time.sleep(max(0.0, due - time.monotonic()))
            self._through.wait()
            with contextlib.suppress(OSError):
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)


def _reset(connected: socket.socket) -> None:
    """Close without a farewell; whoever is at the other end is told that the connection is no more."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RD)  # wakes the thread that reads
    connected.close()


def tell(**words: object) -> None:
    """Print the outcome."""
    print(json.dumps(words), flush=True)


def collect(folder: Path, link: BadLink, gap: str) -> None:
    """Collect an episode over the link, which is cut in the middle; after a long gap, another one."""
    camera = CameraSpec(name="cam_high", height=96, width=128)
    robot = ToyArms((camera,))
    reply_timeout_s, lost_after_s = PATIENCE_S[gap]
    cut_at, resumed_frames = 0.0, 0
    mended = False
    before: dict[str, float] = {}
    with openpi_server(metadata("base", 0)) as server:
        config = station_config(
            folder,
            link.port(server.port),
            policy_server={"reply_timeout_s": reply_timeout_s, "connect_timeout_s": reply_timeout_s},
            control={"frequency_hz": 50, "lost_after_s": lost_after_s},
            cameras=[camera.model_dump()],  # type: ignore[arg-type]
        )

        def executing(_situation: Situation) -> list[str]:
            nonlocal cut_at, resumed_frames, mended
            assert run.station is not None
            progress = run.station.view.progress
            if not cut_at and progress.frames >= 75:
                before.update(
                    waits=progress.waits,
                    late_steps=progress.late_steps,
                    latency_ms=progress.latency_ms,
                    connections=server.connections,
                )
                (link.refuse if gap == "broken" else link.cut)()
                cut_at = time.monotonic()
            elif cut_at and not mended and gap != "long" and time.monotonic() - cut_at > CUT_S:
                resumed_frames = progress.frames
                link.mend()
                mended = True
            return ["s"] if mended and progress.frames >= resumed_frames + 60 else []

        def deciding(situation: Situation) -> list[str]:
            nonlocal mended
            if not mended:
                link.mend()
                mended = True
            return ["n" if situation.episodes else "y"]

        person = Pressing(
            {State.READY: ["y"], State.EXECUTING: executing, State.LABELING: ["g", "r"], State.DECIDING: deciding}
        )
        run = StationRun(config, robot, person)
        code = run.run()
        assert run.station is not None
        tell(
            code=code,
            before=before,
            waits=run.station.view.progress.waits,
            frames_at_the_end_of_the_cut=resumed_frames,
            calls=robot.calls,
            connections=server.connections,
            episodes=[str(file) for file in run.episodes],
            said=run.said,
        )


def main(folder: Path, kind: str, gap: str) -> None:
    """Make the link and collect over it."""
    try:
        link: BadLink = KernelLink() if kind == "kernel" else RelayLink()
    except subprocess.CalledProcessError as error:
        tell(skip=f"no link of netem's here: {error.stderr.decode().strip()}")
        return
    except OSError as error:
        tell(skip=f"no network of one's own with netem here: {error}")
        return
    collect(folder, link, gap)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
