"""How heavy verbs are started: as processes of their own, so that they can be cancelled and give their memory back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from hitl_ops.contracts.errors import UserError

if TYPE_CHECKING:
    from dagster_pipes import PipesParams

    from hitl_ops.contracts.progress import Progress

_LOOK_EVERY_S = 0.1


class LauncherResource(dg.ConfigurableResource, ABC):
    """Starts ``flywheel <verb> …`` somewhere, listens to it and waits for it.

    Ray, Slurm and Kubernetes have Pipes clients of the same form: a launcher for one of them needs only
    :meth:`launch`.
    """

    @abstractmethod
    def launch(
        self,
        context: dg.AssetExecutionContext,
        arguments: Sequence[str],
        *,
        log: Path,
        progress: Progress,
        processes: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run a verb to its end.

        Args:
            context: the step that starts it.
            arguments: what follows ``flywheel`` on the command line.
            log: file that takes everything the process prints.
            progress: told how far the process says it is.
            processes: how many processes work on it together, joined by torchrun.
            environment: variables added to this process's own.

        Returns:
            The summary the process reported, as plain data.

        Raises:
            UserError: the process met a user's mistake; the same line it printed.
            dagster.Failure: it died of something else; the message names the log.
        """


class LocalLauncher(LauncherResource):
    """Starts verbs on this machine, several processes through torchrun.

    Built on Dagster's Pipes session rather than on its subprocess client, because that one leaves what the process
    prints in the parent's output, and a child that outlives its patience running.
    """

    patience_s: float = Field(
        default=20.0, ge=0, description="seconds a cancelled process gets to write its checkpoint, before it is killed"
    )

    def command(self, arguments: Sequence[str], processes: int) -> list[str]:
        """The words that start a verb here, in one process or, through torchrun, in several."""
        if processes > 1:
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            return [*torchrun, "-m", "flywheel", *arguments]
        return [sys.executable, "-m", "flywheel", *arguments]

    def launch(
        self,
        context: dg.AssetExecutionContext,
        arguments: Sequence[str],
        *,
        log: Path,
        progress: Progress,
        processes: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run a verb to its end on this machine; see :meth:`LauncherResource.launch`."""
        command = self.command(arguments, processes)
        context.log.info(f"starting: {' '.join(command)}\nwhat it prints: {log}")
        log.parent.mkdir(parents=True, exist_ok=True)
        reader = _ListeningReader(progress)
        with (
            log.open("ab") as printed,
            dg.open_pipes_session(
                context=context, context_injector=dg.PipesTempFileContextInjector(), message_reader=reader
            ) as session,
        ):
            process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {}), **session.get_bootstrap_env_vars()},
                # Never written to: it closes when this process dies, and the verb then ends itself.
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                # A group of its own: a Ctrl+C in the terminal reaches it through us, once, and whatever it starts
                # can be ended with it.
                start_new_session=True,
            )
            try:
                code = process.wait()
            finally:
                _end(process, self.patience_s)
        if reader.mistake is not None:
            raise reader.mistake
        if code != 0:
            raise dg.Failure(
                description=f"`flywheel {arguments[0]}` ended with exit code {code}: its last words are in '{log}'",
                metadata={"log": dg.MetadataValue.path(str(log)), "last words": _last_words(log)},
                allow_retries=False,
            )
        if reader.summary is None:
            raise dg.Failure(
                description=f"`flywheel {arguments[0]}` ended without a summary: see '{log}'",
                metadata={"log": dg.MetadataValue.path(str(log))},
                allow_retries=False,
            )
        return reader.summary


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """End the process and whatever it started: SIGINT and patience first, then SIGKILL to the group."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience_s)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: Path, lines: int = 20) -> dg.MetadataValue:
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return dg.MetadataValue.md("```\n" + "\n".join(text) + "\n```")


class _ListeningReader(dg.PipesMessageReader):
    """Reads Pipes messages and acts on ours at once; Dagster itself looks at custom messages only at the end.

    A reader of its own, because Dagster's takes a line for whole that is still being written: the kernel shows a line
    that crosses a page of the file in two parts.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.summary: dict[str, Any] | None = None
        self.mistake: UserError | None = None

    @contextlib.contextmanager
    def read_messages(self, handler: Any) -> Iterator[PipesParams]:
        """Follow a file for the length of a block; yields where messages are to be written."""
        from dagster_pipes import PipesDefaultMessageWriter

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "messages"
            file.touch()
            over = threading.Event()
            thread = threading.Thread(target=self._follow, args=(file, handler, over), daemon=True)
            thread.start()
            try:
                yield {
                    PipesDefaultMessageWriter.FILE_PATH_KEY: str(file),
                    PipesDefaultMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: False,
                }
            finally:
                over.set()
                thread.join()

    def no_messages_debug_text(self) -> str:
        """What Dagster says where no message came."""
        return "Attempted to read messages from a local temporary file."

    def _follow(self, file: Path, handler: Any, over: threading.Event) -> None:
        try:
            for message in whole_lines(file, over):
                self._take(json.loads(message), handler)
        except BaseException:
            handler.report_pipes_framework_exception("the launcher's reader of messages", sys.exc_info())
            raise

    def _take(self, message: Any, handler: Any) -> None:
        if message.get("method") != "report_custom_message":
            handler.handle_message(message)
            return
        payload = message["params"]["payload"]
        if not isinstance(payload, dict):
            return
        if "progress" in payload:
            self._progress(**payload["progress"])
        elif "summary" in payload:
            self.summary = payload["summary"]
        elif "mistake" in payload:
            self.mistake = UserError(**payload["mistake"])


def whole_lines(file: Path, over: threading.Event) -> Iterator[bytes]:
    """The lines of a file that grows, each when all of it is there; ends after what was written before ``over``."""
    rest = b""
    with file.open("rb") as stream:
        while True:
            last = over.is_set()  # looked at before reading, so that nothing written before is missed
            *lines, rest = (rest + stream.read()).split(b"\n")
            yield from filter(None, lines)
            if last:
                return
            if not lines:
                over.wait(_LOOK_EVERY_S)
