"""Episodes by HTTP: in pieces that are safe once answered, so that a cut connection costs one piece.

``GET  /upload/<task>/<epoch>/<episode>?sha256=…&bytes=…`` answers ``{"have": n, "complete": bool}``;
``PUT`` of a piece to the same address with ``&offset=n`` answers alike; ``POST /upload/<task>/<epoch>/finished`` with
the manifest has the server check every file against it. The server's half is ``ui_collect/station/routes.py``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hitl_ops.contracts.station_epoch import CollectedEpisode, EpochFolder, EpochManifest
from robot_client.foreign_text import shown
from robot_client.station_config import UploadSection
from robot_client.sync.sending import Say, SyncFailed, SyncStopped

_TRIES = 5
_AGAIN_S = 1.0
_ANSWER_BYTES = 2**16


class _Unreachable(SyncFailed):
    """The server is away for the moment."""


class HttpUpload:
    """Sends episodes to a server's upload address.

    Args:
        settings: where it is.
        again_s: seconds between tries, growing with each.
    """

    def __init__(self, settings: UploadSection, *, again_s: float = _AGAIN_S) -> None:
        self._settings = settings
        self._again_s = again_s
        self._parts = urlsplit(settings.url)
        self._connection: http.client.HTTPConnection | None = None

    def send(self, folder: EpochFolder, manifest: EpochManifest, say: Say, stopped: Callable[[], bool]) -> None:
        """See :class:`~robot_client.sync.sending.Sync`."""
        base = f"/upload/{quote(manifest.task)}/{manifest.epoch}"
        try:
            for number, episode in enumerate(manifest.episodes, start=1):
                note = f"{episode.name} ({number} of {len(manifest.episodes)})"
                self._send_episode(folder, episode, f"{base}/{quote(episode.name)}", note, say, stopped)
            say("the server verifies")
            self._asked("POST", f"{base}/finished", manifest.model_dump_json().encode(), say, stopped)
            say(f"{len(manifest.episodes)} episodes verified on the server")
        finally:
            self._drop()

    def _send_episode(
        self,
        folder: EpochFolder,
        episode: CollectedEpisode,
        address: str,
        note: str,
        say: Say,
        stopped: Callable[[], bool],
    ) -> None:
        about = {"sha256": episode.sha256, "bytes": episode.bytes}
        state = self._asked("GET", f"{address}?{urlencode(about)}", None, say, stopped)
        piece = int(self._settings.chunk_mb * 2**20)
        with (folder.raw / episode.name).open("rb") as file:
            while not state["complete"]:
                have = state["have"]
                say(f"{note}: {have / episode.bytes:.0%}")
                file.seek(have)
                content = file.read(piece)
                if not content and have < episode.bytes:
                    raise SyncFailed(f"'{folder.raw / episode.name}' has become shorter", "let nothing write to it")
                place = f"{address}?{urlencode({**about, 'offset': have})}"
                state = self._asked("PUT", place, content, say, stopped)

    def _asked(
        self, method: str, address: str, body: bytes | None, say: Say, stopped: Callable[[], bool]
    ) -> dict[str, Any]:
        """Ask the server, patiently.

        Raises:
            SyncFailed: it refuses, or stays away.
        """
        for attempt in range(_TRIES):
            if stopped():
                raise SyncStopped("the sync was stopped", "the next start goes on where it stopped")
            try:
                return self._once(method, address, body)
            except _Unreachable as error:
                self._drop()
                if attempt == _TRIES - 1:
                    raise
                say(f"{error.what}; trying again")
                until = time.monotonic() + self._again_s * (attempt + 1)
                while time.monotonic() < until and not stopped():
                    time.sleep(min(0.1, self._again_s))
        raise AssertionError("unreachable")

    def _once(self, method: str, address: str, body: bytes | None) -> dict[str, Any]:
        url = self._settings.url
        try:
            if self._connection is None:
                self._connection = self._connect()
            headers = {"Authorization": f"Bearer {self._settings.token}"}
            if body is not None:
                headers["Content-Type"] = "application/octet-stream" if method == "PUT" else "application/json"
            self._connection.request(method, f"{self._parts.path.rstrip('/')}{address}", body, headers)
            response = self._connection.getresponse()
            content = response.read(_ANSWER_BYTES)
        except ssl.SSLCertVerificationError as error:
            raise SyncFailed(f"the certificate of {url} is not trusted", error.verify_message) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise _Unreachable(f"upload server {url} cannot be reached ({reason})", "check the network") from None
        if response.will_close:
            self._drop()
        answer: dict[str, Any] = {}
        with contextlib.suppress(ValueError):
            said = json.loads(content)
            answer = said if isinstance(said, dict) else {}
        if response.status in (429, 502, 503, 504):
            raise _Unreachable(f"upload server {url} is busy (HTTP {response.status})", "it is tried again")
        if response.status == 409 and isinstance(answer.get("have"), int):
            return answer  # somebody sent a piece twice: go on where the server is
        if response.status != 200:
            said = shown(answer.get("message") or f"HTTP {response.status}")
            raise SyncFailed(f"the upload server refuses: {said}", "see the server's settings")
        if method != "POST" and not (isinstance(answer.get("have"), int) and isinstance(answer.get("complete"), bool)):
            raise SyncFailed(f"{url} is no upload server", "check data.upload.url")
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        host, port, limit = self._parts.hostname or "", self._parts.port, self._settings.timeout_s
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=limit, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=limit)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
