"""The station at a real terminal: every state and key of the tables, and Ctrl+C in each of them."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_ops.contracts.station_epoch import EpochFolder, missing_of, read_manifest
from hitl_ops.records.station_episode import repair_unfinished
from hitl_ops.records.station_hdf5 import list_station_episodes, read_station_episode, read_station_facts
from robot_client.states import CONTROLS, State
from tests.support.openpi_server import OpenpiServer, metadata, openpi_server
from tests.support.station_recordings import record
from tests.support.station_runs import written_config
from tests.support.terminal import Terminal, station_terminal

pytestmark = [pytest.mark.slow, pytest.mark.integration]


@pytest.fixture
def server() -> Iterator[OpenpiServer]:
    with openpi_server(metadata("base", 0)) as running:
        yield running


def shows(terminal: Terminal, state: State, words: str = "") -> None:
    """The panel shows a state, and with it its keys, the frame count, the last latency and the jitter."""
    terminal.wait_for(re.escape(f"[{state}] {words}"))
    for fact in (r"frames\s+\d+", r"latency\s+(\d+ ms|no chunk yet)", r"jitter\s+p50"):
        terminal.wait_for(fact)
    for control in CONTROLS[state]:
        terminal.wait_for(re.escape(control.key) + r"\s+" + wrapped(control.does))
    terminal.wait_for("Ctrl.C")


def wrapped(words: str) -> str:
    """A pattern for words that may stand in several lines of the panel."""
    return r"[\s│]+".join(map(re.escape, words.split()))


def calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().split()


def test_every_state_and_key(tmp_path: Path, server: OpenpiServer) -> None:
    config = written_config(tmp_path, server.port)
    with station_terminal(config) as terminal:
        shows(terminal, State.WAITING, "Polling server for new policy weights")
        shows(terminal, State.READY, "Policy ready (Epoch 0)")
        terminal.type("n")
        terminal.wait_for("no complete episode yet")
        terminal.type("xq7")  # keys of nothing
        terminal.type("y")
        terminal.wait_for("Resetting robot to starting pose")
        shows(terminal, State.EXECUTING, "Running policy (epoch 0, episode 1)")
        before = int(terminal.wait_for(r"frames\s+([1-9]\d*)")[1])
        terminal.wait_for(r"latency\s+\d+ ms, server 2 ms, chunk \d+")
        assert int(terminal.wait_for(r"frames\s+(\d+)")[1]) > before
        terminal.type("g")
        terminal.type("s")
        shows(terminal, State.LABELING, "Episode 1 execution complete")
        terminal.type("r")
        terminal.wait_for("label the episode first")
        terminal.type("b")
        terminal.wait_for(re.escape("Episode labeled as BAD (Advantage=False)"))
        terminal.type("g")
        terminal.wait_for(re.escape("Episode labeled as GOOD (Advantage=True)"))
        terminal.type("r")
        shows(terminal, State.SAVING)
        shows(terminal, State.DECIDING, "Continue or finish epoch")
        terminal.wait_for(r"1 episode \(1 good, 0 bad\)")
        assert calls(tmp_path)[:3] == ["reset", "hold", "command"]
        assert calls(tmp_path)[-2:] == ["hold", "reset"]

        terminal.type("Y")
        shows(terminal, State.EXECUTING, "Running policy (epoch 0, episode 2)")
        terminal.wait_for(r"frames\s+[1-9]")
        terminal.type("s")
        shows(terminal, State.LABELING)
        terminal.type("bd")
        shows(terminal, State.DAMPING, "Robot is soft: adjust it by hand")
        assert calls(tmp_path)[-1] == "damp"
        terminal.type("gsyn")
        terminal.type("e")
        terminal.wait_for(re.escape("[DECIDING]"))
        terminal.wait_for(r"2 episodes \(1 good, 1 bad\)")
        assert calls(tmp_path)[-1] == "hold"

        terminal.type("n")
        shows(terminal, State.SYNCING, "Uploading data to server")
        terminal.wait_for(re.escape("[WAITING]"))
        server.metadata = metadata("next", 1)
        shows(terminal, State.READY, "Policy ready (Epoch 1)")
        terminal.wait_for("policy +next")
        terminal.type("y")
        terminal.wait_for(r"frames\s+[1-9]")
        terminal.type("s")
        terminal.wait_for(re.escape("[LABELING]"))
        terminal.type("gr")
        terminal.wait_for(re.escape("[DECIDING]"))
        terminal.type("n")
        terminal.wait_for(re.escape("[FINISHED] Session complete"))
        assert terminal.wait() == 0
        assert termios.tcgetattr(terminal.slave) == terminal.settings_before
    first, second = (EpochFolder(tmp_path / "data", "lift_lid", epoch) for epoch in (0, 1))
    facts = [read_station_facts(file) for file in list_station_episodes(tmp_path / "data")]
    assert [(fact.iteration, fact.verdict, fact.policy_id) for fact in facts] == [
        (0, "good", "base"),
        (0, "bad", "base"),
        (1, "good", "next"),
    ]
    for folder in (first, second):
        assert missing_of(folder, read_manifest(folder.manifest())) == []
    assert read_station_episode(first.episode(0)).cameras == {"cam_high": (24, 32)}
    assert calls(tmp_path)[-1] == "close"


def reach(terminal: Terminal, state: State) -> None:
    """Type the way to a state."""
    steps = {
        State.READY: ("", r"\[READY\]"),
        State.EXECUTING: ("y", r"frames\s+[1-9]\d"),
        State.LABELING: ("s", r"\[LABELING\]"),
        State.DAMPING: ("gd", r"\[DAMPING\]"),
        State.DECIDING: ("e", r"\[DECIDING\]"),
        State.SYNCING: ("n", r"\[SYNCING\]"),
    }
    for step, (keys, shown) in steps.items():
        if keys:
            terminal.type(keys)
        terminal.wait_for(shown)
        if step is state:
            return


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        (State.WAITING, []),
        (State.READY, []),
        (State.EXECUTING, [("aborted", None)]),
        (State.LABELING, [("complete", None)]),
        (State.DAMPING, [("complete", "good")]),
        (State.SAVING, [("aborted", None)]),
        (State.DECIDING, [("complete", "good")]),
        (State.SYNCING, [("complete", "good")]),
    ],
)
def test_ctrl_c_holds_and_saves_in_every_state(
    tmp_path: Path,
    server: OpenpiServer,
    state: State,
    kept: list[tuple[str, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLYWHEEL_UPLOAD_TOKEN", "t")
    config = written_config(
        tmp_path, server.port, data={"upload": {"enabled": True, "url": "http://127.0.0.1:9"}, "retry_s": 60}
    )
    if state is State.WAITING:
        server.stop()
    with station_terminal(config) as terminal:
        if state is State.WAITING:
            terminal.wait_for("no policy server at")
        elif state is State.SAVING:
            reach(terminal, State.LABELING)
            # The recording may not grow any more: it stays in this state, and tries again and again.
            resource.prlimit(terminal.process.pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
            terminal.type("gr")
            shows(terminal, state)
            terminal.wait_for(wrapped("the data is kept, and it is tried again"))
        else:
            reach(terminal, state)
        terminal.type("\x03")
        terminal.wait_for("emergency exit: the robot holds")
        assert terminal.wait() == 130
        assert termios.tcgetattr(terminal.slave) == terminal.settings_before
    assert len(repair_unfinished(tmp_path / "data")) == (state is State.SAVING)
    facts = [read_station_facts(file) for file in list_station_episodes(tmp_path / "data")]
    assert [(fact.status, fact.verdict) for fact in facts] == kept
    assert calls(tmp_path)[-2:] == ["hold", "close"]


def test_after_a_new_start_n_finishes_the_epoch_that_was_begun(tmp_path: Path, server: OpenpiServer) -> None:
    folder = EpochFolder(tmp_path / "data", "lift_lid", 0)
    record(folder.episode(0))
    with station_terminal(written_config(tmp_path, server.port)) as terminal:
        shows(terminal, State.READY, "Policy ready (Epoch 0)")
        terminal.type("n")
        shows(terminal, State.SYNCING)
        terminal.wait_for(re.escape("[WAITING]"))
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert [episode.name for episode in read_manifest(folder.manifest()).episodes] == ["episode_0.hdf5"]


def test_a_disk_that_is_really_full(tmp_path: Path, server: OpenpiServer) -> None:
    config = written_config(tmp_path, server.port)
    (tmp_path / "data").mkdir()
    # A disk of the client's own, 4 MB in memory; through the process it can be reached from here.
    mount = f"mount -t tmpfs -o size=4m station {tmp_path / 'data'}"
    own = ["unshare", "--mount", "sh", "-c"]
    tried = subprocess.run([*own, mount], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no disk of one's own can be mounted here: {tried.stderr.strip()}")
    terminal = Terminal([*own, f"{mount} && exec {sys.executable} -m robot_client --config {config}"])
    try:
        reach(terminal, State.EXECUTING)
        disk = Path(f"/proc/{terminal.process.pid}/root{tmp_path / 'data'}")
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        terminal.wait_for("robot holds: disk full while writing", within_s=30)
        shows(terminal, State.SAVING)
        assert calls(tmp_path)[-1] == "hold"
        taken = int(terminal.wait_for(r"frames\s+(\d+)")[1])
        ballast.unlink()
        terminal.wait_for("aborted episode saved: episode_0.hdf5")
        shows(terminal, State.DECIDING)
        episode = read_station_episode(disk / "lift_lid" / "epoch_0" / "raw" / "episode_0.hdf5")
        assert episode.facts.status == "aborted"
        assert "disk full while writing" in episode.facts.reason
        assert 10 <= episode.frames <= taken
        # And the next one is like any other.
        terminal.type("y")
        shows(terminal, State.EXECUTING)
        terminal.wait_for(r"frames\s+[1-9]")
        terminal.type("s")
        terminal.wait_for(re.escape("[LABELING]"))
        terminal.type("br")
        terminal.wait_for(r"1 episode \(0 good, 1 bad, 1 aborted\)")
    finally:
        terminal.close()
