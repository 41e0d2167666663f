"""``flywheel serve`` as somebody would start it: a policy to try, one that is promoted meanwhile, Ctrl+C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from flywheel.serve import serve
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.serving.policy_alias import promote, rollback
from hitl_ops.serving.robot_serving import API_KEY_VARIABLE
from tests.support.evaluated_policies import write_evaluation
from tests.support.policy_server import PATIENCE_S, PolicyClient
from tests.support.registries import with_registry
from tests.support.robot_policies import observation, write_hold_policy


class Serving:
    """The verb in a process of its own."""

    def __init__(self, log: Path, words: tuple[str, ...]) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flywheel", "serve", "--port", "0", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(pattern, self.said)) is None:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        return found.group(found.lastindex or 0)

    @contextlib.contextmanager
    def client(self, **options: object) -> Iterator[PolicyClient]:
        with connect(self.wait_for(r"(ws://\S+)"), compression=None, max_size=None, **options) as socket:
            yield PolicyClient(socket)


@contextlib.contextmanager
def flywheel_serve(log: Path, *words: str) -> Iterator[Serving]:
    server = Serving(log, words)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.slow
@pytest.mark.integration
def test_a_station_is_tried_out_with_hold_and_ctrl_c_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "k3y")
    with flywheel_serve(tmp_path / "log", "--policy", "hold", "--visualiser-port", "0") as server:
        page = server.wait_for(r"visualiser  (http://\S+)")
        assert "Robot" in httpx.get(page).text
        with server.client(additional_headers={"Authorization": "Api-Key k3y"}) as client:
            assert (client.infer(observation(0.25))["actions"] == 0.25).all()
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(PATIENCE_S) == 0
        assert server.said.endswith("stopped\n") and "Traceback" not in server.said and "k3y" not in server.said


@pytest.mark.slow
@pytest.mark.integration
def test_what_is_promoted_takes_over_under_an_open_connection(tmp_path: Path, own_store: Path) -> None:
    store = with_registry(Store.at(own_store))
    ids = []
    for iteration in range(2):
        paths = store.iteration("station", iteration)
        ids.append(write_hold_policy(paths.policy, iteration=iteration))
        write_evaluation(paths.evaluation, ids[-1], "1111")
    words = ("--wait", "--no-visualiser", "--set", "poll_s=0.1")
    with flywheel_serve(tmp_path / "log", *words) as server:
        server.wait_for("waiting: no policy of 'station' has the alias 'serving'")
        promote(store, "station", 0)
        with server.client() as client:
            # The newest iteration is open, whoever serves.
            assert [client.metadata[key] for key in ("policy_id", "iteration", "epoch")] == [ids[0], 0, 1]

            def answered_by(policy_id: str) -> None:
                deadline = time.monotonic() + PATIENCE_S
                while client.infer(observation(1))["policy_id"] != policy_id:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)

            answered_by(ids[0])
            promote(store, "station", 1)
            answered_by(ids[1])
            rollback(store, "station")
            answered_by(ids[0])
        server.process.terminate()
        assert server.process.wait(PATIENCE_S) == 0


def test_mistakes_are_a_line_each(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no policy of 'station' has the alias 'serving'"):
        serve(root=tmp_path)
    with pytest.raises(UserError, match="policy 'holt' is no folder: write candidate, serving, previous, hold"):
        serve("holt", root=tmp_path)
    with pytest.raises(UserError, match=r"card\.json' does not exist"):
        serve(str(tmp_path), root=tmp_path)
    with pytest.raises(UserError, match="both given"):
        serve("hold", visualiser_port=1, no_visualiser=True)
    with pytest.raises(UserError, match="unknown config key 'prot': did you mean 'port'"):
        serve("hold", overrides=["prot=1"])
