"""How whatever goes wrong becomes an answer: one line in plain words, and never what was sent."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import InvitationRefused, LabelConflict, LabelStoreUnavailable, UnknownRecord
from ui_collect.http_messages import ErrorAnswer

logger = logging.getLogger(__name__)

_CODES = {
    401: "forbidden",
    403: "forbidden",
    404: "not_found",
    405: "bad_request",
    409: "conflict",
    422: "refused",
    429: "too_many",
    503: "unavailable",
}


def answer_errors(app: FastAPI) -> None:
    """Have an app answer every error with an :class:`ErrorAnswer`."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(Exception, _defect)


def _answer(status: int, code: str, message: str) -> JSONResponse:
    body = ErrorAnswer.model_validate({"code": code, "message": message})
    return JSONResponse(body.model_dump(), status, headers={"retry-after": "5"} if status in (429, 503) else None)


async def _invalid(_request: Request, _error: Exception) -> Response:
    # What was sent is not repeated, and which of our fields it missed is in the documentation.
    return _answer(400, "bad_request", "The request is not valid.")


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, _CODES.get(error.status_code, "bad_request"), str(error.detail))


async def _user_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, InvitationRefused):
        return _answer(403, "invitation_used_up" if error.reason == "used_up" else "forbidden", _sentence(error.what))
    if isinstance(error, UnknownRecord):
        return _answer(404, "not_found", "There is no such record.")
    if isinstance(error, LabelConflict):
        return _answer(409, "conflict", "Something else was sent under this key before.")
    if isinstance(error, LabelStoreUnavailable):
        logger.error("%s", error)
        return _answer(503, "unavailable", "That could not be stored just now. Please try again.")
    return _answer(400, "bad_request", "The request is not valid.")


async def _defect(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, "server_error", "Something went wrong here. It has been noted.")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
