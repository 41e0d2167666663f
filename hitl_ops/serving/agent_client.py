"""Asks an agent that another process on this machine serves; see :mod:`hitl_ops.serving.agent_server`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.agent_server import CONTENT_TYPE
from hitl_ops.serving.openpi_codec import CodecError, pack, unpack
from hitl_ops.serving.policy_server_config import is_local


class ServedAnswer(BaseModel):
    """An answer that came from elsewhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    action: str
    logprob: float
    latency_ms: float


_ANSWERS = TypeAdapter(list[ServedAnswer])
_FITS = TypeAdapter(list[bool])
_AnswerT = TypeVar("_AnswerT", ServedAnswer, bool)


class AgentClient:
    """An agent in another process; implements ``rollouts.game_agent.GameAgent``.

    Args:
        url: where it is served; this machine only.
        token: the server's.
        patience_s: seconds after which an answer is no longer waited for; a large model takes long over many games.

    Raises:
        UserError: the address is not this machine's.
    """

    def __init__(self, url: str, token: str, *, patience_s: float = 600.0) -> None:
        if not is_local(urlsplit(url).hostname or ""):
            raise UserError(f"agent server '{url}' is not on this machine", "agents are served to this machine only")
        self._url = url
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}", "Content-Type": CONTENT_TYPE},
            timeout=httpx.Timeout(patience_s, connect=10.0),
            trust_env=False,  # no proxy stands between two processes of one machine
        )

    @property
    def policy_id(self) -> str:
        """Who answers now; asked for each time, because the agent learns.

        Raises:
            UserError: the server is gone.
        """
        return str(self._request("GET", "/status").get("policy_id", ""))

    def fits(
        self, prompts: Sequence[str], admissible: Sequence[Sequence[str]], opening: str | None = None
    ) -> list[bool]:
        """See ``GameAgent.fits``.

        Raises:
            UserError: the server is gone.
        """
        question = {
            "prompts": list(prompts),
            "admissible": [list(commands) for commands in admissible],
            "opening": opening,
        }
        return self._list("/fits", question, _FITS, "fits")

    def choose(
        self,
        prompts: Sequence[str],
        tasks: Sequence[str],
        pictures: NDArray[np.uint8],
        admissible: Sequence[Sequence[str]],
    ) -> list[ServedAnswer]:
        """See ``GameAgent.choose``.

        Raises:
            UserError: the server is gone, or its agent cannot answer.
        """
        question = {"admissible": [list(commands) for commands in admissible]}
        return self._answers("/choose", prompts, tasks, pictures, question)

    def write(
        self, prompts: Sequence[str], tasks: Sequence[str], pictures: NDArray[np.uint8], opening: str = ""
    ) -> list[ServedAnswer]:
        """See ``GameAgent.write``.

        Raises:
            UserError: the server is gone, or its agent cannot answer.
        """
        return self._answers("/write", prompts, tasks, pictures, {"opening": opening})

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(
        self,
        path: str,
        prompts: Sequence[str],
        tasks: Sequence[str],
        pictures: NDArray[np.uint8],
        more: dict[str, Any],
    ) -> list[ServedAnswer]:
        question = {"prompts": list(prompts), "tasks": list(tasks), "pictures": pictures, **more}
        return self._list(path, question, _ANSWERS, "answers")

    def _list(
        self, path: str, question: dict[str, Any], kind: TypeAdapter[list[_AnswerT]], name: str
    ) -> list[_AnswerT]:
        """An answer for every prompt of a question."""
        try:
            answers = kind.validate_python(self._request("POST", path, pack(question)).get(name))
        except ValidationError:
            raise UserError(f"agent server '{self._url}' sends no answers", "serve it with this version") from None
        if len(answers) != len(question["prompts"]):
            raise UserError(f"agent server '{self._url}' left a question open", "serve it with this version")
        return answers

    def _request(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, content=body)
            message = unpack(response.content)
        except (httpx.HTTPError, CodecError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"agent server '{self._url}' does not answer ({reason})", "start it anew; finished games are kept"
            ) from None
        if not isinstance(message, dict):
            raise UserError(f"agent server '{self._url}' sends no answers", "serve it with this version")
        if response.status_code != httpx.codes.OK:
            raise UserError(str(message.get("error", response.status_code)), str(message.get("remedy", "")))
        return message
