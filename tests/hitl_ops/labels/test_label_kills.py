"""A writer killed at any moment loses nothing it was told is kept."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from subprocess import Popen

import pytest

from hitl_ops.labels.label_store import LabelStore
from tests.support.label_writer import add_label
from tests.support.label_writers import go

KILLS = 6


@pytest.mark.slow
def test_every_acknowledged_label_outlives_its_writer(
    store: LabelStore, start_writer: Callable[..., Popen[str]]
) -> None:
    moments = random.Random(7)
    acknowledged: dict[str, int] = {}
    number = 0
    for _ in range(KILLS):
        writer = start_writer("labels", str(number))
        go(writer)
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]  # it is writing; some moment of the next quarter second is its last
        timer = threading.Timer(moments.uniform(0.0, 0.25), writer.kill)
        timer.start()
        lines += writer.stdout.readlines()
        timer.join()
        assert writer.wait(30) == -9
        for line in lines:
            if line.endswith("\n"):
                key, label_id = line.split()
                acknowledged[key] = int(label_id)
                number = int(key.removeprefix("key-")) + 1
        # What the killed one had been about to hear of is sent again, as a client would.
        acknowledged[f"key-{number}"] = add_label(store, number)
        number += 1
    kept = {label.client_key: label for label in store.labels(superseded=True)}
    assert {key: kept[key].id for key in acknowledged} == acknowledged
    assert sorted(kept) == sorted(f"key-{index}" for index in range(number)), "none twice, none left out"
    assert all(label.value == {"number": int(key[4:]), "text": "x" * 500} for key, label in kept.items())
    assert len(store.labels()) == 3, "one label stands about each thing"
