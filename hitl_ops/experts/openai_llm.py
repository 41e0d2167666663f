"""A large language model as teacher, behind any OpenAI-compatible endpoint, asked the ReAct way.

Decentralised, each agent has a conversation of its own and knows what it has seen itself; centralised, one
conversation plans for both. Conversations only grow at their end, so that endpoints can reuse what they have read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import HistoryEntry, Observation, Reply
from hitl_ops.experts.llm_client import LLMClient, LLMClientConfig, Message, estimate_tokens
from hitl_ops.experts.llm_ledger import LLMUsage
from hitl_ops.experts.react_prompt import (
    example_turns,
    joint_objects,
    joint_refusal,
    joint_system_prompt,
    joint_world_text,
    objects_line,
    objects_text,
    refusal,
    result_turn,
    system_prompt,
    task_turn,
)
from hitl_ops.experts.react_reply import END_OF_REPLY, parse_joint_reply, parse_reply, tidy_turn

FALLBACK = "Wait[]"
"""Done when a model names nothing admissible in all its tries; PARTNR lets such an agent stand still as well."""

T = TypeVar("T")


class OpenAIExpertConfig(StrictConfig):
    """An LLM teacher."""

    client: LLMClientConfig = Field(description="the endpoint, and how it is treated")
    mode: Literal["decentralised", "centralised"] = Field(
        default="decentralised",
        description="a conversation for each agent, or one planner for both; students are taught one agent's view, "
        "so the former is the default",
    )
    temperatures: tuple[float, ...] = Field(
        default=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        min_length=1,
        max_length=6,
        description="temperature of each try at one decision, while replies are empty or inadmissible: the first is "
        "greedy, because a teacher should be its best self; a model stuck on a bad call is freed by the later ones",
    )
    explain_refusals: bool = Field(
        default=True,
        description="show the model its inadmissible reply and why it was not accepted before the next try; what was "
        "said so is forgotten after the decision",
    )
    context_tokens: int = Field(
        default=48_000,
        gt=0,
        description="estimated tokens a conversation may have; beyond that the older half of its turns is dropped. "
        "The estimate errs high, so this suits models with 32k",
    )


@dataclass
class _Conversation:
    """One conversation of one episode.

    Attributes:
        messages: system prompt, example, task, then replies and results in turn; ends with the last reply.
        head: how many messages stand before the first reply.
        seen: per agent, how many entries of its history are already in the conversation.
        pending: per agent, the action it was given last.
        world_texts: per agent, its last world text.
        abilities: per agent, its tools.
    """

    messages: list[Message] = field(default_factory=list)
    head: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    pending: dict[int, str] = field(default_factory=dict)
    world_texts: dict[int, str] = field(default_factory=dict)
    abilities: dict[int, list[str]] = field(default_factory=dict)


@dataclass
class _Outcome[T]:
    """What came of asking: the reading of the reply (None when given up), the last raw text, and figures."""

    chosen: T | None
    text: str
    latency_ms: float
    stats: dict[str, float]


class OpenAIExpert:
    """Chooses for each agent in a conversation of its own.

    Args:
        config: the teacher.
        client: the endpoint; experts may share one.
    """

    plans_jointly = False

    def __init__(self, config: OpenAIExpertConfig, client: LLMClient) -> None:
        self.config = config
        self.client = client
        self._conversations: dict[int, _Conversation] = {}

    @property
    def policy_id(self) -> str:
        """``openai:<model>:react-<mode>``."""
        return f"openai:{self.config.client.model}:react-{self.config.mode}"

    def start(self, episode: Episode, world: Any) -> None:
        """Begin an episode with empty conversations; the world is not looked into."""
        self._conversations.clear()

    def usage(self) -> LLMUsage:
        """What the rollout has asked and paid for so far."""
        return self.client.usage()

    def decide(self, observation: Observation) -> Reply:
        """Ask for the agent's next action.

        Returns:
            The reply with its raw text. ``stats``: tries, temperature of the last one, cached answers among them,
            prompt_tokens, completion_tokens, and gave_up = 1 where no try named an admissible action, the raw text
            then being the last one and the action ``Wait[]``.

        Raises:
            BudgetExhausted: the budget does not suffice for another request.
            UserError: the endpoint fails for good, or the agent cannot even wait.
        """
        agent = observation.agent
        conversation = self._conversations.get(agent)
        if conversation is None or len(observation.history) < conversation.seen[agent]:
            conversation = self._conversations[agent] = self._opened(observation)
        else:
            _continue(conversation, observation)
        _shorten(conversation, self.config.context_tokens)
        outcome = self._ask(conversation.messages, lambda text: parse_reply(text, observation.admissible), refusal)
        action = outcome.chosen or _fallback(observation, outcome.text)
        conversation.messages.append({"role": "assistant", "content": tidy_turn(outcome.text, action)})
        conversation.pending[agent] = action
        return Reply(
            text=outcome.text,
            action=action,
            latency_ms=outcome.latency_ms,
            stats={**outcome.stats, "gave_up": float(outcome.chosen is None)},
        )

    def _opened(self, observation: Observation) -> _Conversation:
        """A conversation that starts now, with what already happened told as turns."""
        agent = observation.agent
        conversation = _Conversation(seen={agent: 0})
        conversation.messages = [
            {"role": "system", "content": system_prompt(agent, _abilities(observation))},
            *example_turns(),
            {"role": "user", "content": task_turn(observation.instruction, observation.world_text)},
        ]
        conversation.head = len(conversation.messages)
        if observation.history:
            _continue(conversation, observation)
        return conversation

    def _ask(
        self,
        messages: list[Message],
        read: Callable[[str], T | None],
        refuse: Callable[[str], str],
    ) -> _Outcome[T]:
        """Ask until a reply can be read, with rising temperature."""
        stats = {"tries": 0.0, "temperature": 0.0, "cached": 0.0, "prompt_tokens": 0.0, "completion_tokens": 0.0}
        latency_ms, text = 0.0, ""
        aside: list[Message] = []
        for attempt, temperature in enumerate(self.config.temperatures):
            answer = self.client.complete(
                [*messages, *aside], temperature=temperature, stop=[END_OF_REPLY], attempt=attempt
            )
            text = answer.text
            latency_ms += answer.latency_ms
            stats["tries"] += 1
            stats["temperature"] = temperature
            stats["cached"] += answer.cached
            stats["prompt_tokens"] += answer.prompt_tokens
            stats["completion_tokens"] += answer.completion_tokens
            chosen = read(text)
            if chosen is not None:
                return _Outcome(chosen, text, latency_ms, stats)
            if self.config.explain_refusals and text.strip():
                aside = [
                    {"role": "assistant", "content": text.strip()},
                    {"role": "user", "content": refuse(text)},
                ]
        return _Outcome(None, text, latency_ms, stats)


class CentralisedOpenAIExpert(OpenAIExpert):
    """Chooses for both agents in one conversation."""

    plans_jointly = True

    def decide(self, observation: Observation) -> Reply:
        """Ask for one agent's next action, the other being busy; see :meth:`decide_joint`."""
        return self.decide_joint({observation.agent: observation})[observation.agent]

    def decide_joint(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        """Ask for the next action of every agent that is free.

        Args:
            observations: per free agent, what it observes.

        Returns:
            A reply for each of them, with the same raw text; latency is that of the one question, tokens and tries
            are shared out among the replies. Agents without an admissible action wait, with gave_up = 1.

        Raises:
            BudgetExhausted: the budget does not suffice for another request.
            UserError: the endpoint fails for good, or an agent cannot even wait.
        """
        conversation = self._joint_conversation(observations)
        _shorten(conversation, self.config.context_tokens)
        admissible = {agent: observation.admissible for agent, observation in observations.items()}
        best: dict[int, str] = {}

        def read(text: str) -> dict[int, str] | None:
            actions = parse_joint_reply(text, admissible)
            if len(admissible) == 1 and not actions:
                # Only one agent is free, so a call without a label can be meant for no other.
                agent = next(iter(admissible))
                action = parse_reply(text, admissible[agent])
                actions = {agent: action} if action else {}
            if len(actions) >= len(best):
                best.clear()
                best.update(actions)
            return actions if len(actions) == len(admissible) else None

        outcome = self._ask(conversation.messages, read, lambda text: joint_refusal(_missing(text, admissible)))
        actions = outcome.chosen or best
        replies: dict[int, Reply] = {}
        for agent, observation in sorted(observations.items()):
            action = actions.get(agent) or _fallback(observation, outcome.text)
            conversation.pending[agent] = action
            stats = {name: value / len(observations) for name, value in outcome.stats.items()}
            stats["temperature"] = outcome.stats["temperature"]
            stats["gave_up"] = float(agent not in actions)
            replies[agent] = Reply(text=outcome.text, action=action, latency_ms=outcome.latency_ms, stats=stats)
        lines = "\n".join(f"Agent_{agent}_Action: {reply.action}" for agent, reply in replies.items())
        conversation.messages.append({"role": "assistant", "content": tidy_turn(outcome.text, lines)})
        return replies

    def _joint_conversation(self, observations: Mapping[int, Observation]) -> _Conversation:
        conversation = self._conversations.get(0)
        if conversation is None or any(
            len(observation.history) < conversation.seen.get(agent, 0) for agent, observation in observations.items()
        ):
            conversation = self._conversations[0] = _Conversation()
        opening = not conversation.messages
        results = []
        for agent, observation in sorted(observations.items()):
            own = [entry for entry in observation.history[conversation.seen.get(agent, 0) :] if entry.agent == agent]
            conversation.seen[agent] = len(observation.history)
            conversation.world_texts[agent] = observation.world_text
            conversation.abilities[agent] = _abilities(observation)
            results += [f"Agent_{agent}_Result: {entry.action} {entry.response}" for entry in own]
        busy = [
            f"Agent_{agent} has finished; give no line for it."
            if action.startswith("Done[")
            else f"Agent_{agent} is still busy with {action}; give no line for it."
            for agent, action in sorted(conversation.pending.items())
            if agent not in observations
        ]
        system: Message = {"role": "system", "content": joint_system_prompt(conversation.abilities)}
        if opening:
            instruction = next(iter(observations.values())).instruction
            turn = "\n".join([task_turn(instruction, joint_world_text(conversation.world_texts)), *results, *busy])
            conversation.messages = [system, *example_turns(joint=True), {"role": "user", "content": turn}]
            conversation.head = len(conversation.messages)
            return conversation
        conversation.messages[0] = system  # an agent that was busy at the start brings its tools along later
        turn = "\n".join([*results, *busy, objects_line(joint_objects(conversation.world_texts))])
        conversation.messages.append({"role": "user", "content": turn})
        return conversation


def make_openai_expert(config: OpenAIExpertConfig, folder: Path, cache_folder: Path | None = None) -> OpenAIExpert:
    """The expert a configuration asks for, with a client of its own.

    Args:
        config: the teacher.
        folder: where the rollout keeps its account; processes and reruns that name the same one share budget and
            concurrency.
        cache_folder: where answers are kept; by default under ``folder``.

    Raises:
        UserError: the key is missing, or a money budget has no prices.
    """
    client = LLMClient(config.client, folder, cache_folder)
    kind = CentralisedOpenAIExpert if config.mode == "centralised" else OpenAIExpert
    return kind(config, client)


def _continue(conversation: _Conversation, observation: Observation) -> None:
    """Add what happened since the agent's last decision."""
    agent, messages = observation.agent, conversation.messages
    news = observation.history[conversation.seen[agent] :]
    given = conversation.pending.pop(agent, None)
    own = [position for position, entry in enumerate(news) if entry.agent == agent]
    if given is not None and (not own or news[own[0]].action != given):
        # What was given last was never done: somebody else acted in its place, or asks once more.
        messages.pop()
        given = None
    if not own:
        return  # what the partner did meanwhile is told with the agent's own next result
    partner: list[str] = []
    for position, entry in enumerate(news):
        if entry.agent != agent:
            partner.append(_noticed(entry))
            continue
        if given is None:
            messages.append({"role": "assistant", "content": tidy_turn("", entry.action)})
        given = None
        last = position == own[-1]
        if last:
            partner += [_noticed(later) for later in news[position + 1 :]]
        objects = objects_text(observation.world_text if last else "", entry.news)
        messages.append({"role": "user", "content": result_turn(entry.response, objects, partner)})
        partner = []
        if last:
            break
    conversation.seen[agent] = len(observation.history)


def _noticed(entry: HistoryEntry) -> str:
    return f"Other_Agent_Action: {entry.action} {entry.response}"


def _shorten(conversation: _Conversation, limit: int) -> None:
    """Drop the older half of the turns while the conversation is too long; its head and the last turn stay."""
    messages, head = conversation.messages, conversation.head
    while estimate_tokens(messages) > limit and len(messages) > head + 2:
        turns = (len(messages) - head) // 2
        del messages[head : head + 2 * max(1, turns // 2)]


def _abilities(observation: Observation) -> list[str]:
    """The agent's tools; where nobody says, those that can be used now."""
    return observation.abilities or list(dict.fromkeys(action.partition("[")[0] for action in observation.admissible))


def _missing(text: str, admissible: Mapping[int, list[str]]) -> set[int]:
    return set(admissible) - set(parse_joint_reply(text, admissible))


def _fallback(observation: Observation, text: str) -> str:
    if FALLBACK not in observation.admissible:
        raise UserError(
            f"the model named no admissible action for agent {observation.agent} (last reply: {text[:80]!r})",
            f"{FALLBACK} is not among the agent's actions either; give it that tool, or use another model",
        )
    return FALLBACK
