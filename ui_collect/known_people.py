"""Who asks: people come in by an invitation once, and are known by a token from then on.

The token is a cookie, because a browser plays a video without any other header; programs may send the same token as
``Authorization: Bearer``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Annotator
from ui_collect.access_log import address_of
from ui_collect.annotate.messages import BEARER, Name
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.label_calls import LabelCalls
from ui_collect.limits import AddressLimit
from ui_collect.protocol import Message
from ui_collect.text_input import Token
from ui_collect.web_settings import WebSettings

COOKIE_S = 30 * 24 * 3600
_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST = 5.0, 50


class JoinRequest(Message):
    """Body of ``POST join``."""

    token: Token = Field(description="from the fragment of the invitation link")
    name: Name = Field(description="what others are to call one")


class JoinAnswer(Message):
    """Answer of ``POST join``; the same token is set as a cookie."""

    token: str
    id: str
    name: str


class KnownPeople:
    """Lets people in to one program's page, and knows them again.

    Args:
        calls: the label store's calls.
        labels: the label store.
        program: whose page it is.
    """

    def __init__(self, calls: LabelCalls, labels: LabelStore, program: str) -> None:
        self._calls, self._labels, self._program = calls, labels, program

    async def join(self, token: str, name: str) -> JoinAnswer:
        """Let somebody in by an invitation.

        Raises:
            InvitationRefused: it lets nobody in.
            HTTPException: 403 it is for another program's page.
        """
        admitted = await self._calls.run(self._labels.admit_annotator, token, name)
        if admitted.annotator.program != self._program:
            raise HTTPException(403, "This invitation is for another page.")
        return JoinAnswer(token=admitted.token, id=admitted.annotator.id, name=admitted.annotator.display_name)

    async def person(self, token: str) -> Annotator | None:
        """Whom a token belongs to."""
        found = await self._calls.run(self._labels.annotator_by_token, token)
        return found if found is not None and found.program == self._program else None


def join_route(router: APIRouter, people: KnownPeople, settings: WebSettings, cookie: str) -> None:
    """Add ``POST join``, which sets the cookie.

    Args:
        router: with the page's prefix.
        people: who may come in.
        settings: the server's.
        cookie: its name.
    """
    joins = AddressLimit(settings.joins_per_s, settings.join_burst)

    @router.post("/join")
    async def join(request: Request, response: Response, body: JoinRequest) -> JoinAnswer:
        if not joins.take(address_of(request.scope)):
            raise HTTPException(429, "Too many people joined from this address just now. Wait a moment.")
        answer = await people.join(body.token, body.name)
        response.set_cookie(
            cookie,
            answer.token,
            max_age=COOKIE_S,
            path=router.prefix,
            secure=settings.certificate is not None,
            httponly=True,
            samesite="strict",
        )
        return answer


def who_asks(
    people: KnownPeople, settings: AnnotationSettings, cookie: str
) -> Callable[[Request], Awaitable[Annotator]]:
    """Tells who asks, and refuses whoever is unknown or asks too often."""
    strangers = AddressLimit(_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST)
    requests = AddressLimit(settings.requests_per_s, settings.request_burst)

    async def person(request: Request) -> Annotator:
        given = BEARER.fullmatch(request.headers.get("authorization", ""))
        token = given[1] if given is not None else request.cookies.get(cookie, "")
        found = await people.person(token) if token else None
        if found is None:
            if not strangers.take(address_of(request.scope)):
                raise HTTPException(429, "Too many attempts. Wait a moment.")
            raise HTTPException(401, "Your link is not known here any more. Ask for a new one.")
        if not requests.take(found.id):
            raise HTTPException(429, "Too many requests just now. Wait a moment.")
        return found

    return person
