"""What an agent found of answers as a phase began, asked while it learns, without a second model in memory.

What does not train is the same at all times; the little that trains lies in a file as it was at the start. For the
moment of asking it takes the place of what has become of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing
from hitl_ops.contracts.station_epoch import sha256_of
from hitl_ops.training.agent_rows import AgentRow, DPORow
from hitl_ops.training.checkpoint import trained_tensors

if TYPE_CHECKING:
    from hitl_ops.models.vision_agent import VisionAgent
    from hitl_ops.models.vision_agent_rows import EncodedRow

_ELSEWHERE = "train into another folder, or begin with the agent that the phase was begun with"


class StartWeights:
    """What trains, as a phase began, in a file.

    Args:
        file: where; written where it is missing.
        model: the model as the phase begins.

    Raises:
        UserError: the file is damaged, or of other weights than the model's.
        CannotWrite: it cannot be written.
    """

    def __init__(self, file: Path, model: torch.nn.Module) -> None:
        self._file = file
        tensors = trained_tensors(model)
        if not file.is_file():
            with publishing(file) as temporary:
                save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary)
        for name, kept in self._kept(tensors):
            if not torch.equal(kept, tensors[name].detach().cpu()):
                raise UserError(f"'{file}' is of another agent: '{name}' differs", _ELSEWHERE)
        self.digest = sha256_of(file)

    @contextmanager
    def swapped_in(self, model: torch.nn.Module) -> Iterator[None]:
        """Within it the model is as the phase began; afterwards as before, to the bit.

        Raises:
            UserError: the file is gone or damaged.
        """
        tensors = trained_tensors(model)
        current = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        try:
            with torch.no_grad():
                for name, kept in self._kept(tensors):
                    tensors[name].copy_(kept)
            yield
        finally:
            with torch.no_grad():
                for name, tensor in tensors.items():
                    tensor.copy_(current[name])

    def _kept(self, tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        """What the file holds, one by one."""
        try:
            with safe_open(self._file, framework="pt") as kept:
                if set(kept.keys()) != tensors.keys():
                    raise UserError(
                        f"'{self._file}' is of an agent that trains other parts", "train into another folder"
                    )
                for name in tensors:
                    yield name, kept.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise UserError(f"'{self._file}' is damaged or gone ({error})", _ELSEWHERE) from None


class References:
    """What the agent found of the answers of pairs as the phase began; of each pair once.

    Args:
        start: the weights of then.
        file: what is known already, see :meth:`write`; None: nothing.

    Raises:
        UserError: the file is damaged or gone.
    """

    def __init__(self, start: StartWeights, file: Path | None = None) -> None:
        self._start = start
        self._known: dict[str, tuple[float, float]] = {}
        if file is not None:
            try:
                self._known = TypeAdapter(dict[str, tuple[float, float]]).validate_json(file.read_bytes())
            except (OSError, ValidationError):
                remedy = "remove its folder to fall back on the checkpoint before it"
                raise UserError(f"'{file}' is damaged or gone", remedy) from None

    def of(self, agent: VisionAgent, rows: Sequence[DPORow]) -> list[DPORow]:
        """The rows with their references, computed where a pair without them is met for the first time."""
        blank = [row for row in rows if row.reference_winner is None or row.reference_loser is None]
        new = {row.pair_id: row for row in blank if row.pair_id not in self._known}
        if new:
            with self._start.swapped_in(agent.model):
                self._known.update(zip(new, reference_logprobs(agent, list(new.values())), strict=True))
        filled = {id(row): self._known[row.pair_id] for row in blank}
        return [
            replace(row, reference_winner=filled[id(row)][0], reference_loser=filled[id(row)][1])
            if id(row) in filled
            else row
            for row in rows
        ]

    def write(self, file: Path) -> None:
        """Write down what is known; JSON gives numbers back to the bit."""
        file.write_text(json.dumps(self._known), encoding="utf-8")


def encode_answers(agent: VisionAgent, row: AgentRow) -> list[EncodedRow]:
    """Token ids of a row's answers, the better one first.

    Raises:
        UserError: the row is too long for the agent, or an answer is no single line.
    """
    return [agent.encode(row.prompt, answer, row.task) for answer in row.answers]


def answer_logprobs(
    agent: VisionAgent, rows: Sequence[AgentRow], encoded: Sequence[Sequence[EncodedRow]]
) -> torch.Tensor:
    """Log-probabilities of the rows' answers one after the other, nats; with gradient unless it is switched off.

    Args:
        agent: as it is now.
        rows: pairs, and answers to imitate.
        encoded: their answers' token ids, from :func:`encode_answers`.
    """
    pictures = np.stack([row.picture for row, answers in zip(rows, encoded, strict=True) for _ in answers])
    return agent.logprobs([answer for answers in encoded for answer in answers], pictures).sums


def reference_logprobs(agent: VisionAgent, rows: Sequence[DPORow]) -> list[tuple[float, float]]:
    """What the agent, as it is now, finds of the better and of the worse answer of each row, nats.

    A row goes through the model by itself, so that what comes out depends on nothing but the row and the weights.
    """
    found = []
    with torch.no_grad():
        for row in rows:
            winner, loser = answer_logprobs(agent, [row], [encode_answers(agent, row)]).tolist()
            found.append((winner, loser))
    return found
