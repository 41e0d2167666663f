"""Coming in by an invitation, over HTTP as the page does."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx

from hitl_ops.contracts.errors import UserError

_TRY_FOR_S = 60.0


def split_link(link: str) -> tuple[str, str]:
    """Server and invitation token of an invitation link, ``http://host:port/join#token``.

    Raises:
        UserError: it is none.
    """
    parts = urlsplit(link)
    if parts.scheme not in ("http", "https") or not parts.netloc or not parts.fragment:
        raise UserError(f"'{link}' is no invitation link", "it looks like http://127.0.0.1:8080/join#…; quote it")
    return f"{parts.scheme}://{parts.netloc}", parts.fragment


async def join(client: httpx.AsyncClient, url: str, invitation: str) -> str:
    """Use an invitation once; a server that asks to come again later is asked again.

    Args:
        client: an HTTP client.
        url: the server's.
        invitation: the link's token.

    Returns:
        The session's token.

    Raises:
        UserError: the server is not there, or lets nobody in by this invitation.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _TRY_FOR_S
    while True:
        try:
            answer = await client.post(f"{url}/api/join", json={"invitation": invitation})
        except httpx.HTTPError as error:
            raise UserError(f"server '{url}' does not answer ({error})", "start it with `flywheel collect`") from None
        if answer.status_code == 200:
            return str(answer.json()["token"])
        if answer.status_code not in (429, 503) or loop.time() > until:
            raise UserError(
                f"server '{url}' lets nobody in by this invitation (status {answer.status_code})",
                "make another: flywheel collect --invite 100",
            )
        await asyncio.sleep(0.5)
