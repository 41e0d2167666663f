"""Who has a place and who waits for one, first come, first served."""

from __future__ import annotations


class Lobby:
    """Places for people who play at once, and the queue before them. Knows sessions by their id only.

    Args:
        capacity: how many places there are.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._places: set[str] = set()
        self._queue: dict[str, None] = {}  # a dict keeps the order and finds in constant time

    @property
    def free(self) -> int:
        """Places nobody has or waits for."""
        return max(0, self.capacity - len(self._places) - len(self._queue))

    @property
    def waiting(self) -> int:
        """People in the queue."""
        return len(self._queue)

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return len(self._places)

    def has_place(self, session_id: str) -> bool:
        """Whether a session has a place."""
        return session_id in self._places

    def knows(self, session_id: str) -> bool:
        """Whether a session has a place or waits for one."""
        return session_id in self._places or session_id in self._queue

    def enter(self, session_id: str) -> int | None:
        """Give a session a place, or a place in the queue; asking again changes nothing.

        Returns:
            None with a place, else the position in the queue from 1.
        """
        if session_id in self._places:
            return None
        if session_id not in self._queue:
            if len(self._places) < self.capacity and not self._queue:
                self._places.add(session_id)
                return None
            self._queue[session_id] = None
        return list(self._queue).index(session_id) + 1

    def keep(self, session_id: str) -> None:
        """Give a session its place back after a restart, even beyond the capacity."""
        self._queue.pop(session_id, None)
        self._places.add(session_id)

    def leave(self, session_id: str) -> list[str]:
        """Take a session out.

        Returns:
            The sessions that have come to a place by it, in order.
        """
        self._places.discard(session_id)
        self._queue.pop(session_id, None)
        moved_up: list[str] = []
        while self._queue and len(self._places) < self.capacity:
            first = next(iter(self._queue))
            del self._queue[first]
            self._places.add(first)
            moved_up.append(first)
        return moved_up

    def queue(self) -> list[str]:
        """Sessions waiting, the next one first."""
        return list(self._queue)
