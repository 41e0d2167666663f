"""What those who need decisions and the process that makes them say to each other; one map per message, by ``kind``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

REQUEST_BYTES = 2 * 2**20
"""Largest message the decision server reads."""
Session = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ActionText = Annotated[str, StringConstraints(min_length=1, max_length=400)]
RequestId = Annotated[int, Field(ge=0, lt=2**63)]


class _Message(BaseModel):
    # A log-probability may be -inf.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class DecisionRequest(_Message):
    """Choose one of ``admissible``."""

    kind: Literal["decide"] = "decide"
    id: RequestId = Field(description="names the request in its answer; any number, unique within a connection")
    session: Session = Field(description="whose prompt this is: what is kept of the last one saves most of the work")
    agent: int = Field(ge=0, le=1)
    style: Literal["incremental", "snapshot"] = Field(default="incremental", description="the prompt's dialect")
    prompt: str = Field(min_length=1, max_length=500_000)
    admissible: list[ActionText] = Field(min_length=1, max_length=10_000)


class ForgetRequest(_Message):
    """A session is over; what is kept of it is of no more use. Not answered."""

    kind: Literal["forget"] = "forget"
    session: Session


class StatusRequest(_Message):
    """Asks for a :class:`ServerStatus`."""

    kind: Literal["status"] = "status"


ServerRequest = Annotated[DecisionRequest | ForgetRequest | StatusRequest, Field(discriminator="kind")]
SERVER_REQUESTS: TypeAdapter[ServerRequest] = TypeAdapter(ServerRequest)


class DecisionMade(_Message):
    """The answer to a :class:`DecisionRequest`."""

    kind: Literal["made"] = "made"
    id: RequestId
    action: str
    reply: str = Field(description="the policy's raw reply")
    policy_id: str
    latency_ms: float = Field(description="from the request's arrival to its answer")
    stats: dict[str, float]


class DecisionRefused(_Message):
    """No decision can be made of a request, now or at all."""

    kind: Literal["refused"] = "refused"
    id: RequestId
    reason: str
    lasting: bool = Field(description="the same request will be refused again, so long as the policy is the same")


class ServerStatus(_Message):
    """How the decision server does."""

    kind: Literal["status"] = "status"
    policy_id: str = Field(description="the policy that decides; empty while there is none")
    prompt_style: str = Field(description="the dialect it reads; empty while there is none")
    source: str = Field(description="where policies come from, in words")
    error: str = Field(description="why there is no policy, or no newer one; empty if all is well")
    swaps: int = Field(description="policies taken over since the start")
    decisions: int = Field(description="decisions made since the start")
    refusals: int
    waiting: int = Field(description="requests not answered yet")
    largest_batch: int
    latency_ms_p50: float = Field(description="over the last thousand decisions, waiting included")
    latency_ms_p99: float
    memory_mb: float


ServerAnswer = Annotated[DecisionMade | DecisionRefused | ServerStatus, Field(discriminator="kind")]
SERVER_ANSWERS: TypeAdapter[ServerAnswer] = TypeAdapter(ServerAnswer)
