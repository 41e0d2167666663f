"""A scene in a worker's process: the same questions as any scene, and pictures, over a socket."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import deque
from dataclasses import asdict
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.played_scene import PlayedScene
from hitl_ops.worlds.habitat.config import HabitatConfig
from hitl_ops.worlds.habitat.messages import (
    AheadAnswer,
    AnswerT,
    ClearAnswer,
    ConnectionLost,
    Done,
    Hello,
    Loaded,
    MaskAnswer,
    PictureAnswer,
    PlaceAnswer,
    RefusedQuestion,
    RoomAnswer,
    RouteAnswer,
    SlotsAnswer,
)
from hitl_ops.worlds.habitat.shown_moment import moment_of
from hitl_ops.worlds.habitat.worker_process import WorkerProcess
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.renderer.frame import Frame
from hitl_ops.worlds.household.scene import Route, SceneLost
from hitl_ops.worlds.household.scene_description import SceneDescription, Vec3

_PLACES_KEPT, _ROUTES_KEPT = 20_000, 4_096
_WAYS_KEPT = 32
_AHEAD = 16
"""Places of a way that are looked at in one question, about 3 m: few enough that nobody waits for it."""
_REMEDY = "what was played goes on from its log; if it happens again, look at the worker's last words"

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class _Kept(Generic[KeyT, ValueT]):
    """Answers that cannot change, as many as there is room for; the oldest goes first."""

    def __init__(self, room: int) -> None:
        self.answers: dict[KeyT, ValueT] = {}
        self._room = room

    def put(self, key: KeyT, answer: ValueT) -> ValueT:
        """Keep an answer; returns it."""
        if len(self.answers) >= self._room:
            self.answers.pop(next(iter(self.answers)), None)
        self.answers[key] = answer
        return answer


class RemoteScene:
    """A scene in a process of its own; implements ``scene.Scene``. May be asked from several threads.

    Whoever opens one closes it. A home stands still, so that answers are kept: doors are told with every question.

    Args:
        config: the process.
        asked: what to open, as the worker's ``load`` takes it.
        description: the home, where it is known on this side.
        worker: a process that was started already; becomes the scene's own. A new one if None.

    Attributes:
        played_scene: which scene it is, for records.
        description: the home.
        anchors: what can be looked at.
        hello: who the worker is.

    Raises:
        UserError: the worker cannot be started, or cannot open the scene.
        SceneLost: somebody killed it meanwhile.
    """

    def __init__(
        self,
        config: HabitatConfig,
        asked: dict[str, Any],
        description: SceneDescription | None = None,
        worker: WorkerProcess | None = None,
    ) -> None:
        self._config = config
        self._asked = asked
        dataset = config.scene_dataset if asked["kind"] == "dataset" else ""
        self.played_scene = PlayedScene("habitat", asked["scene_id"], config.backend, dataset)
        self._lock = threading.RLock()
        self._worker: WorkerProcess | None = None
        self._lost = "it was never opened"
        self._at = 0.0
        self._routes: _Kept[tuple[tuple[float, float], str | tuple[float, float]], Route | None]
        self._seen: _Kept[tuple[float, float, int], int]
        self._clear: _Kept[tuple[tuple[float, float], tuple[float, float], int], bool]
        self._doors: _Kept[tuple[float, float], int]
        self._rooms: _Kept[tuple[float, float], str]
        self._slots: dict[tuple[str, str], tuple[Vec3, ...]]
        # The newest ways, and where on which of them a place is: whoever is there will most likely ask of the next
        # ones too. Ways are asked for far more often than walked, so that their places are noted when one is met.
        self._ways: deque[Route]
        self._on_way: _Kept[tuple[float, float], tuple[Route, int]]
        self._doors_open: int
        self._known = description
        self.description: SceneDescription
        self.anchors: tuple[str, ...]
        self.hello: Hello
        self.forget()
        self._open(worker)

    # --- the process --------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The worker's process id; None where there is none."""
        return self._worker.pid if self._worker is not None else None

    @property
    def lost(self) -> bool:
        """Whether the worker has ended."""
        return self._worker is None or self._worker.gone

    def reopen(self) -> None:
        """Open the scene in a new worker, whatever became of the last one.

        Raises:
            UserError: see the class.
        """
        with self._lock:
            self.close()
            self._open(None)

    def _open(self, worker: WorkerProcess | None) -> None:
        with self._lock:
            worker = worker or WorkerProcess(self._config)
            try:
                self._load(worker)
            except BaseException:
                worker.end(patience_s=0.0)
                raise
            self._worker, self._at = worker, time.monotonic()
            # The process ends with this object, should nobody close it.
            self._ending = weakref.finalize(self, worker.end)
            _watch(self)

    def _load(self, worker: WorkerProcess) -> None:
        try:
            loaded = worker.questions.ask(Loaded, "load", scene=self._asked, within_s=self._config.start_within_s)
        except ConnectionLost as error:
            remedy = "look at its last words, and at scene.habitat.gpu: -1 needs no graphics card"
            raise worker.not_opened(str(error), f"could not open '{self._asked['scene_id']}'", remedy) from None
        description = loaded.description or self._known
        if description is None:
            raise UserError("the scene's worker did not describe its scene", "report it with the worker's version")
        anchors = (
            *(piece.name for piece in description.furniture),
            *(f"floor_{room.name}" for room in description.rooms),
        )
        if loaded.scene_id != self._asked["scene_id"] or loaded.anchors != anchors:
            raise UserError(
                f"the scene's worker opened another home than '{self._asked['scene_id']}'",
                "take worker and client from the same version of Flywheel",
            )
        self.hello, self.description, self.anchors = worker.hello, description, anchors
        self._names = {*anchors, *(room.name for room in description.rooms)}
        self.forget()

    def forget(self) -> None:
        """Keep no answers: each is asked for anew."""
        self._routes, self._seen, self._clear = _Kept(_ROUTES_KEPT), _Kept(_PLACES_KEPT), _Kept(_PLACES_KEPT)
        self._doors, self._rooms, self._slots = _Kept(_PLACES_KEPT), _Kept(_PLACES_KEPT), {}
        self._ways, self._on_way, self._doors_open = deque(maxlen=_WAYS_KEPT), _Kept(_PLACES_KEPT), 0

    def close(self) -> None:
        """End the worker; closing twice is harmless."""
        with self._lock:
            worker, self._worker = self._worker, None
            if worker is None:
                return
            self._lost = f"the scene's worker (pid {worker.pid}) was closed"
            self._ending.detach()
            with contextlib.suppress(ConnectionLost, UserError):  # it ends anyway
                worker.questions.ask(Done, "bye", within_s=1.0)
            worker.end()

    def _ask(self, answer: type[AnswerT], do: str, **arguments: Any) -> AnswerT:
        """Ask the worker.

        Raises:
            SceneLost: it has ended, or does not answer.
            RefusedQuestion: it cannot.
        """
        with self._lock:
            if self._worker is None:
                raise SceneLost(self._lost, _REMEDY)
            self._at = time.monotonic()
            try:
                return self._worker.questions.ask(answer, do, **arguments)
            except ConnectionLost as error:
                worker, self._worker = self._worker, None
                self._lost = _sentence(worker, str(error))
                self._ending.detach()
                worker.end(patience_s=0.0)
            raise SceneLost(self._lost, _REMEDY)

    def check(self) -> None:
        """Notice the worker's end, should nobody have asked anything since; costs next to nothing.

        Raises:
            SceneLost: it has ended.
        """
        if self._worker is None or self._worker.gone:
            self._ask(Done, "ping")

    def show_life(self) -> None:
        """Tell the worker that somebody is still there, if nothing else has for a while."""
        if time.monotonic() - self._at < self._config.heartbeat_s or not self._lock.acquire(blocking=False):
            return
        try:
            if self._worker is not None:
                self._ask(Done, "ping")
        except UserError:
            pass  # whoever asks next is told
        finally:
            self._lock.release()

    @property
    def heartbeat_s(self) -> float:
        """Seconds between two signs of life."""
        return self._config.heartbeat_s

    # --- geometry -----------------------------------------------------------------------------------------

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> Route | None:
        """See ``Scene.route``."""
        key = (start, target)
        try:
            return self._routes.answers[key]
        except KeyError:
            pass
        if isinstance(target, str) and target not in self._names:
            raise KeyError(target)
        told = self._ask(RouteAnswer, "route", start=start, target=target).route
        if told is None:
            return self._routes.put(key, None)
        if len(told.points) != len(told.lengths):
            raise UserError("the scene's worker told half a route", "report it with the worker's version")
        route = Route(told.points, told.lengths)
        self._ways.append(route)
        return self._routes.put(key, route)

    def seen_from(self, x: float, z: float, doors_open: int) -> int:
        """See ``Scene.seen_from``."""
        self._doors_open = doors_open
        key = (x, z, doors_open)
        if key not in self._seen.answers:
            self._look_ahead(x, z)
        seen = self._seen.answers.get(key)
        if seen is None:
            told = self._ask(MaskAnswer, "seen_from", x=x, z=z, doors_open=f"{doors_open:x}")
            seen = self._seen.put(key, self._anchors_of(told.mask))
        return seen

    def _look_ahead(self, x: float, z: float) -> None:
        """Have the doors and the sights of the next places of a way told at once, if a place is on one."""
        with contextlib.suppress(IndexError):  # another thread has taken the last one
            while self._ways:
                way = self._ways.popleft()
                for index, place in enumerate(way.points):
                    self._on_way.put(place, (way, index))
        found = self._on_way.answers.get((x, z))
        if found is None:
            return
        route, index = found
        places = route.points[index : index + _AHEAD]
        opened = self._doors_open
        try:
            told = self._ask(AheadAnswer, "ahead", places=places, doors_open=f"{opened:x}")
        except RefusedQuestion:
            # One place of many cannot be answered for: each is asked for by itself, and that one says why.
            for place in places:
                self._on_way.answers.pop(place, None)
            return
        if not len(places) == len(told.doors) == len(told.seen):
            raise UserError("the scene's worker looked at half a way", "report it with the worker's version")
        for place, doors, seen in zip(places, told.doors, told.seen, strict=True):
            opened |= self._doors.put(place, self._doors_of(doors))
            self._seen.put((*place, opened), self._anchors_of(seen))

    def _anchors_of(self, mask: str) -> int:
        # A bit beyond the anchors would be nobody's.
        return int(mask, 16) & ((1 << len(self.anchors)) - 1)

    def _doors_of(self, mask: str) -> int:
        return int(mask, 16) & ((1 << len(self.description.doors)) - 1)

    def line_of_sight(self, a: tuple[float, float], b: tuple[float, float], doors_open: int) -> bool:
        """See ``Scene.line_of_sight``."""
        clear = self._clear.answers.get((a, b, doors_open))
        if clear is None:
            told = self._ask(ClearAnswer, "line_of_sight", a=a, b=b, doors_open=f"{doors_open:x}")
            clear = self._clear.put((a, b, doors_open), told.clear)
        return clear

    def doors_at(self, x: float, z: float) -> int:
        """See ``Scene.doors_at``."""
        if (x, z) not in self._doors.answers:
            self._look_ahead(x, z)
        doors = self._doors.answers.get((x, z))
        if doors is None:
            told = self._ask(MaskAnswer, "doors_at", x=x, z=z)
            doors = self._doors.put((x, z), self._doors_of(told.mask))
        return doors

    def slide(self, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
        """See ``Scene.slide``."""
        return self._ask(PlaceAnswer, "slide", x=x, z=z, dx=dx, dz=dz).place

    def room_at(self, x: float, z: float) -> str:
        """See ``Scene.room_at``."""
        room = self._rooms.answers.get((x, z))
        if room is None:
            room = self._rooms.put((x, z), self._ask(RoomAnswer, "room_at", x=x, z=z).room)
        return room

    def slots(self, parent: str, relation: str) -> tuple[Vec3, ...]:
        """See ``Scene.slots``."""
        slots = self._slots.get((parent, relation))
        if slots is None:
            if parent not in self._names:
                raise KeyError(parent)
            slots = self._ask(SlotsAnswer, "slots", parent=parent, relation=relation).slots
            self._slots[(parent, relation)] = slots
        return slots

    # --- pictures -----------------------------------------------------------------------------------------

    def show(self, facts: Facts) -> None:
        """Put everything that moves where it is, for the pictures that follow."""
        self._ask(Done, "show", moment=moment_of(facts, self.description))

    def picture(self, camera: Camera, width: int, height: int, kinds: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """Draw what was shown last.

        Args:
            camera: where from.
            width: pixels.
            height: pixels.
            kinds: among "rgb" (uint8 [h, w, 3]), "depth" (float32 [h, w], metres along the view axis) and "semantic"
                (int32 [h, w], ids that the home's manifest names).

        Raises:
            UserError: the scene cannot draw that.
        """
        told = self._ask(PictureAnswer, "picture", camera=asdict(camera), width=width, height=height, kinds=list(kinds))
        drawn: dict[str, NDArray[Any]] = {}
        for kind in kinds:
            image = getattr(told, kind)
            if image is None:
                raise UserError(f"the scene's worker drew no '{kind}'", "report it with the worker's version")
            dtype, shape = _PICTURES[kind]
            drawn[kind] = image.array(dtype, (height, width, *shape))
        return drawn


_PICTURES: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "rgb": (np.uint8, (3,)),
    "depth": (np.float32, ()),
    "semantic": (np.int32, ()),
}


class RemoteRenderer:
    """Draws in a scene's worker; implements ``renderer.frame.Renderer``.

    Args:
        scene: whose worker; stays its owner's.
    """

    def __init__(self, scene: RemoteScene) -> None:
        self._scene = scene
        self.backend = scene.hello.backend

    def render(self, facts: Facts, camera: Camera, width: int, height: int, depth: bool = True) -> Frame:
        """See ``Renderer.render``."""
        self._scene.show(facts)
        drawn = self._scene.picture(camera, width, height, ("rgb", "depth") if depth else ("rgb",))
        return Frame(drawn["rgb"], drawn.get("depth"))

    def close(self) -> None:
        """See ``Renderer.close``; the scene stays open."""


def _sentence(worker: WorkerProcess, why: str) -> str:
    return f"the scene's worker (pid {worker.pid}) has ended: {worker.ended(why)}"


# --- signs of life ------------------------------------------------------------------------------------------------

_scenes: weakref.WeakSet[RemoteScene] = weakref.WeakSet()
_watching = threading.Lock()
_watcher: threading.Thread | None = None


def _watch(scene: RemoteScene) -> None:
    """Have a thread of this process show life to a scene's worker for as long as the scene is there."""
    global _watcher
    with _watching:
        _scenes.add(scene)
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_show_life, name="signs of life", daemon=True)
            _watcher.start()


def _show_life() -> None:
    while True:
        with _watching:
            scenes = [scene for scene in _scenes if not scene.lost]
        for scene in scenes:
            scene.show_life()
        pause = min([1.0, *(scene.heartbeat_s / 2 for scene in scenes)])
        # No reference is kept while asleep: a scene nobody else holds is to end.
        scenes = []
        time.sleep(pause)
