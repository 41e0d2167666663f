"""Episodes by rsync over SSH: sent, compared by checksum on the server, and only then the manifest."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from hitl_ops.contracts.station_epoch import EpochFolder, EpochManifest, publish_manifest
from robot_client.foreign_text import shown
from robot_client.station_config import RsyncSection
from robot_client.sync.sending import Say, SyncFailed, SyncStopped

_LOOK_S = 0.1


class Rsync:
    """Sends episodes with the ``rsync`` of the machine; SSH keys and hosts are SSH's own business.

    Args:
        settings: where to.
    """

    def __init__(self, settings: RsyncSection) -> None:
        self._settings = settings

    def send(self, folder: EpochFolder, manifest: EpochManifest, say: Say, stopped: Callable[[], bool]) -> None:
        """See :class:`~robot_client.sync.sending.Sync`."""
        inside = folder.raw.relative_to(folder.base)
        names = [str(inside / episode.name) for episode in manifest.episodes]
        count = len(names)
        say(f"sending {count} episodes to {self._settings.target}")
        # Only whole files appear under their names, never over another one; a transfer that was cut goes on where it
        # stopped.
        self._run(["--times", "--ignore-existing", "--partial-dir=.rsync-partial"], folder.base, names, stopped)
        say("the server compares checksums")
        differing = self._run(["--dry-run", "--checksum", "--out-format=%n"], folder.base, names, stopped).split("\n")
        wrong = [line for line in differing if line.endswith(".hdf5")]
        if wrong:
            raise SyncFailed(
                f"{len(wrong)} of {count} episodes are there with other content ({shown(wrong[0])})",
                "give each station a name of its own (data.station); if that one is damaged, remove it on the server",
            )
        with tempfile.TemporaryDirectory() as scratch:
            there = EpochFolder(Path(scratch), folder.task, folder.epoch)
            file = publish_manifest(there, manifest)
            self._run(["--times"], Path(scratch), [str(file.relative_to(scratch))], stopped)
        say(f"{count} episodes verified on the server")

    def _run(self, options: list[str], source: Path, names: list[str], stopped: Callable[[], bool]) -> str:
        """Run rsync on files below ``source``; returns what it printed.

        Raises:
            SyncFailed: it is not installed, it failed, or the sync was stopped.
        """
        program = shutil.which("rsync")
        if program is None:
            raise SyncFailed("rsync is not installed", "install it, or use data.upload")
        settings = self._settings
        words = [
            program,
            f"--timeout={settings.timeout_s}",
            "--rsh=ssh -o BatchMode=yes",
            "--files-from=-",
            *options,
            "--",
            f"{source}/",
            f"{settings.target.rstrip('/')}/",
        ]
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as listed:
            listed.write("\n".join(names) + "\n")
            listed.seek(0)
            process = subprocess.Popen(words, stdin=listed, stdout=output, stderr=subprocess.STDOUT, text=True)
            while True:
                try:
                    code = process.wait(_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    if stopped():
                        process.terminate()
                        process.wait()
                        raise SyncStopped("the sync was stopped", "the next start goes on where it stopped") from None
            output.seek(0)
            said = output.read()
        if code != 0:
            lines = [line.strip() for line in said.splitlines() if line.strip()]
            raise SyncFailed(f"rsync failed ({shown(lines[0]) if lines else f'exit code {code}'})", "check data.rsync")
        return said
