"""Runs in openpi-client's own environment: drives a policy server with openpi's client, and says what came.

``python openpi_robot.py URL KEY`` asks the server, then packs samples, and prints it all as one line of JSON.
"""

import json
import sys

import numpy as np
from openpi_client import action_chunk_broker, msgpack_numpy, websocket_client_policy

HORIZON = 5


def observation(state):
    return {
        "state": np.full(14, state, np.float32),
        "images": {name: np.zeros((3, 16, 16), np.uint8) for name in CAMERAS},
        "prompt": "Lift the lid",
    }


CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
SAMPLES = [
    {"state": np.arange(3, dtype=np.float32)},
    observation(0.5),
    {
        "a": np.float32(1.5),
        "b": np.float64(2.5),
        "c": np.int8(-3),
        "d": np.bool_(True),
        "e": [1, "text", b"bytes", None],
    },
    {
        "empty": np.zeros((0, 3), np.uint16),
        "zero": np.array(7, np.int64),
        "turned": np.arange(6, dtype="<i2").reshape(2, 3).T,
    },
    {"texts": np.array(["ab", "c"]), "bytes": np.array([b"ab", b"c"]), "big": np.arange(2, dtype=">f8")},
]


def main(url, key):
    host, _, port = url.removeprefix("http://").partition(":")
    policy = websocket_client_policy.WebsocketClientPolicy(host, int(port), api_key=key)
    replies = [policy.infer(observation(state)) for state in (1.0, 2.0)]
    broker = action_chunk_broker.ActionChunkBroker(policy, action_horizon=HORIZON)
    steps = [float(broker.infer(observation(state))["actions"][0]) for state in range(7)]
    try:
        policy.infer({"prompt": "nothing else"})
        refusal = ""
    except RuntimeError as error:
        refusal = str(error)
    said = {
        "metadata": policy.get_server_metadata(),
        "shape": list(replies[1]["actions"].shape),
        "dtype": str(replies[1]["actions"].dtype),
        "first": [float(reply["actions"][0, 0]) for reply in replies],
        "timing": sorted(replies[1]["server_timing"]),
        "steps": steps,
        "refusal": refusal,
        "packed": [msgpack_numpy.packb(sample).hex() for sample in SAMPLES],
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
