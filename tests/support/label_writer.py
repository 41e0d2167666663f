"""A process of its own that uses the label store named by ``FLYWHEEL_LABELS_URL``, for the tests that kill or race it.

``label_writer.py labels FIRST`` adds labels until it is killed, printing each one's key when it is acknowledged.
``label_writer.py join TOKEN TRIES`` lets people in from four threads and prints how many came in.
``label_writer.py migrate`` sets the store up. ``label_writer.py fork`` uses it on both sides of a fork.
Every mode first prints ``ready`` and waits for a line.
"""

from __future__ import annotations

import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from hitl_ops.contracts.store import Store
from hitl_ops.labels.errors import InvitationRefused
from hitl_ops.labels.label_store import LabelStore


def add_labels(store: LabelStore, first: int) -> None:
    """Add labels about three things in turn, for ever."""
    for number in itertools.count(first):
        label = add_label(store, number)
        print(f"key-{number} {label}", flush=True)


def add_label(store: LabelStore, number: int, annotator: str = "writer") -> int:
    """Add one label; return its id."""
    return store.add_label(
        "verdict",
        program="planner",
        iteration=1,
        annotator=annotator,
        client_key=f"key-{number}",
        value={"number": number, "text": "x" * 500},
        target=f"thing/{number % 3}",
    ).id


def join(store: LabelStore, token: str, tries: int) -> None:
    """Let people in as long as they are let in."""

    def one(_: int) -> bool:
        try:
            store.use_invitation(token)
        except InvitationRefused as refused:
            assert refused.reason == "used_up"
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(one, range(tries))), flush=True)


def fork(store: LabelStore) -> None:
    """Parent and child add labels at once, each after a connection was opened before the fork."""
    add_label(store, 0, "before")
    child = os.fork()
    name = "child" if child == 0 else "parent"
    for number in range(20):
        add_label(store, number, name)
    if child == 0:
        store.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def main(mode: str, *rest: str) -> None:
    """Do what the first word says."""
    store = LabelStore(Store.from_environment().labels_url)
    print("ready", flush=True)
    sys.stdin.readline()
    if mode == "labels":
        add_labels(store, int(rest[0]))
    elif mode == "join":
        join(store, rest[0], int(rest[1]))
    elif mode == "migrate":
        store.migrate()
        print(store.revision(), flush=True)
    elif mode == "fork":
        fork(store)


if __name__ == "__main__":
    main(*sys.argv[1:])
