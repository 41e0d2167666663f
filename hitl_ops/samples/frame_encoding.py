"""Frames into features, several batches at once, in the order in which they came.

On a processor a batch is worked on by one thread and several batches at once: the threads of one batch would wait for
each other, and for those that decode. On an accelerator the next batch is copied there while the last is worked on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from hitl_ops.models.advantage_estimator import AdvantageEstimator

_BATCHES_AT_ONCE, _ON_ACCELERATOR = 8, 2
"""However many cores there are: each batch has its activations in memory."""


@dataclass(slots=True)
class _Batch:
    """Room for frames on their way into the model.

    Attributes:
        pictures: [size, cameras, side, side, 3] uint8.
        states: [size, joints] float32.
        filled: how many frames there are.
    """

    pictures: torch.Tensor
    states: torch.Tensor
    filled: int = 0


class FrameEncoder:
    """Encodes batches of frames; used as a context, which takes its threads down.

    Attributes:
        busy_s: seconds in which at least one batch was being worked on.

    Args:
        model: the estimator.
        size: frames of a batch, at most.
        device: where the model runs.
        precision: that it computes with: ``float32`` or ``bfloat16``.
    """

    def __init__(self, model: AdvantageEstimator, size: int, device: str, precision: str) -> None:
        import torch

        self._model, self._device, self._precision = model, device, precision
        facts, pinned = model.facts, device != "cpu"
        cores = torch.get_num_threads()
        self._at_once = _ON_ACCELERATOR if pinned else min(cores, _BATCHES_AT_ONCE)
        self._threads = cores if pinned else max(1, cores // self._at_once)
        self._threads_before = cores
        side = facts.config.image_size
        shape = (size, len(facts.cameras), side, side, 3)
        self._free: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        for _ in range(self._at_once + 1):
            pictures = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
            self._free.put(_Batch(pictures, torch.empty((size, facts.joints), pin_memory=pinned)))
        self._batch: _Batch | None = None
        self._begun: deque[tuple[Any, Future[torch.Tensor]]] = deque()
        self.busy_s = 0.0
        self._working, self._since, self._lock = 0, 0.0, threading.Lock()
        self._pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="encode")

    def __enter__(self) -> Self:
        import torch

        torch.set_num_threads(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch

        self._pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(self._threads_before)

    def add(self, cameras: Sequence[npt.NDArray[np.uint8]], state: npt.NDArray[np.float32] | None) -> None:
        """Take frames into the batch: [n, side, side, 3] of each camera, and their state [n, joints].

        Waits where as many batches as may be are being worked on.
        """
        if self._batch is None:
            self._batch = self._free.get()
        batch = self._batch
        until = batch.filled + len(cameras[0])
        pictures = batch.pictures.numpy()
        for number, images in enumerate(cameras):
            pictures[batch.filled : until, number] = images
        if state is not None:
            batch.states.numpy()[batch.filled : until] = state
        batch.filled = until

    def encode(self, what: Any) -> None:
        """Begin to encode what was taken in.

        Args:
            what: handed out with its features.
        """
        batch, self._batch = self._batch, None
        assert batch is not None, "nothing was taken in"
        self._begun.append((what, self._pool.submit(self._encode, batch)))

    def done(self, *, everything: bool = False) -> Iterator[tuple[Any, torch.Tensor]]:
        """What is encoded, in the order in which it was taken in: its name and its features, [n, F] float32.

        Args:
            everything: wait for all that was begun.
        """
        while self._begun and (everything or self._begun[0][1].done()):
            what, features = self._begun.popleft()
            yield what, features.result()

    def _encode(self, batch: _Batch) -> torch.Tensor:
        import torch

        self._count(1)
        try:
            if torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)
            with torch.inference_mode():
                pictures = batch.pictures[: batch.filled].to(self._device, non_blocking=True)
                state = batch.states[: batch.filled].to(self._device, non_blocking=True)
                with torch.autocast(self._device, torch.bfloat16, enabled=self._precision == "bfloat16"):
                    # Channels stand last, as FFmpeg leaves them: a view, nothing is moved.
                    features = self._model.encode(pictures.permute(0, 1, 4, 2, 3), state if state.shape[1] else None)
                features = features.float()
                if self._device != "cpu":
                    # The other thread has its batch there by now: the accelerator goes on meanwhile.
                    torch.cuda.current_stream().synchronize()
                return features
        finally:
            self._count(-1)
            batch.filled = 0
            self._free.put(batch)

    def _count(self, change: int) -> None:
        """Note that a batch is begun or done."""
        with self._lock:
            now = time.perf_counter()
            if self._working:
                self.busy_s += now - self._since
            self._working, self._since = self._working + change, now
