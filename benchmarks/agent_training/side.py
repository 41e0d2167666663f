"""One side's steps of DPO in a process of its own: ``python -m benchmarks.agent_training.side (ours|reference) JSON``.

Prints what they came to, as JSON, on its last line.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.models.vision_agent_config import AgentPart, TinyAgentShape, VisionAgentConfig

Side = Literal["ours", "reference"]
SIDES: tuple[Side, ...] = get_args(Side)


class RunSettings(StrictConfig):
    """What a run does."""

    steps: int = Field(default=3, ge=2, description="gradient steps of a run; the first is left out of the time")
    pairs: int = Field(default=4, ge=1, description="pairs of a step, all in one batch")
    turns: int = Field(default=14, ge=1, description="turns of the game that a prompt tells")
    language_hidden: int = Field(default=512, ge=16, description="width of the language model")
    language_layers: int = Field(default=8, ge=1, description="its layers")
    vision_hidden: int = Field(default=256, ge=16, description="width of picture encoder and Q-Former")
    vision_layers: int = Field(default=6, ge=2, description="layers of each")
    trainable: tuple[AgentPart, ...] = Field(
        default=("projection",), description="parts that train; in the paper the projection alone"
    )
    threads: int = Field(default=1, ge=1, description="of the arithmetic")

    @property
    def agent(self) -> VisionAgentConfig:
        """The agent, from random weights."""
        return VisionAgentConfig(
            picture=96,
            trainable=self.trainable,
            device="cpu",
            tiny=TinyAgentShape(
                vision_hidden=self.vision_hidden,
                vision_layers=self.vision_layers,
                query_tokens=32,
                qformer_hidden=self.vision_hidden,
                qformer_layers=self.vision_layers,
                language_hidden=self.language_hidden,
                language_layers=self.language_layers,
                language_heads=8,
                language_intermediate=self.language_hidden * 11 // 4,
            ),
        )


class Run(BaseModel):
    """What a run came to.

    Attributes:
        step_s: median processor time of a step but the first.
        wall_s: median time of a step but the first, by the clock.
        reference_s: processor time to find the references of a step's pairs; 0 for the side with two models.
        model_mib: most memory resident, less what the process held before it built the model.
        process_mib: most memory resident.
        losses: of every step.
        parameters: of one model.
        prompt_tokens: mean of a pair's prompt with its picture.
    """

    step_s: float
    wall_s: float
    reference_s: float
    model_mib: float
    process_mib: float
    losses: list[float]
    parameters: int
    prompt_tokens: float


def run(side: Side, settings: RunSettings) -> Run:
    """Do a run in this process.

    Raises:
        UserError: the machine does not count a process's memory.
    """
    import torch

    from benchmarks.agent_training.two_models import TwoModels
    from hitl_ops.models.vision_agent import VisionAgent
    from hitl_ops.training.agent_config import AgentTrainConfig
    from hitl_ops.training.agent_rows import DPORow
    from hitl_ops.training.agent_training import AgentTrainer

    torch.set_num_threads(settings.threads)
    warm_up()
    rows = [
        DPORow(pair_id=str(number), picture=picture, prompt=prompt, task=task, winner=winner, loser=loser)
        for number, (picture, prompt, task, winner, loser) in enumerate(
            _games(settings.steps * settings.pairs, settings.turns, settings.agent.picture)
        )
    ]
    corpus = [row.prompt + answer for row in rows for answer in row.answers]
    config = AgentTrainConfig(phase="dpo", batch_size=settings.pairs, accumulation=1, learning_rate=1e-3, warmup=0)
    gc.collect()
    held = _resident_mib("VmRSS")
    _forget_peak()
    agent = VisionAgent.create(settings.agent, corpus)
    losses: list[float] = []
    took: list[tuple[float, float]] = []
    asking = 0.0
    with tempfile.TemporaryDirectory() as folder:
        if side == "ours":
            trainer = AgentTrainer(agent, config, Path(folder))
            began = time.process_time()
            known = trainer.with_references(rows)
            asking = (time.process_time() - began) / settings.steps

            def one(number: int) -> float:
                batch = known[number * settings.pairs :][: settings.pairs]
                return trainer.steps(lambda step, count, seed: batch, 1)[0].loss
        else:
            models = TwoModels(agent, config)

            def one(number: int) -> float:
                return models.step(rows[number * settings.pairs :][: settings.pairs])

        for number in range(settings.steps):
            began, ran = time.perf_counter(), time.process_time()
            losses.append(one(number))
            took.append((time.process_time() - ran, time.perf_counter() - began))
        peak = _resident_mib("VmHWM")
        if side == "ours":
            trainer.close()
    encoded = [agent.encode(row.prompt, row.winner, row.task) for row in rows]
    return Run(
        step_s=statistics.median(ran for ran, _ in took[1:]),
        wall_s=statistics.median(wall for _, wall in took[1:]),
        reference_s=asking,
        model_mib=peak - held,
        process_mib=peak,
        losses=losses,
        parameters=sum(parameter.numel() for parameter in agent.model.parameters()),
        prompt_tokens=settings.agent.tiny.query_tokens + statistics.fmean(len(row.prompt) for row in encoded),
    )


Game = tuple[np.ndarray, str, str, str, str]


def _games(count: int, turns: int, size: int) -> list[Game]:
    """Made-up games: picture, prompt, task, the better answer and the worse one."""
    draw, noise = random.Random(0), np.random.default_rng(0)
    places = ("countertop", "desk", "cabinet", "drawer", "fridge", "shelf", "sinkbasin", "microwave", "garbagecan")
    things = ("mug", "apple", "plate", "spoon", "book", "laptop", "pillow", "candle", "soapbar")

    def place() -> str:
        return f"{draw.choice(places)} {draw.randint(1, 9)}"

    games: list[Game] = []
    for _ in range(count):
        thing, target = draw.choice(things), place()
        task = f"put a clean {thing} in {target}."
        seen = ", ".join(f"a {place()}" for _ in range(12))
        text = f"You are in the middle of a room. Looking quickly around you, you see {seen}.\nYour task is to: {task}"
        for _ in range(turns + draw.randint(-2, 2)):
            at = place()
            found = ", ".join(f"a {draw.choice(things)} {draw.randint(1, 4)}" for _ in range(2))
            text += f"\n> go to {at}\nYou arrive at {at}. On the {at}, you see {found}."
        picture = noise.integers(0, 256, (size, size, 3), dtype=np.uint8)
        games.append((picture, f"{text}\n>", task, f" take {thing} 1 from {place()}", f" go to {place()}"))
    return games


def warm_up() -> None:
    """Import what a run needs and set up the arithmetic, so that neither counts as a model's memory."""
    from hitl_ops.models.vision_agent import VisionAgent
    from hitl_ops.models.vision_agent_config import TINY_CI_AGENT

    (picture, prompt, task, winner, _) = _games(1, 2, TINY_CI_AGENT.picture)[0]
    agent = VisionAgent.create(TINY_CI_AGENT, [prompt, winner])
    agent.logprobs([agent.encode(prompt, winner, task)], picture[None]).sums.sum().backward()


def _resident_mib(which: Literal["VmRSS", "VmHWM"]) -> float:
    """Resident memory now or at the most.

    Raises:
        UserError: the machine does not tell.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise UserError(f"resident memory cannot be read ({error})", "measure on Linux") from None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))


def _forget_peak() -> None:
    """Set the most memory resident back to what is resident now; see proc(5), ``clear_refs``."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        raise UserError(f"the peak of resident memory cannot be set back ({error})", "measure on Linux") from None


if __name__ == "__main__":
    chosen: Side = "ours" if sys.argv[1] == "ours" else "reference"
    print(run(chosen, RunSettings.model_validate_json(sys.argv[2])).model_dump_json())
