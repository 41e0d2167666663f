"""A vision-language agent: it sees a picture, reads the task and the game so far, and answers with one line.

The network is transformers' InstructBLIP: a picture encoder, a Q-Former that asks it what the task text needs, a
projection, and a Llama that reads the projected queries before the prompt. Nothing of it is written anew here; this
module runs its parts so that nothing is computed twice or for nobody: pictures once for each distinct pair of picture
and task, logits at the positions of replies alone.

Imported inside functions only: it needs torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json, publish_text, publishing
from hitl_ops.models.text_game_tokenizer import train_text_game_tokenizer
from hitl_ops.models.vision_agent_base import build_agent_base, frozen_sample, part_of
from hitl_ops.models.vision_agent_config import HOW_IT_ANSWERS, PARTS, TINY, AgentPart, VisionAgentConfig
from hitl_ops.models.vision_agent_files import (
    FACTS_FILE,
    REMEDY,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    AgentFacts,
    alike,
    read_agent_facts,
    read_agent_weights,
    read_tokenizer,
)
from hitl_ops.models.vision_agent_rows import EncodedRow, RowScores, chunks_of, completion_scores
from hitl_ops.models.vision_agent_walks import LineWalk, TrieWalk, Walk, run_walks, walk_rng

Pictures = NDArray[np.uint8]
_COMMANDS_REMEMBERED = 16384
_PROMPTS_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class AgentReply:
    """What the agent answered.

    Attributes:
        text: its line, as it wrote it.
        action: the command it gives: one of the admissible where replies are constrained, else the line stripped.
        logprob: natural logarithm of the reply's probability: at each fork among the admissible branches where
            replies are constrained, else over the vocabulary, its end included.
        latency_ms: time of the whole batch, for so long its asker has waited.
    """

    text: str
    action: str
    logprob: float
    latency_ms: float


class VisionAgent:
    """An agent ready to act and to train.

    Args:
        config: what it is.
        tokenizer: of a tiny base; None for others.
        seed: of a tiny base's weights.

    Raises:
        UserError: the base cannot be had, does not fit, or the device is not there.

    Attributes:
        config: what it is and how it answers.
        seed: of its first weights.
        model: transformers' network, always in evaluation mode; for optimizers and checkpoints.
    """

    def __init__(self, config: VisionAgentConfig, tokenizer: Any, seed: int) -> None:
        self.config, self.seed = config, seed
        self._base = build_agent_base(config, tokenizer, seed)
        self.model: Any = self._base.model
        self._decoder = self.model.language_model.model
        self._head = self.model.language_model.lm_head
        self._queries = int(self.model.config.num_query_tokens)
        end = self._base.tokenizer.eos_token_id
        if end is None:
            raise UserError(f"the tokenizer of '{config.base}' has no end of text", "choose another base")
        self._end = int(end)
        # Commands come again turn after turn.
        self._reply_ids = lru_cache(maxsize=_COMMANDS_REMEMBERED)(self._base.reply_ids)
        # Who asks whether prompts fit has them answered next.
        self._prompt_ids = lru_cache(maxsize=_PROMPTS_REMEMBERED)(self._base.prompt_ids)
        extra = range(len(self._base.tokenizer), self._head.out_features)
        self._no_text = sorted({*self._base.tokenizer.all_special_ids, self._base.image_token, *extra} - {self._end})

    @classmethod
    def create(cls, config: VisionAgentConfig, corpus: Iterable[str] = (), seed: int = 0) -> Self:
        """An agent that has not learned yet.

        Args:
            config: what it is.
            corpus: prompts and completions that a tiny base's tokenizer is trained on; unused by others.
            seed: of a tiny base's weights; unused by others.

        Raises:
            UserError: the base cannot be had, does not fit, or the corpus is empty.
        """
        tokenizer = None
        if config.base == TINY:
            tokenizer = train_text_game_tokenizer(
                corpus, vocabulary=config.tiny.vocabulary, max_positions=config.max_tokens
            )
        return cls(config, tokenizer, seed)

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> Self:
        """Open what :meth:`save` wrote.

        Args:
            folder: holds ``agent.json``.
            changes: fields of the configuration that say how it answers, see ``HOW_IT_ANSWERS``.

        Raises:
            UserError: there is no agent, it is damaged, its base is not what it was, or a change is not allowed.
        """
        folder = Path(folder)
        facts = read_agent_facts(folder)
        odd = sorted(changes.keys() - HOW_IT_ANSWERS)
        if odd:
            known = ", ".join(sorted(HOW_IT_ANSWERS))
            raise UserError(f"'{odd[0]}' of an agent cannot be changed when it is loaded", f"these can: {known}")
        config = facts.config.replace(**changes)
        agent = cls(config, read_tokenizer(folder, config) if config.base == TINY else None, facts.seed)
        found = frozen_sample(agent.model, agent._frozen)
        same = found.keys() == facts.frozen.keys() and all(alike(found[part], facts.frozen[part]) for part in found)
        if not same:
            raise UserError(
                f"base '{config.base}' is not the one that agent '{folder}' was trained on", "restore that base"
            )
        agent.set_weights(read_agent_weights(folder))
        if agent.policy_id != facts.policy_id:
            raise UserError(f"the weights of agent '{folder}' are not those of '{facts.policy_id}'", REMEDY)
        return agent

    def save(self, folder: str | Path) -> None:
        """Publish what trains and what else it takes to build the agent again; a frozen part is not copied.

        Raises:
            CannotWrite: the place cannot be written.
        """
        facts = AgentFacts(
            config=self.config,
            seed=self.seed,
            policy_id=self.policy_id,
            frozen=frozen_sample(self.model, self._frozen),
        )
        with publishing(folder) as temporary:
            temporary.mkdir()
            publish_json(temporary / FACTS_FILE, facts)
            save_file(self.weights(), temporary / WEIGHTS_FILE)
            if self.config.base == TINY:
                publish_text(temporary / TOKENIZER_FILE, self._tokenizer_text)

    @property
    def policy_id(self) -> str:
        """Names the agent in every record: ``agent-<10 hex digits>``, derived from its base and what has trained.

        Reads all weights that train: ask once, not at every step.
        """
        digest = hashlib.sha256(f"{self.config.base}|{self.seed}|{self._tokenizer_text}".encode())
        for name, value in sorted(self.trainable_parameters().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).numpy())
        return f"agent-{digest.hexdigest()[:10]}"

    @property
    def device(self) -> str:
        """Kind of device it runs on: ``cpu``, ``cuda``, …"""
        return str(self._device.type)

    def parameters_of(self, part: AgentPart) -> dict[str, torch.nn.Parameter]:
        """The parameters of one part, by name; query tokens belong to the Q-Former."""
        return {name: value for name, value in self.model.named_parameters() if part_of(name) == part}

    def trainable_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that train, by name."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def weights(self) -> dict[str, Tensor]:
        """A copy of what trains, on the CPU."""
        return {name: p.detach().cpu().clone().contiguous() for name, p in self.trainable_parameters().items()}

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set what trains, in place.

        Raises:
            UserError: names or shapes are not the agent's.
        """
        own = self.trainable_parameters()
        odd = sorted(own.keys() ^ weights.keys()) or sorted(n for n, p in own.items() if p.shape != weights[n].shape)
        if odd:
            raise UserError(f"the weights do not fit the agent, e.g. '{odd[0]}'", REMEDY)
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(weights[name])

    def encode(self, prompt: str, completion: str, task: str) -> EncodedRow:
        """Token ids of one row.

        Args:
            prompt: the game so far, ending with ``>``.
            completion: what follows it: one line, with the space before it; its end is added here.
            task: the goal, for the Q-Former.

        Raises:
            UserError: the row is longer than ``max_tokens``, the task than the Q-Former reads, or the completion is
                no single line.
        """
        if not completion.strip() or "\n" in completion:
            raise UserError(f"completion {completion[:60]!r} is not one line", "give one command")
        row = EncodedRow(
            tuple(self._prompt_ids(prompt)),
            (*self._reply_ids(completion), self._end),
            tuple(self._base.task_ids(task)),
        )
        self._check_length(len(row.prompt), len(row.completion))
        return row

    def fits(
        self, prompts: Sequence[str], admissible: Sequence[Sequence[str]], opening: str | None = None
    ) -> list[bool]:
        """Whether each prompt leaves room for every one of its commands, and for what the agent may write itself.

        What fits can be answered, and be learned from afterwards.

        Args:
            prompts: games so far, each ending with ``>``.
            admissible: the commands that can be carried out.
            opening: what a line that it writes before the command begins with, e.g. " think:"; None: it writes none.
        """
        # Read again, a line may be other tokens: each that was no text has become a sign of three bytes.
        line = 3 * self.config.max_reply_tokens + 1
        before = 0 if opening is None else len(self._prompt_ids(f"{opening}\n>")) + line
        own = [line] if self.config.reply == "free" else []
        room = self.config.max_tokens - self._queries - before
        found = []
        for prompt, commands in zip(prompts, admissible, strict=True):
            replies = [*own, *(len(self._reply_ids(f" {command}")) + 1 for command in commands)]
            found.append(len(self._prompt_ids(prompt)) + max(replies) <= room)
        return found

    def image_features(self, tasks: Sequence[Sequence[int]], pictures: Pictures) -> Tensor:
        """What the Q-Former says of pictures: [N, queries, Q-Former's width].

        They can be kept while neither vision nor Q-Former trains.

        Args:
            tasks: token ids, as in ``EncodedRow.task``.
            pictures: [N, S, S, 3] uint8.
        """
        with self._arithmetic():
            features, which = self._base.distinct_features(tasks, pictures, self.config.picture)
        return features[which]

    def logprobs(
        self,
        rows: Sequence[EncodedRow],
        pictures: Pictures | None = None,
        *,
        features: Tensor | None = None,
        with_prompts: bool = False,
    ) -> RowScores:
        """How likely the agent is to complete prompts so; rows that share picture, task and prompt share its cost.

        Args:
            rows: prompts and completions.
            pictures: [N, S, S, 3] uint8; None where ``features`` is given.
            features: of the pictures, from :meth:`image_features`.
            with_prompts: whether prompts are asked about, too.

        Returns:
            Of each row the sum of its completion's token log-probabilities, with gradient unless it is switched off,
            its number of tokens, of which its end is one, and how many of them were the likeliest.

        Raises:
            UserError: the pictures are of another size.
            ValueError: a completion has no tokens.
        """
        if (pictures is None) == (features is None):
            raise ValueError("either pictures or their features")
        with self._arithmetic():
            if pictures is not None:
                tasks = [row.task for row in rows]
                features, which = self._base.distinct_features(tasks, pictures, self.config.picture)
            else:
                which = list(range(len(rows)))
            seen = self.model.language_projection(features)
            place = self.config.picture_place
            return completion_scores(self._decoder, self._head, rows, seen, which, place, with_prompts=with_prompts)

    def choose(
        self,
        prompts: Sequence[str],
        tasks: Sequence[str],
        pictures: Pictures,
        admissible: Sequence[Sequence[str]],
    ) -> list[AgentReply]:
        """Answer N prompts at once; the answers are those to each by itself.

        Args:
            prompts: games so far, each ending with ``>``.
            tasks: their goals.
            pictures: [N, S, S, 3] uint8, what is seen now.
            admissible: the commands that can be carried out; not looked at where replies are free.

        Raises:
            UserError: a prompt or task is too long, or the pictures are of another size.
        """
        if self.config.reply == "free":
            return self.write(prompts, tasks, pictures)
        if not prompts:
            return []
        started = time.perf_counter()
        walks = []
        for prompt, commands in zip(prompts, admissible, strict=True):
            replies = [(*self._reply_ids(f" {command}"), self._end) for command in commands]
            walks.append(TrieWalk(replies, self.config.temperature, walk_rng(self.config.seed, prompt)))
        longest = [walk.height for walk in walks]
        self._run(prompts, tasks, pictures, walks, longest)
        latency = (time.perf_counter() - started) * 1000
        chosen = [commands[walk.chosen] for walk, commands in zip(walks, admissible, strict=True)]
        return [AgentReply(text, text, walk.logprob, latency) for text, walk in zip(chosen, walks, strict=True)]

    def write(
        self, prompts: Sequence[str], tasks: Sequence[str], pictures: Pictures, opening: str = ""
    ) -> list[AgentReply]:
        """Go on freely to the end of a line, whatever ``config.reply`` says.

        Args:
            prompts: games so far, each ending with ``>``.
            tasks: their goals.
            pictures: [N, S, S, 3] uint8.
            opening: what every line begins with, e.g. " think:".

        Raises:
            UserError: a prompt or task is too long, or the pictures are of another size.
        """
        if not prompts:
            return []
        started = time.perf_counter()
        begun = self._base.reply_ids(opening) if opening else []
        walks = [
            LineWalk(
                begun,
                end=self._end,
                breaks=lambda token: "\n" in self._base.reply_text([token]),
                forbidden=self._no_text,
                limit=len(begun) + self.config.max_reply_tokens,
                temperature=self.config.temperature,
                rng=walk_rng(self.config.seed, prompt),
            )
            for prompt in prompts
        ]
        self._run(prompts, tasks, pictures, walks, [len(begun) + self.config.max_reply_tokens] * len(walks))
        latency = (time.perf_counter() - started) * 1000
        lines = [self._base.reply_text(walk.ids).partition("\n")[0] for walk in walks]
        return [AgentReply(text, text.strip(), walk.logprob, latency) for text, walk in zip(lines, walks, strict=True)]

    @torch.no_grad()
    def _run(
        self,
        prompts: Sequence[str],
        tasks: Sequence[str],
        pictures: Pictures,
        walks: Sequence[Walk],
        longest: Sequence[int],
    ) -> None:
        """Take walks to their ends, ``longest`` tokens away at most."""
        ids = [self._prompt_ids(prompt) for prompt in prompts]
        for row, reply in zip(ids, longest, strict=True):
            self._check_length(len(row), reply)
        with self._arithmetic():
            asked = [self._base.task_ids(task) for task in tasks]
            features, which = self._base.distinct_features(asked, pictures, self.config.picture)
            seen = self.model.language_projection(features)
            embed = self._decoder.get_input_embeddings()
            for chunk in chunks_of([len(row) for row in ids]):
                texts = [embed(torch.tensor(ids[at], device=self._device)) for at in chunk]
                shown = [(seen[which[at]].to(text.dtype), text) for at, text in zip(chunk, texts, strict=True)]
                first = self.config.picture_place == "before_prompt"
                before = [torch.cat(pair if first else pair[::-1]) for pair in shown]
                run_walks(self._decoder, self._head, before, [walks[at] for at in chunk])

    def _check_length(self, prompt: int, reply: int) -> None:
        limit, found = self.config.max_tokens, self._queries + prompt + reply
        if found > limit:
            raise UserError(
                f"picture, prompt and reply of {found} tokens are longer than the agent reads ({limit})",
                "train an agent with more max_tokens",
            )

    @property
    def _device(self) -> torch.device:
        device: torch.device = self._head.weight.device
        return device

    @property
    def _frozen(self) -> list[AgentPart]:
        return [part for part in PARTS if part not in self.config.trainable]

    @property
    def _tokenizer_text(self) -> str:
        return str(self._base.tokenizer.backend_tokenizer.to_str()) if self.config.base == TINY else ""

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=getattr(torch, self.config.dtype))
