"""Who plays the partner: a policy in the inference process, the oracle, or nobody. None keeps a tick waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from hitl_ops.serving.decision_messages import DecisionMade

if TYPE_CHECKING:
    from hitl_ops.contracts.planner import Observation
    from hitl_ops.rollouts.live_session import LiveSession
    from hitl_ops.serving.decision_client import DecisionClient
    from ui_collect.simulation.messages import PartnerKind

_ASK_AGAIN_S = 1.0
_ASK_AGAIN_LASTING_S = 10.0
ORACLE_THINKS_S = 0.3
"""The oracle knows at once; people would see a partner that never hesitates."""


@dataclass(frozen=True, slots=True)
class PartnerReply:
    """What a partner has chosen."""

    action: str
    reply: str
    policy_id: str
    asked_tick: int
    latency_ms: float = 0.0
    stats: dict[str, float] = field(default_factory=dict)


class Partner(Protocol):
    """Asked when its agent has nothing to do; its reply is fetched at a later tick."""

    away: bool
    """Whether nobody decides at the moment."""

    def ask(self, observation: Observation, asked_tick: int) -> None:
        """Begin to choose."""

    def reply(self) -> PartnerReply | None:
        """What has been chosen, once."""

    def close(self) -> None:
        """The play is over."""


class Nobody:
    """A partner that stands still."""

    away = True

    def ask(self, observation: Observation, asked_tick: int) -> None:
        """Take no notice."""

    def reply(self) -> PartnerReply | None:
        """Nothing."""
        return None

    def close(self) -> None:
        """Nothing to do."""


class OraclePartner:
    """The scripted partner, which knows the task.

    Args:
        session: the play.
        thinks_s: seconds until its choice becomes known.
        clock: seconds that never go back.
    """

    away = False

    def __init__(
        self,
        session: LiveSession,
        thinks_s: float = ORACLE_THINKS_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from hitl_ops.experts.oracle import Oracle

        self._oracle = Oracle("partial")
        self._oracle.start(session.episode, session.world)
        self._thinks_s = thinks_s
        self._clock = clock
        self._ready_at = 0.0
        self._reply: PartnerReply | None = None

    def ask(self, observation: Observation, asked_tick: int) -> None:
        """Choose now, and keep it for a moment."""
        chosen = self._oracle.decide(observation)
        self._ready_at = self._clock() + self._thinks_s
        self._reply = PartnerReply(
            chosen.action, chosen.text, self._oracle.policy_id, asked_tick, chosen.latency_ms + self._thinks_s * 1000
        )

    def reply(self) -> PartnerReply | None:
        """What was chosen, once the moment has passed."""
        if self._reply is None or self._clock() < self._ready_at:
            return None
        reply, self._reply = self._reply, None
        return reply

    def close(self) -> None:
        """Nothing to do."""


class PolicyPartner:
    """A policy in the inference process; while that cannot be reached, it is asked again every second.

    Args:
        switchboard: passes on what is asked and answered.
        session: the play.
        play_id: names the play there.
        style: the prompts' dialect.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        switchboard: Switchboard,
        session: LiveSession,
        play_id: str,
        style: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._switchboard = switchboard
        self._session = session
        self._play_id = play_id
        self._style = style
        self._clock = clock
        self._asked_tick = -1
        self._replies: deque[PartnerReply] = deque()
        self._ask_again_at: float | None = None
        self.away = False

    def ask(self, observation: Observation, asked_tick: int) -> None:
        """Pass the question on."""
        self._asked_tick = asked_tick
        self._ask_again_at = None
        try:
            self._switchboard.ask(self, self._play_id, observation, self._style)
        except ValidationError as error:
            self.refused(lasting=True, reason=str(error.errors()[0]["msg"]))

    def answered(self, answer: DecisionMade, asked_tick: int) -> None:
        """The policy has chosen; if a person was faster meanwhile, the play knows what to make of it."""
        self.away = False
        self._replies.append(
            PartnerReply(answer.action, answer.reply, answer.policy_id, asked_tick, answer.latency_ms, answer.stats)
        )

    def refused(self, *, lasting: bool, reason: str) -> None:
        """It cannot, now."""
        self.away = True
        self._ask_again_at = self._clock() + (_ASK_AGAIN_LASTING_S if lasting else _ASK_AGAIN_S)
        self._switchboard.last_refusal = reason

    @property
    def asked_tick(self) -> int:
        """The step of the observation asked about last."""
        return self._asked_tick

    def reply(self) -> PartnerReply | None:
        """What the policy has chosen, once; a question that was refused is asked again in time."""
        if self._ask_again_at is not None and self._clock() >= self._ask_again_at:
            self._ask_again_at = None
            self._session.ask_again()
        return self._replies.popleft() if self._replies else None

    def close(self) -> None:
        """What is kept of its prompts is of no more use."""
        self._switchboard.forget(self._play_id)


class Switchboard:
    """Knows which answer of the inference process belongs to whom.

    Args:
        client: the connection to it.
    """

    def __init__(self, client: DecisionClient) -> None:
        self._client = client
        self._asking: dict[int, tuple[PolicyPartner, int]] = {}
        self.last_refusal = ""

    @property
    def waiting(self) -> int:
        """Questions not answered yet."""
        return len(self._asking)

    def ask(self, partner: PolicyPartner, play_id: str, observation: Observation, style: str) -> None:
        """Pass a question on.

        Raises:
            ValidationError: it is out of bounds.
        """
        number = self._client.ask(play_id, observation.agent, observation.prompt, observation.admissible, style)
        self._asking[number] = (partner, partner.asked_tick)

    def forget(self, play_id: str) -> None:
        """A play is over."""
        self._client.forget(play_id)

    def receive(self) -> None:
        """Hand out the answers that have come in."""
        for answer in self._client.receive():
            partner, asked_tick = self._asking.pop(answer.id, (None, -1))
            if partner is None:
                continue
            if isinstance(answer, DecisionMade):
                self.last_refusal = ""
                partner.answered(answer, asked_tick)
            elif asked_tick == partner.asked_tick:
                partner.refused(lasting=answer.lasting, reason=answer.reason)


def partner_of(
    kind: PartnerKind, session: LiveSession, switchboard: Switchboard, *, play_id: str, style: str
) -> Partner:
    """The partner of a play."""
    if kind == "oracle":
        return OraclePartner(session)
    if kind == "policy":
        return PolicyPartner(switchboard, session, play_id, style)
    return Nobody()
