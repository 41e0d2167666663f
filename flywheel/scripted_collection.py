"""People's part of an iteration without people: a collection server, and a scripted crowd that plays at it.

Both are the commands a person would type, as processes of their own: nothing is played that did not go through the
server, its sockets and its records.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flywheel.side_processes import said, start, stop
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent

if TYPE_CHECKING:
    from hitl_assets.presets import ScriptedCrowd
    from hitl_ops.contracts.store import Store

_LOOK_EVERY_S = 1.0
_JOIN = re.compile(r"(https?://\S+/join#\S+)")


def collect_by_script(
    store: Store, iteration: int, target: int, config: ScriptedCrowd, progress: Progress = silent
) -> None:
    """Let a scripted crowd play an iteration's episodes until ``target`` plays have finished.

    What has finished already counts: after a kill only the rest is played.

    Args:
        store: holds the episodes and the policy that serves, and takes the records.
        iteration: the iteration that is collected for.
        target: finished plays, the tutorial aside.
        config: the crowd.
        progress: told how many plays have finished.

    Raises:
        UserError: the server does not start, or the crowd ended before the target; the log is named.
    """
    from hitl_ops.labels.label_store import LabelStore

    folder = store.iteration("planner", iteration).base
    folder.mkdir(parents=True, exist_ok=True)
    server_log, people_log = folder / "collect.log", folder / "people.log"
    with contextlib.closing(LabelStore.open(store.labels_url)) as labels:

        def finished() -> int:
            return labels.finished_play_counts("planner").get(iteration, 0)

        done = finished()
        # A person makes as many tries as are left to each; where some end before the target, others come.
        while done < target:
            people = min(config.people, target - done)
            tries = -(-(target - done) // people)
            # After a kill the rest is played by other people than those who have played already.
            seed = config.seed + 1000 * iteration + done
            with (
                _server(store, iteration, people, tries, config, server_log) as link,
                _crowd(store, link, people, tries, seed, config, people_log) as crowd,
            ):
                _watch(crowd, people_log, finished, target, progress)
            before, done = done, finished()
            if done == before:
                raise UserError("the scripted crowd finished no play", f"see '{people_log}'")
    progress(done, max(done, target), "plays")


@contextlib.contextmanager
def _server(store: Store, iteration: int, people: int, tries: int, config: ScriptedCrowd, log: Path) -> Iterator[str]:
    """A collection server on a free port of this machine; gives the link that lets ``people`` in."""
    words = ["collect", "--port", "0", "--iteration", str(iteration), "--invite", str(people), "--without-page"]
    # People of a crowd that was killed do not come back: their places are not kept for long, nor waited for.
    words += ["--capacity", str(2 * people), "--set", "reconnect_within_s=30"]
    words += ["--set", f"tasks_per_session={tries}", "--set", "policy_poll_s=2"]
    words += ["--set", f"human_agent={config.agent}"]
    # All of them come from one address at once.
    words += ["--set", f"join_burst={4 * people + 20}", "--set", f"max_sockets={2 * people + 20}"]
    process = start(store, words, log)
    try:
        yield said(process, log, _JOIN, "the collection server")
    finally:
        stop(process)


@contextlib.contextmanager
def _crowd(
    store: Store, link: str, people: int, tries: int, seed: int, config: ScriptedCrowd, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Scripted people who come in by the link; whoever is still there at the end leaves."""
    words = ["people", link, "--people", str(people), "--episodes", str(tries), "--seed", str(seed)]
    words += ["--speed", str(config.speed), "--skill", str(config.skill)]
    words += ["--set", f"person.overrides={config.overrides}", "--set", f"person.patience_s={config.patience_s}"]
    words += ["--set", "person.tutorial=false"]
    process = start(store, words, log)
    try:
        yield process
    finally:
        stop(process)


def _watch(
    crowd: subprocess.Popen[bytes], log: Path, finished: Callable[[], int], target: int, progress: Progress
) -> None:
    """Wait until the target is reached or the crowd has ended.

    The last ones are not waited for; a play that nobody comes back to is closed as broken off.

    Raises:
        UserError: the crowd failed.
    """
    while crowd.poll() is None:
        done = finished()
        progress(min(done, target), target, "plays")
        if done >= target:
            return
        time.sleep(_LOOK_EVERY_S)
    if crowd.returncode != 0:
        raise UserError(f"the scripted crowd ended with exit code {crowd.returncode}", f"see '{log}'")
