"""Stations of an epoch without people: the policy server, the upload server, and clients with simulated robots.

All three are the commands a person would type, as processes of their own: every chunk of actions goes through the
policy server's socket, every episode is recorded as HDF5 and sent over HTTP, and it is judged by the simulator's truth.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flywheel.side_processes import START_WITHIN_S, said, start, stop
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.station_epoch import EpochFolder, episode_files
from hitl_ops.labels.tokens import new_token

if TYPE_CHECKING:
    from hitl_assets.station_presets import StationPreset
    from hitl_ops.contracts.store import Store

TOKEN_VARIABLE = "FLYWHEEL_UPLOAD_TOKEN"
_ROBOTS = re.compile(r"robots\s+ws://[^\s:]+:(\d+)")
UPLOADS = re.compile(r"uploads\s+(https?://\S+)")
_LOOK_EVERY_S = 0.5
_POLICY_POLL_S = 0.5


@dataclass(frozen=True)
class StationServers:
    """Where simulated stations turn to.

    Attributes:
        policy_port: port of the policy server.
        upload_url: address of the upload server.
        token: opens it.
        processes: what each server is called → its process and its log.
    """

    policy_port: int
    upload_url: str
    token: str
    processes: Mapping[str, tuple[subprocess.Popen[bytes], Path]] = field(default_factory=dict)

    def check(self) -> None:
        """Make sure that all of them are there.

        Raises:
            UserError: one has ended; the log is named.
        """
        for what, (process, log) in self.processes.items():
            if process.poll() is not None:
                raise UserError(f"{what} has ended (exit code {process.returncode})", f"see '{log}'; then run it again")


def stations_folder(store: Store) -> Path:
    """Where the simulated stations keep what is theirs."""
    return store.root / "station" / "simulated_stations"


@contextlib.contextmanager
def station_servers(store: Store) -> Iterator[StationServers]:
    """A policy server for what serves the station program, and an upload server, for the length of a block.

    Raises:
        UserError: one of them does not start; the log is named.
    """
    folder = stations_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    log, token = folder / "policy_server.log", new_token()
    with contextlib.ExitStack() as stack:
        words = ["serve", "--policy", "serving", "--program", "station", "--port", "0", "--no-visualiser"]
        policy = start(store, [*words, "--set", f"poll_s={_POLICY_POLL_S}"], log)
        stack.callback(stop, policy)
        uploads, upload_log = start_upload_server(store, token)
        stack.callback(stop, uploads)
        yield StationServers(
            policy_port=int(said(policy, log, _ROBOTS, "the policy server")),
            upload_url=said(uploads, upload_log, UPLOADS, "the upload server"),
            token=token,
            processes={"the policy server": (policy, log), "the upload server": (uploads, upload_log)},
        )


def start_upload_server(store: Store, token: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start an upload server that a token of its own opens: the one that people's stations know stays as it is.

    Returns:
        Its process and its log.
    """
    folder = stations_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "upload_server.log"
    words = ["station", "--port", "0", "--token-env", TOKEN_VARIABLE]
    return start(store, words, log, environment={TOKEN_VARIABLE: token}), log


def collect_epoch(
    store: Store, chosen: StationPreset, servers: StationServers, epoch: int, progress: Progress = silent
) -> None:
    """Let a simulated person collect an epoch at every station; what was collected before a kill counts.

    Args:
        store: takes the episodes in.
        chosen: the program's preset: world, task, stations, episodes.
        servers: whom the stations turn to.
        epoch: number of the open iteration.
        progress: told how many episodes are finished.

    Raises:
        UserError: a client failed, a server has ended, or the policy server does not follow; the log is named.
    """
    section = chosen.collection
    names = section.stations or ("",)
    total = section.episodes * len(names)
    arrived = EpochFolder(store.station_incoming, section.task, epoch)
    missing = [name for name in names if not arrived.finished(name)]
    if missing:
        _wait_for_the_policy(store, servers)
    with contextlib.ExitStack() as stack:
        clients = {name: _client(store, chosen, servers, name, names.index(name)) for name in missing}
        for process, _, _ in clients.values():
            stack.callback(stop, process)
        while any(process.poll() is None for process, _, _ in clients.values()):
            servers.check()
            done = sum(
                len(episode_files(EpochFolder(own, section.task, epoch), name)) for name, (_, own, _) in clients.items()
            )
            progress(min(done + section.episodes * (len(names) - len(missing)), total), total, "episodes")
            time.sleep(_LOOK_EVERY_S)
    for name, (process, _, log) in clients.items():
        if process.returncode != 0:
            raise UserError(
                f"{f'station {name!r}' if name else 'the station'} ended with exit code {process.returncode}",
                f"see '{log}'",
            )
        if not arrived.finished(name):
            raise UserError(f"'{arrived.manifest(name)}' has not arrived", f"see '{log}'")
    progress(total, total, "episodes")


def _client(
    store: Store, chosen: StationPreset, servers: StationServers, name: str, number: int
) -> tuple[subprocess.Popen[bytes], Path, Path]:
    """Start a station's client; gives it, where it keeps its recordings, and its log."""
    from hitl_ops.contracts.publish import publish_json

    folder = stations_folder(store) / (name or "station")
    log, own = folder / "client.log", folder / "recordings"
    folder.mkdir(parents=True, exist_ok=True)
    # JSON is YAML: the client reads it like a file written by hand.
    publish_json(folder / "training_config.yaml", client_config(chosen, servers, name, number, own))
    words = ["--config", str(folder / "training_config.yaml"), "--epochs", "1", "--plain"]
    words += ["--simulated-person", str(chosen.collection.episodes)]
    process = start(store, words, log, module="robot_client", environment={TOKEN_VARIABLE: servers.token})
    return process, own, log


def client_config(
    chosen: StationPreset, servers: StationServers, name: str, number: int, recordings: Path
) -> dict[str, Any]:
    """What a simulated station's ``training_config.yaml`` says.

    Args:
        chosen: the program's preset.
        servers: whom the station turns to.
        name: the station's; "" where there is but one.
        number: its place among them; its scenes are others than theirs.
        recordings: where it keeps its recordings.
    """
    from hitl_assets.station_presets import SEEDS_PER_STATION
    from hitl_ops.worlds.robot_worlds import robot_world_config

    world = robot_world_config(chosen.world, chosen.evaluation.world_options).model_dump()
    cameras = [{"name": camera, "height": world["height"], "width": world["width"]} for camera in world["cameras"]]
    options = {
        key: value
        for key, value in chosen.evaluation.world_options.items()
        if key not in ("cameras", "height", "width")
    }
    return {
        "task": {"name": chosen.collection.task, "description": chosen.collection.description},
        "policy": {"config_name": chosen.config_name},
        "training": {
            "max_epochs": max(chosen.loop.iterations, 1) + 1,
            "save_interval": chosen.refinement.training.save_interval,
            "keep_period": max(chosen.refinement.training.keep_period, 1),
        },
        "policy_server": {"host": "127.0.0.1", "port": servers.policy_port, "poll_interval_s": 0.5},
        "data": {
            "save_dir": str(recordings),
            "station": name,
            "upload": {"enabled": True, "url": servers.upload_url, "token_env": TOKEN_VARIABLE},
        },
        "robot": {
            "adapter": chosen.world,
            "options": {"lockstep": True, "world": options},
            "seed": chosen.collection.simulated_seed + SEEDS_PER_STATION * number,
        },
        "cameras": cameras,
        "control": {
            "chunk_steps": chosen.evaluation.chunk_steps,
            "blend_steps": chosen.evaluation.blend_steps,
        },
    }


def _wait_for_the_policy(store: Store, servers: StationServers) -> None:
    """Wait until the policy server has followed to what serves: an epoch is collected with one policy.

    Raises:
        UserError: it does not, or has ended.
    """
    from hitl_ops.serving.policy_alias import resolve

    serving = resolve(store, "station")
    deadline = time.monotonic() + START_WITHIN_S
    while serving is not None:
        servers.check()
        with (
            contextlib.suppress(urllib.error.URLError, OSError, ValueError),
            urllib.request.urlopen(f"http://127.0.0.1:{servers.policy_port}/status", timeout=5) as answer,
        ):
            if json.load(answer).get("policy_id") == serving.policy_id:
                return
        if time.monotonic() > deadline:
            raise UserError(
                f"the policy server does not serve '{serving.policy_id}'",
                f"see '{stations_folder(store) / 'policy_server.log'}'",
            )
        time.sleep(_LOOK_EVERY_S)
