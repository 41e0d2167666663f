"""What the worker of a scene is asked and what it answers, as this side of the socket sees it.

``worker.py`` beside this file says how questions and answers become frames; what it answers is validated here.
"""

from __future__ import annotations

import socket
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat.worker import FRAME_BYTES, KINDS, PIXELS, PROTOCOL, Frames, NoFrame, send
from hitl_ops.worlds.household.scene_description import SceneDescription

__all__ = ["FRAME_BYTES", "KINDS", "PIXELS", "PROTOCOL", "ConnectionLost", "Questions", "RefusedQuestion"]

_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]+$")]
_Place = tuple[FiniteFloat, FiniteFloat]


class ConnectionLost(Exception):
    """The worker does not answer any more."""


class RefusedQuestion(UserError):
    """The worker answered that it cannot do what it was asked."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Done(_Answer):
    """Of ``ping``, ``bye`` and ``show``."""


class Hello(_Answer):
    """Who the worker is."""

    protocol: int
    worker_version: str
    python: str
    backend: str
    versions: dict[str, str]
    capabilities: tuple[str, ...]


class Loaded(_Answer):
    """The scene that was opened."""

    scene_id: str
    description: SceneDescription | None
    anchors: tuple[str, ...]


class WayPoints(_Answer):
    """A way to walk."""

    points: tuple[_Place, ...] = Field(min_length=1)
    lengths: tuple[FiniteFloat, ...] = Field(min_length=1)


class RouteAnswer(_Answer):
    """Of ``route``."""

    route: WayPoints | None


class MaskAnswer(_Answer):
    """Of ``seen_from`` and ``doors_at``."""

    mask: _Hex


class AheadAnswer(_Answer):
    """Of ``ahead``."""

    doors: tuple[_Hex, ...]
    seen: tuple[_Hex, ...]


class ClearAnswer(_Answer):
    """Of ``line_of_sight``."""

    clear: bool


class PlaceAnswer(_Answer):
    """Of ``slide``."""

    place: _Place


class RoomAnswer(_Answer):
    """Of ``room_at``."""

    room: str


class SlotsAnswer(_Answer):
    """Of ``slots``."""

    slots: tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat], ...]


class Image(_Answer):
    """One kind of picture."""

    data: bytes
    shape: tuple[int, ...]
    dtype: str

    def array(self, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        """The picture, if it is what was asked for.

        Raises:
            UserError: it is something else.
        """
        if self.dtype != np.dtype(dtype).name or self.shape != shape:
            raise UserError(
                f"the scene's worker drew a picture of {self.dtype} {list(self.shape)}",
                f"{np.dtype(dtype).name} {list(shape)} was asked for; report it with the worker's version",
            )
        if len(self.data) != np.dtype(dtype).itemsize * int(np.prod(shape)):
            raise UserError("the scene's worker drew half a picture", "report it with the worker's version")
        return np.frombuffer(self.data, dtype=dtype).reshape(shape).copy()


class PictureAnswer(_Answer):
    """Of ``picture``."""

    rgb: Image | None = None
    depth: Image | None = None
    semantic: Image | None = None


class _Error(_Answer):
    what: str
    remedy: str


AnswerT = TypeVar("AnswerT", bound=_Answer)


class Questions:
    """Asks one question after another.

    Args:
        connection: a connected socket; owned from now on.
        within_s: seconds an answer may take.
    """

    def __init__(self, connection: socket.socket, within_s: float) -> None:
        self._connection = connection
        self._frames = Frames(connection)
        self._within_s = within_s
        self._number = -1
        connection.settimeout(within_s)

    def ask(self, answer: type[AnswerT], do: str, *, within_s: float | None = None, **arguments: Any) -> AnswerT:
        """Ask, and wait for the answer.

        Args:
            answer: what it is to be.
            do: what is to be done.
            within_s: seconds this answer may take; else as long as others.
            arguments: of the question.

        Raises:
            ConnectionLost: there is no answer, none in time, or none that is one.
            RefusedQuestion: the worker says why it cannot.
        """
        self._number += 1
        try:
            if within_s is not None:
                self._connection.settimeout(within_s)
            send(self._connection, {"id": self._number, "do": do, **arguments})
            told = self._frames.read()
            if within_s is not None:
                self._connection.settimeout(self._within_s)
        except TimeoutError:
            raise ConnectionLost(f"'{do}' is not answered within {within_s or self._within_s:g} s") from None
        except (OSError, NoFrame) as error:
            raise ConnectionLost(f"'{do}' is not answered ({error})") from None
        if told is None:
            raise ConnectionLost("")
        ok = told.pop("ok", None)
        if told.pop("id", None) != self._number or not isinstance(ok, bool):
            raise ConnectionLost(f"'{do}' is answered by something else")
        try:
            if ok:
                return answer.model_validate(told)
            refused = _Error.model_validate(told.get("error"))
        except ValidationError as wrong:
            first = wrong.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ConnectionLost(f"'{do}' is answered by something else ({place}: {first['msg']})") from None
        raise RefusedQuestion(refused.what, refused.remedy)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
