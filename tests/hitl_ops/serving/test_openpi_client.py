"""openpi's own client, out of its own environment, drives our server; and its bytes are ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.serving.openpi_codec import pack, unpack
from tests.support.openpi_environment import openpi_python
from tests.support.policy_server import serving
from tests.support.robot_policies import CAMERAS, WatchedPolicy, arms, served

pytestmark = [pytest.mark.slow, pytest.mark.integration]
ROBOT = Path(__file__).resolve().parents[2] / "support" / "openpi_robot.py"


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    python = openpi_python()
    spec = arms(horizon=10)
    with serving(served(WatchedPolicy(spec)), api_key="k3y") as running:
        done = subprocess.run(
            [python, ROBOT, running.url, "k3y"], capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_openpis_client_drives_our_server(said: dict[str, Any]) -> None:
    assert said["metadata"]["policy_id"] == "watched" and said["metadata"]["action_horizon"] == 10
    assert (said["shape"], said["dtype"]) == ([10, 14], "float32")
    assert said["first"] == [1.0, 2.0]
    assert said["timing"] == ["infer_ms", "prev_total_ms", "queue_ms"]
    # Its broker plays five actions of a chunk, each one further, then asks again from where the sixth question stood.
    assert said["steps"] == [0, 1, 2, 3, 4, 5, 6]
    assert "the observation has no 'state'" in said["refusal"] and "Traceback" not in said["refusal"]


def test_the_same_values_are_the_same_bytes(said: dict[str, Any]) -> None:
    samples = [
        {"state": np.arange(3, dtype=np.float32)},
        {
            "state": np.full(14, 0.5, np.float32),
            "images": {name: np.zeros((3, 16, 16), np.uint8) for name in CAMERAS},
            "prompt": "Lift the lid",
        },
        {"a": np.float32(1.5), "b": np.float64(2.5), "c": np.int8(-3), "d": np.bool_(True)}
        | {"e": [1, "text", b"bytes", None]},
        {"empty": np.zeros((0, 3), np.uint16), "zero": np.array(7, np.int64)}
        | {"turned": np.arange(6, dtype="<i2").reshape(2, 3).T},
        {"texts": np.array(["ab", "c"]), "bytes": np.array([b"ab", b"c"]), "big": np.arange(2, dtype=">f8")},
    ]
    assert [pack(sample).hex() for sample in samples] == said["packed"]
    for packed in said["packed"]:
        assert pack(unpack(bytes.fromhex(packed))).hex() == packed
