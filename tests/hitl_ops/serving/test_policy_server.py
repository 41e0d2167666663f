"""The policy server over real sockets: openpi's protocol, its limits, and a policy that changes under a connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.openpi_codec import pack
from hitl_ops.serving.policy_follower import PolicyFollower
from hitl_ops.serving.policy_server import PolicyServer
from hitl_ops.serving.policy_server_config import PolicyServerConfig
from hitl_ops.serving.policy_source import FolderSource
from tests.support.policy_server import PATIENCE_S, serving
from tests.support.robot_policies import CHOOSES_NAN, WatchedPolicy, arms, observation, served, write_hold_policy

pytestmark = pytest.mark.integration


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_metadata_first_then_a_chunk_for_each_observation() -> None:
    spec = arms(horizon=25)
    policy = WatchedPolicy(spec)
    with serving(served(policy)) as running, running.client() as client:
        assert client.metadata == {
            "task": "Lift the lid off the bowl",
            "policy_id": "watched",
            "program": "station",
            "iteration": 0,
            "robot": "test arms",
            "joint_names": list(spec.joint_names),
            "cameras": {camera: [16, 16] for camera in spec.camera_names},
            "gripper_indices": [],
            "frequency_hz": 50.0,
            "action_horizon": 25,
        }
        first, second = client.infer(observation(3, spec)), client.infer(observation(4, spec))
        assert first["actions"].dtype == np.float32 and first["actions"].shape == (25, 14)
        assert (first["actions"][:, 0] == 3 + np.arange(25)).all() and second["actions"][0, 0] == 4
        assert set(first["server_timing"]) == {"infer_ms", "queue_ms"}
        assert set(second["server_timing"]) == {"infer_ms", "queue_ms", "prev_total_ms"}
        assert 0 <= second["policy_timing"]["infer_ms"] <= second["server_timing"]["infer_ms"]
        assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"]
        assert first["policy_id"] == "watched"


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ("Fold the shirt", "Fold the shirt, Advantage=True"),
        ("Fold the shirt, Advantage=False", "Fold the shirt, Advantage=True"),
        ("Fold the shirt, Advantage=True", "Fold the shirt, Advantage=True"),
        ("", "Open the box, Advantage=True"),
        (None, "Open the box, Advantage=True"),
    ],
)
def test_the_policy_is_always_asked_for_the_good_way(sent: str | None, asked: str) -> None:
    policy = WatchedPolicy()
    seen = observation(1)
    if sent is None:
        del seen["prompt"]
    else:
        seen["prompt"] = sent
    with serving(served(policy), default_prompt="Open\n the box") as running, running.client() as client:
        client.infer(seen)
    assert policy.prompts == [asked]


def test_without_any_task_the_policys_own_is_taken_and_where_it_has_none_that_is_said() -> None:
    policy = WatchedPolicy()
    with serving(served(policy)) as running:
        with running.client() as client:
            client.infer(observation(1, prompt=" , Advantage=False"))
        assert policy.prompts == ["Lift the lid off the bowl, Advantage=True"]
        policy.metadata = {}
        with running.client() as client:
            assert "has no 'prompt'" in str(client.send(pack(observation(1, prompt=""))))


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("hello", "a text came: send observations as binary messages"),
        (b"\xc1\xc1", "what came is no message"),
        (pack([1, 2]), "the observation is list, no map"),
        (pack({"__ctrl__": "episode_start", "prompt": "x"}), "the observation has no 'state'"),
        (pack(observation(1) | {"prompt": 7}), "'prompt' of the observation is no text"),
        (pack(observation(1) | {"state": np.zeros(14, np.int32)}), "have dtype int32"),
        (pack(observation(CHOOSES_NAN)), "actions from the policy hold nan at step 3, joint 2"),
    ],
)
def test_what_cannot_be_answered_is_one_line_and_costs_only_its_own_connection(message: str | bytes, line: str) -> None:
    with serving(served(WatchedPolicy())) as running, running.client() as other:
        with running.client() as client:
            said = client.send(message)
            assert isinstance(said, str) and line in said
            assert "\n" not in said and "Traceback" not in said
            with pytest.raises(ConnectionClosed) as closed:
                client.socket.recv(PATIENCE_S)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
        assert other.infer(observation(2))["actions"][0, 0] == 2


def test_an_observation_that_is_too_large_ends_its_connection() -> None:
    with serving(served(WatchedPolicy()), max_message_mb=0.1) as running, running.client() as client:
        client.socket.send(bytes(200_000))
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(PATIENCE_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_a_pass_keeps_nobody_from_connecting_or_asking_how_it_goes() -> None:
    policy = WatchedPolicy()
    policy.free.clear()
    with serving(served(policy)) as running, running.client() as first:
        replies = []
        asking = threading.Thread(target=lambda: replies.append(first.infer(observation(1))))
        asking.start()
        assert policy.entered.wait(PATIENCE_S)
        for path in ("/health", "/healthz"):
            answer = running.get(path)
            assert (answer.status_code, answer.text) == (200, "OK\n")
        with running.client() as second:
            assert second.metadata["policy_id"] == "watched"
            assert running.get("/status").json()["clients"] == 2
        assert not replies
        policy.free.set()
        asking.join(PATIENCE_S)
        assert replies[0]["actions"][0, 0] == 1
        status = running.get("/status").json()
        assert (status["answers"], status["failures"], status["passes"]) == (1, 0, 1)


def test_without_the_key_nothing_but_its_health_is_told() -> None:
    with serving(served(WatchedPolicy()), api_key="s3cret") as running:
        for headers in ({}, {"Authorization": "Api-Key s3cre"}, {"Authorization": "s3cret"}, {"Authorization": "é"}):
            with pytest.raises(InvalidStatus) as refused, running.client(additional_headers=headers):
                pass
            assert refused.value.response.status_code == 401
        assert running.get("/status").status_code == 401
        assert running.get("/health").text == "OK\n"
        with running.client(additional_headers={"Authorization": "Api-Key s3cret"}) as client:
            assert client.infer(observation(1))["actions"][0, 0] == 1


def test_pages_of_other_sites_and_clients_beyond_the_limit_are_refused() -> None:
    with serving(served(WatchedPolicy()), max_clients=1) as running, running.client() as client:
        with pytest.raises(InvalidStatus) as full, running.client():
            pass
        assert full.value.response.status_code == 503
        client.socket.close()
        with pytest.raises(InvalidStatus) as foreign, running.client(origin="http://evil.example"):
            pass
        assert foreign.value.response.status_code == 403
        assert running.get("/status", headers={"Origin": "http://evil.example"}).status_code == 403
        until(lambda: running.get("/status").json()["clients"] == 0)
        with running.client() as again:
            again.infer(observation(1))


def test_a_newer_policy_takes_over_under_an_open_connection(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    first = write_hold_policy(folder, seed=1)
    follower = PolicyFollower(FolderSource(folder))
    with serving(follower.first(), follower) as running, running.client() as client:
        assert client.metadata["policy_id"] == first and client.metadata["program"] == "station"
        assert client.infer(observation(1))["policy_id"] == first

        def answered_by(policy_id: str) -> Callable[[], bool]:
            return lambda: client.infer(observation(1))["policy_id"] == policy_id

        second = write_hold_policy(folder, iteration=1, seed=2)
        until(answered_by(second))
        # What cannot be opened changes nothing but what the status says.
        (folder / "merged" / "config.json").write_text("{}")
        write_hold_policy(tmp_path / "next", iteration=2, seed=3)
        shutil.copyfile(tmp_path / "next" / "card.json", folder / "card.json")
        until(lambda: "no robot can be served with" in running.server.status()["error"])
        assert answered_by(second)()
        third = write_hold_policy(folder, iteration=3, seed=4)
        until(answered_by(third))
        status = running.server.status()
        assert (status["error"], status["iteration"], status["changes"]) == ("", 3, 2)
        with running.client() as newcomer:
            assert newcomer.metadata["policy_id"] == third and newcomer.metadata["iteration"] == 3


def test_a_server_begins_with_a_policy_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        PolicyFollower(FolderSource(tmp_path / "p")).first()
    write_hold_policy(tmp_path / "p")

    def broken(folder: Path) -> WatchedPolicy:
        raise RuntimeError("odd\nweights")

    with pytest.raises(UserError, match=r"cannot be opened \(RuntimeError: odd weights\)"):
        PolicyFollower(FolderSource(tmp_path / "p"), broken).first()


def test_the_visualiser_tells_what_each_robot_sees_and_is_told() -> None:
    spec = arms(horizon=10, side=48)
    with serving(served(WatchedPolicy(spec))) as running, running.client() as robot:
        robot.infer(observation(1, spec, prompt="<b>Lift</b>"))
        page = running.get_page()
        assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
        for name in ("visualiser.css", "visualiser.js", "joint_plots.js"):
            assert running.get_page(f"/{name}").status_code == 200
        assert running.get_page("/../policy_server.py").status_code == 404
        with connect(f"ws://127.0.0.1:{running.page.port}/live") as socket:
            socket.send("next")
            update = json.loads(socket.recv(PATIENCE_S))
            assert update["server"]["policy_id"] == "watched"
            (shown,) = update["robots"]
            assert shown["prompt"] == "<b>Lift</b>, Advantage=True"
            assert shown["state"] == [1.0] * 14 and np.shape(shown["actions"]) == (10, 14)
            assert [*shown["cameras"]] == list(spec.camera_names)
            assert all(data.startswith("data:image/jpeg;base64,/9j/") for data in shown["cameras"].values())
            # What has not changed is not sent again; who has gone is not there any more.
            socket.send("next")
            assert json.loads(socket.recv(PATIENCE_S)) | {"server": 0} == {"server": 0, "here": [1], "robots": []}
            robot.socket.close()
            until(lambda: not running.server.view.robots)
            socket.send("next")
            assert json.loads(socket.recv(PATIENCE_S))["here"] == []


def test_the_visualiser_is_for_this_machine_only() -> None:
    with serving(served(WatchedPolicy())) as running:
        port = running.page.port
        assert running.get_page(headers={"Host": f"rebound.example:{port}"}).status_code == 403
        for headers in ({"origin": "http://evil.example"}, {"additional_headers": {"Host": "rebound.example"}}):
            with (
                pytest.raises((InvalidStatus, ConnectionClosed)) as refused,
                connect(f"ws://127.0.0.1:{port}/live", **headers) as socket,
            ):
                socket.recv(PATIENCE_S)
            assert not isinstance(refused.value, InvalidStatus) or refused.value.response.status_code == 403


def test_pictures_of_any_form_harm_nobody() -> None:
    policy = WatchedPolicy()
    odd = observation(1) | {
        "images": {
            "float": np.zeros((3, 4, 4), np.float32),
            "flat": np.zeros(48, np.uint8),
            "none": None,
            "wide": np.zeros((5, 2000, 3), np.uint8),
            "empty": np.zeros((3, 0, 4), np.uint8),
        }
    }
    with serving(served(policy)) as running, running.client() as robot:
        robot.infer(odd)
        with connect(f"ws://127.0.0.1:{running.page.port}/live") as socket:
            socket.send("next")
            (shown,) = json.loads(socket.recv(PATIENCE_S))["robots"]
            assert [*shown["cameras"]] == ["wide"]


def test_a_port_that_is_taken_is_named() -> None:
    with serving(served(WatchedPolicy())) as running:

        async def again() -> None:
            config = PolicyServerConfig(port=running.server.port)
            async with PolicyServer(served(WatchedPolicy()), config=config).running():
                pass

        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {running.server.port}"):
            asyncio.run(again())


def test_the_servers_end_is_said_to_those_who_are_connected() -> None:
    with contextlib.ExitStack() as stack:
        with serving(served(WatchedPolicy())) as running:
            client = stack.enter_context(running.client())
            client.infer(observation(1))
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(PATIENCE_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
