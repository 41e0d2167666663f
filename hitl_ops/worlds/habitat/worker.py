"""The worker of a scene: one simulator in a process and an environment of its own, asked over a local socket.

This one file needs the standard library, NumPy, msgpack and, for its default backend, habitat_sim, and runs on Python
3.9 to 3.13; nothing else of Flywheel is needed beside it. Whoever starts it writes a token to its standard input and
keeps that open, reads a line ``ready <address>`` from its standard output, and connects.

A frame is four bytes of length (big-endian) and one msgpack map. The client asks ``{"id", "do", ...arguments}``; the
worker answers ``{"id", "ok": true, ...}`` or ``{"id", "ok": false, "error": {"what", "remedy"}}``, one answer to each
question, in order. What is no such frame closes the connection. The first question is ``hello``, the second ``load``.
The worker serves one connection, and ends with it, with its standard input, on SIGTERM, or after a long silence.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import importlib
import math
import os
import platform
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Any, Callable

if __name__ == "__main__":
    # The files beside this one belong to another environment, and are no modules to be found by a bare name.
    _BESIDE = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or os.curdir) != _BESIDE]

import msgpack
import numpy as np

PROTOCOL = 1
"""Number of the language spoken here; both sides must speak the same."""
WORKER_VERSION = "1"
FRAME_BYTES = 64 * 2**20
"""Largest frame either side accepts, without its length."""
PIXELS = 4096
"""Largest width and height of a picture."""
_ENTRIES = 2**20
"""Most entries of one list or map in a frame."""
_HELLO_BYTES, _HELLO_S = 4096, 5.0
_MASK_DIGITS = 4096
_NAME_LENGTH = 1024
_FARTHEST = 1e6
"""Metres; nothing is farther away than this."""
_LENGTH = struct.Struct(">I")
_CHUNK = 2**18
_CLOSE_WITHIN_S = 5.0
KINDS = ("rgb", "depth", "semantic")
"""Kinds of pictures: uint8 [h, w, 3]; float32 [h, w], metres along the view axis; int32 [h, w], ids of the manifest."""


class NoFrame(Exception):
    """The other side sends what is no frame."""


class SceneError(Exception):
    """Something a client is told instead of an answer.

    Args:
        what: names the thing and what is wrong with it.
        remedy: what to do about it; may be empty.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}: {remedy}" if remedy else what)


# --- frames -------------------------------------------------------------------------------------------------------


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send a message as a frame.

    Raises:
        NoFrame: it is larger than the other side accepts.
        OSError: the connection broke, or the other side does not read in time.
    """
    _send_body(connection, _packed(message))


def _send_body(connection: socket.socket, body: bytes) -> None:
    if len(body) < _CHUNK // 4:
        connection.sendall(_LENGTH.pack(len(body)) + body)
    else:
        # A picture is not copied once more for the sake of four bytes.
        connection.sendall(_LENGTH.pack(len(body)))
        connection.sendall(body)


def _packed(message: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb(message, use_bin_type=True)
    if len(body) > FRAME_BYTES:
        raise NoFrame(f"a frame of {len(body)} bytes is larger than {FRAME_BYTES}")
    return body


def unpack(body: bytes | bytearray) -> dict[str, Any]:
    """The message of a frame's body.

    Raises:
        NoFrame: it is no msgpack map with texts for keys.
    """
    try:
        message = msgpack.unpackb(
            body, raw=False, strict_map_key=True, max_array_len=_ENTRIES, max_map_len=_ENTRIES, max_ext_len=0
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise NoFrame(f"what came is no msgpack ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise NoFrame("what came is no map")
    return message


class Frames:
    """Cuts what a blocking socket receives into messages.

    Args:
        connection: the socket.
        limit: largest frame accepted, bytes.
    """

    def __init__(self, connection: socket.socket, limit: int = FRAME_BYTES) -> None:
        self.connection = connection
        self.limit = limit
        self._have = bytearray()

    def read(self) -> dict[str, Any] | None:
        """The next message; None where the other side has closed.

        Raises:
            NoFrame: something else came.
            OSError: the connection broke, or nothing came in time.
        """
        have = self._have
        length = -1
        while True:
            if length < 0 and len(have) >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(have)
                if length > self.limit:
                    raise NoFrame(f"a frame of {length} bytes is announced, {self.limit} are accepted")
            end = _LENGTH.size + length
            if length >= 0 and len(have) >= end:
                body = bytes(have[_LENGTH.size : end])
                del have[:end]
                return unpack(body)
            if length > _CHUNK // 4:
                return self._read_large(length)
            data = self.connection.recv(_CHUNK)
            if not data:
                return None
            have += data

    def _read_large(self, length: int) -> dict[str, Any] | None:
        """The rest of a frame, straight to where it belongs."""
        body = bytearray(length)
        there = len(self._have) - _LENGTH.size
        body[:there] = self._have[_LENGTH.size :]
        self._have.clear()
        view = memoryview(body)
        while there < length:
            count = self.connection.recv_into(view[there:])
            if not count:
                return None
            there += count
        return unpack(body)


# --- backends -----------------------------------------------------------------------------------------------------


class Backend:
    """What a worker asks of a simulator; one backend serves one scene.

    Places are (x, z) on the floor, metres; y is up. Sets of anchors and of doors are bit masks, Python ints of any
    size: anchor i is bit i of what ``load`` named, door i is bit i of the description's doors. Names are those of the
    scene's description. A method that cannot do what is asked raises :class:`SceneError`.

    Args:
        gpu: the graphics card to draw on; -1 draws without one.
    """

    name = "none"

    def __init__(self, gpu: int = -1) -> None:
        self.gpu = gpu

    def versions(self) -> dict[str, str]:
        """Versions of what the scene depends on, by name."""
        return {}

    def capabilities(self) -> list[str]:
        """What it can do beside the geometry: among "navmesh", "rgb", "depth", "semantic", "physics"."""
        return []

    def load(self, scene: dict[str, Any]) -> dict[str, Any]:
        """Open a scene; called once, before everything below.

        Args:
            scene: ``{"kind": "home", "scene_id", "folder"}``, a home as it was exported into a folder, or
                ``{"kind": "dataset", "config", "scene_id"}``, a scene of a Habitat scene data set.

        Returns:
            ``{"scene_id", "description", "anchors"}``: the SceneDescription as plain data, None where the client has
            it already; every piece of furniture, then ``floor_<room>`` of every room.
        """
        raise NotImplementedError

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> dict[str, Any] | None:
        """The shortest way to a furniture, a room, a floor or a place.

        Returns:
            ``{"points": [[x, z], ...], "lengths": [...]}``, start and end included, metres walked when reaching each
            point; None where there is no way.
        """
        raise NotImplementedError

    def seen_from(self, x: float, z: float, doors_open: int) -> int:
        """Mask of the anchors in line of sight from a place."""
        raise NotImplementedError

    def line_of_sight(self, a: tuple[float, float], b: tuple[float, float], doors_open: int) -> bool:
        """Whether no wall and no closed door stands between two places."""
        raise NotImplementedError

    def doors_at(self, x: float, z: float) -> int:
        """Mask of the doors somebody standing at a place pushes open."""
        raise NotImplementedError

    def slide(self, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
        """Where a step ends, sliding along whatever is in the way."""
        raise NotImplementedError

    def room_at(self, x: float, z: float) -> str:
        """The room a place is in."""
        raise NotImplementedError

    def slots(self, parent: str, relation: str) -> list[tuple[float, float, float]]:
        """The places (x, y, z) things can take on or within a furniture, or on a ``floor_<room>``."""
        raise NotImplementedError

    def show(self, moment: dict[str, Any]) -> None:
        """Put everything that moves where it is, for the pictures that follow.

        Args:
            moment: ``{"objects": [{"name", "kind", "position", "yaw", "held_by", "parent", "relation", "states"}],
                "agents": [{"x", "z", "yaw"}], "open": [furniture...], "states": {furniture: {state: bool}},
                "doors_open": int}``; ``held_by`` is an agent's number or None, ``position`` that of the hand then.
        """
        raise NotImplementedError

    def picture(
        self, camera: dict[str, Any], width: int, height: int, kinds: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Draw what was shown last.

        Args:
            camera: ``{"position", "yaw", "pitch", "fov", "extent", "near", "far", "hidden_agent", "ceilings"}``, as
                in Flywheel's ``Camera``: ``fov`` is horizontal, degrees; yaw 0 looks along +x.
            width: pixels.
            height: pixels.
            kinds: among :data:`KINDS`.

        Returns:
            An array of each kind, row 0 at the top.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it holds; called once, at the end, also where nothing was loaded."""


# --- habitat-sim --------------------------------------------------------------------------------------------------


class HabitatBackend(Backend):
    """habitat-sim: ways and slides by its navigation mesh, sight by ray casts, pictures by its renderer."""

    name = "habitat"

    def load(self, scene: dict[str, Any]) -> dict[str, Any]:
        """See ``Backend.load``."""
        try:
            importlib.import_module("habitat_sim")
        except ImportError as error:
            raise SceneError(
                f"habitat_sim cannot be imported by {sys.executable} ({error})",
                "set habitat.python to the interpreter of an environment that has it; "
                "habitat-sim's own guide says how to make one: https://github.com/facebookresearch/habitat-sim",
            ) from None
        raise SceneError("this worker has no habitat-sim scene", "take a newer version")


# --- questions ----------------------------------------------------------------------------------------------------


def _wrong(name: str, wanted: str) -> SceneError:
    return SceneError(f"argument '{name}' is missing or wrong", f"send {wanted}")


def _number(asked: dict[str, Any], name: str) -> float:
    value = asked.get(name)
    if type(value) is float or type(value) is int:
        value = float(value) if abs(value) <= _FARTHEST else math.nan
        if value == value:
            return value
    raise _wrong(name, f"a number within ±{_FARTHEST:g}")


def _place(asked: dict[str, Any], name: str) -> tuple[float, float]:
    value = asked.get(name)
    if isinstance(value, list) and len(value) == 2:
        numbers = {"x": value[0], "z": value[1]}
        return _number(numbers, "x"), _number(numbers, "z")
    raise _wrong(name, "a place [x, z]")


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if isinstance(value, str) and len(value) <= _NAME_LENGTH:
        return value
    raise _wrong(name, f"a text of at most {_NAME_LENGTH} letters")


def _mask(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if isinstance(value, str) and 0 < len(value) <= _MASK_DIGITS and not value.strip("0123456789abcdef"):
        return int(value, 16)
    raise _wrong(name, "a mask in hexadecimal digits")


def _pixels(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if type(value) is int and 0 < value <= PIXELS:
        return value
    raise _wrong(name, f"a whole number from 1 to {PIXELS}")


def _route(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    named = isinstance(asked.get("target"), str)
    target = _text(asked, "target") if named else _place(asked, "target")
    return {"route": backend.route(_place(asked, "start"), target)}


def _seen_from(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    seen = backend.seen_from(_number(asked, "x"), _number(asked, "z"), _mask(asked, "doors_open"))
    return {"mask": f"{seen:x}"}


def _line_of_sight(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"clear": bool(backend.line_of_sight(_place(asked, "a"), _place(asked, "b"), _mask(asked, "doors_open")))}


def _doors_at(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"mask": f"{backend.doors_at(_number(asked, 'x'), _number(asked, 'z')):x}"}


def _slide(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    x, z = backend.slide(_number(asked, "x"), _number(asked, "z"), _number(asked, "dx"), _number(asked, "dz"))
    return {"place": (float(x), float(z))}


def _room_at(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"room": backend.room_at(_number(asked, "x"), _number(asked, "z"))}


def _slots(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"slots": backend.slots(_text(asked, "parent"), _text(asked, "relation"))}


def _show(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    moment = asked.get("moment")
    if not isinstance(moment, dict):
        raise _wrong("moment", "a map")
    for name, kind in (("objects", list), ("agents", list), ("open", list), ("states", dict)):
        if not isinstance(moment.get(name), kind):
            raise _wrong(f"moment.{name}", f"a {kind.__name__}")
    for name in ("objects", "agents"):
        if not all(isinstance(one, dict) for one in moment[name]):
            raise _wrong(f"moment.{name}", "maps")
    backend.show({**moment, "doors_open": _mask(moment, "doors_open")})
    return {}


def _picture(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    camera, kinds = asked.get("camera"), asked.get("kinds")
    width, height = _pixels(asked, "width"), _pixels(asked, "height")
    if not isinstance(camera, dict):
        raise _wrong("camera", "a map")
    if not isinstance(kinds, list) or not kinds or not all(kind in KINDS for kind in kinds):
        raise _wrong("kinds", f"some of {', '.join(KINDS)}")
    drawn = backend.picture(camera, width, height, kinds)
    return {kind: _image(drawn[kind]) for kind in kinds}


def _image(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"data": array.tobytes(), "shape": list(array.shape), "dtype": array.dtype.name}


_GEOMETRY: dict[str, Callable[[Backend, dict[str, Any]], dict[str, Any]]] = {
    "route": _route,
    "seen_from": _seen_from,
    "line_of_sight": _line_of_sight,
    "doors_at": _doors_at,
    "slide": _slide,
    "room_at": _room_at,
    "slots": _slots,
    "show": _show,
    "picture": _picture,
}


class Session:
    """What is asked over one connection, once it has said hello.

    Args:
        frames: the connection.
        backend: who answers.
    """

    def __init__(self, frames: Frames, backend: Backend) -> None:
        self._frames = frames
        self._backend = backend
        self._loaded = False
        self._ended = False

    def run(self) -> None:
        """Answer until ``bye``, or until the other side closes.

        Raises:
            NoFrame: something that is no question came.
            OSError: the connection broke, or was silent for too long.
        """
        while not self._ended:
            asked = self._frames.read()
            if asked is None:
                return
            number, do = question_of(asked)
            try:
                body = _packed({"id": number, "ok": True, **self._do(do, asked)})
            except Exception as error:
                body = _packed(refusal(number, error))
            _send_body(self._frames.connection, body)

    def _do(self, do: str, asked: dict[str, Any]) -> dict[str, Any]:
        answer = _GEOMETRY.get(do)
        if answer is not None:
            if not self._loaded:
                raise SceneError(f"'{do}' is asked of no scene", "send 'load' first")
            return answer(self._backend, asked)
        if do == "ping":
            return {}
        if do == "bye":
            self._ended = True
            return {}
        if do == "load":
            return self._load(asked)
        known = ", ".join([*_GEOMETRY, "load", "ping", "bye"])
        raise SceneError(f"this worker cannot do '{do[:40]}'", f"ask for one of {known}")

    def _load(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._loaded:
            raise SceneError("a scene is loaded already", "start another worker")
        scene = asked.get("scene")
        if not isinstance(scene, dict):
            raise _wrong("scene", "a map")
        fields = {"home": ("scene_id", "folder"), "dataset": ("scene_id", "config")}.get(_text(scene, "kind"))
        if fields is None:
            raise _wrong("scene.kind", "'home' or 'dataset'")
        loaded = self._backend.load({"kind": scene["kind"], **{name: _text(scene, name) for name in fields}})
        self._loaded = True
        return {name: loaded[name] for name in ("scene_id", "description", "anchors")}


def question_of(asked: dict[str, Any]) -> tuple[int, str]:
    """A question's number and what it asks to do.

    Raises:
        NoFrame: it has none.
    """
    number, do = asked.get("id"), asked.get("do")
    if type(number) is not int or not 0 <= number < 2**63 or not isinstance(do, str):
        raise NoFrame("a question has no id, or nothing to do")
    return number, do


def refusal(number: int, error: Exception) -> dict[str, Any]:
    """The answer to a question that ended in an error; one that nobody foresaw is logged too."""
    what, remedy = getattr(error, "what", None), getattr(error, "remedy", "")
    if not isinstance(what, str):
        traceback.print_exc()
        what, remedy = f"{type(error).__name__}: {error}"[:1000], "the worker's log says more"
    # One line each, whatever came from outside is quoted in it.
    told = {"what": " ".join(what.split()), "remedy": " ".join(str(remedy).split())}
    return {"id": number, "ok": False, "error": told}


# --- the process --------------------------------------------------------------------------------------------------


def greet(frames: Frames, token: str, backend: Backend) -> bool:
    """Hear the first question of a connection and answer it; returns whether the other side may go on.

    Raises:
        NoFrame: something that is no question came.
        OSError: the connection broke, or nothing came in time.
    """
    asked = frames.read()
    if asked is None:
        return False
    number, do = question_of(asked)
    try:
        if do != "hello":
            raise SceneError(f"'{do[:40]}' comes before 'hello'", "say hello first")
        if not hmac.compare_digest(_text(asked, "token").encode(), token.encode()):
            raise SceneError("the token is wrong", "send the token the worker was started with")
        if asked.get("protocol") != PROTOCOL:
            raise SceneError(
                f"the client speaks protocol {str(asked.get('protocol'))[:20]}, this worker protocol {PROTOCOL}",
                "take worker and client from the same version of Flywheel",
            )
        answer: dict[str, Any] = {
            "protocol": PROTOCOL,
            "worker_version": WORKER_VERSION,
            "python": platform.python_version(),
            "backend": backend.name,
            "versions": {"numpy": np.__version__, **backend.versions()},
            "capabilities": backend.capabilities(),
        }
    except Exception as error:
        send(frames.connection, refusal(number, error))
        return False
    send(frames.connection, {"id": number, "ok": True, **answer})
    return True


def admit(listener: socket.socket, token: str, backend: Backend, patience_s: float) -> Frames | None:
    """Wait for the connection that knows the token; others are sent away.

    Returns:
        The connection; None where none came within ``patience_s``.
    """
    until = time.monotonic() + patience_s
    while (left := until - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            connection, _ = listener.accept()
        except OSError:
            continue  # in time no more, or gone before it was taken
        # A timer, not a timeout of each receive: bytes that drip in must not hold the door.
        hurry = threading.Timer(_HELLO_S, _shut, [connection])
        hurry.daemon = True
        hurry.start()
        frames = Frames(connection, _HELLO_BYTES)
        try:
            if greet(frames, token, backend):
                hurry.cancel()
                frames.limit = FRAME_BYTES
                return frames
        except (NoFrame, OSError):
            pass
        finally:
            hurry.cancel()
        connection.close()
    return None


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _end_with_input(place: str, admitted: list[Frames]) -> None:
    """End when standard input does: whoever holds the other end has died."""
    while os.read(0, _CHUNK):
        pass
    if admitted:
        # The session then ends by itself, unless it is deep in something that takes long.
        _shut(admitted[0].connection)
        time.sleep(_CLOSE_WITHIN_S)
    elif place:
        _tidy(place)
    os._exit(0)


def _first_line() -> str:
    line = b""
    while not line.endswith(b"\n") and len(line) < _HELLO_BYTES:
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line.decode("ascii", "replace").strip()


def _listen(place: str) -> tuple[socket.socket, str]:
    """A listening socket, and its address: ``place`` is a path, or empty for a port of this machine."""
    if place:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(place)
        address = place
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        address = str(listener.getsockname()[1])
    listener.listen(8)
    return listener, address


def _tidy(place: str) -> None:
    """Nobody else is to come: the socket's file goes, and its folder where it holds nothing else."""
    for remove, path in ((os.unlink, place), (os.rmdir, os.path.dirname(place))):
        try:
            remove(path)
        except OSError:
            return


def _make_backend(name: str, gpu: int) -> Backend:
    if name == HabitatBackend.name:
        return HabitatBackend(gpu)
    module, _, kind = name.partition(":")
    made: Backend = getattr(importlib.import_module(module), kind)(gpu)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Serve one scene to one client."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", default="", help="path of a Unix socket; a port of 127.0.0.1 if none")
    parser.add_argument("--backend", default=HabitatBackend.name, help="habitat, or module:Class")
    parser.add_argument("--gpu", type=int, default=-1, help="graphics card to draw on; -1: none")
    parser.add_argument("--silence", type=float, default=120.0, help="seconds without a question after which it ends")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    token = _first_line()
    if not token:
        print("no token came over standard input", file=sys.stderr)
        return 2
    # Libraries print what they like to standard output; there must be nothing but the address.
    told = os.dup(1)
    os.dup2(2, 1)
    backend = _make_backend(given.backend, given.gpu)
    try:
        listener, address = _listen(given.socket)
        admitted: list[Frames] = []
        watch = threading.Thread(target=_end_with_input, args=[given.socket, admitted], name="input", daemon=True)
        watch.start()
        os.write(told, f"ready {address}\n".encode())
        os.close(told)
        try:
            frames = admit(listener, token, backend, given.silence)
        finally:
            listener.close()
            if given.socket:
                _tidy(given.socket)
        if frames is None:
            print(f"nobody came within {given.silence:g} s", file=sys.stderr)
            return 1
        admitted.append(frames)
        frames.connection.settimeout(given.silence)
        try:
            Session(frames, backend).run()
        except (NoFrame, OSError) as error:
            print(f"the connection ends: {error}", file=sys.stderr)
            return 1
        finally:
            frames.connection.close()
        return 0
    finally:
        backend.close()


if __name__ == "__main__":
    sys.exit(main())
