"""The built page, read once at start: no request ever becomes a path, and no play waits for a disk."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from hitl_ops.contracts.errors import UserError

PAGE_FOLDER = Path(__file__).parent / "static"
INDEX_PAGE, ANNOTATE_PAGE = "/index.html", "/annotate.html"
_COMPRESSED = ("text/", "application/javascript", "application/json", "image/svg+xml", "application/manifest+json")
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class PageFile:
    """One file of the page."""

    content: bytes
    compressed: bytes | None
    media_type: str
    tag: str
    caching: str


class PageFiles:
    """All files of the built pages by their path in the URL.

    Args:
        folder: what the pages' build wrote.
        needed: the page that must be among them.
        more: further files, by their path in the URL.

    Raises:
        UserError: the pages are not built.
    """

    def __init__(
        self, folder: Path = PAGE_FOLDER, *, needed: str = INDEX_PAGE, more: Mapping[str, Path] | None = None
    ) -> None:
        if not (folder / needed.removeprefix("/")).is_file():
            use = "play" if needed == INDEX_PAGE else "annotate"
            raise UserError(
                f"the page people {use} on is not built",
                "run `python3 bootstrap.py`, or `npm ci && npm run build` in ui_collect/pages",
            )
        self._files = {
            f"/{file.relative_to(folder).as_posix()}": _read(file, folder)
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        } | {path: _read(file, file.parent) for path, file in (more or {}).items()}

    def answer(self, request: Request, path: str | None = None) -> Response | None:
        """The file at ``path``, by default the request's; None where there is none."""
        file = self._files.get(request.url.path if path is None else path)
        if file is None:
            return None
        headers = {"etag": file.tag, "cache-control": file.caching, "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        body = file.content
        if file.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            body = file.compressed
            headers["content-encoding"] = "gzip"
        return Response(body, media_type=file.media_type, headers=headers)


def _read(file: Path, folder: Path) -> PageFile:
    content = file.read_bytes()
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    compressed = gzip.compress(content, mtime=0) if media_type.startswith(_COMPRESSED) else None
    # The build puts a hash of the content into the names below assets/; the others keep their names and change.
    hashed = file.relative_to(folder).parts[0] == "assets"
    return PageFile(
        content,
        compressed if compressed is not None and len(compressed) < len(content) else None,
        media_type,
        f'"{hashlib.sha256(content).hexdigest()[:24]}"',
        _FOR_EVER if hashed else "no-cache",
    )
