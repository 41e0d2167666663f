"""Tokens a second of our fine-tuning loop beside TRL's SFTTrainer: same model, same batches, same machine.

Both train every weight of the same small Llama on the same samples in the same batches in the same order, in single
precision, with the loss on completions only, AdamW (fused), a constant learning rate and gradients clipped at 1. Runs
alternate. Counted are the tokens of the samples as they are, prompt and completion, for both; the first and the last
step of a run are left out (warming up, saving). TRL pads a batch to its longest sample, as it does by default: its
padding-free mode needs an attention library that CPUs lack, and its packing makes other batches.

Two data sets: decisions of whole episodes, whose prompts are prefixes of one another, and one decision an episode,
where nothing is shared and only padding and overhead differ.

Run ``python -m benchmarks.sft`` for the rows as JSON.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hitl_ops.models.base_models import TinyConfig, load_base
from hitl_ops.training.batches import build_units, plan_steps
from hitl_ops.training.prefix_tree import EncodedSample
from hitl_ops.training.sample_reader import corpus_of, encode_rows, read_sample_rows
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig
from hitl_ops.training.train_log import read_log

ROUNDS = 5
STEPS = 6
DECISIONS = 12
BATCH = 2 * DECISIONS
SHAPE = TinyConfig(hidden_size=192, layers=4, heads=4, kv_heads=4, intermediate_size=512, vocab_size=800)
LEARNING_RATE = 1e-3
TARGET_RATIO = 1.5
SAME_CURVE = 1e-3
"""Largest difference of a step's loss, in nats, that still counts as the same curve."""

_ROOMS = ("kitchen", "bedroom", "bathroom", "living_room", "office", "hallway", "garage", "laundry_room")
_FURNITURE = ("counter", "table", "shelves", "cabinet", "chest_of_drawers", "couch", "bed", "stand", "fridge", "sink")
_OBJECTS = ("mug", "book", "toy_truck", "vase", "plate", "lamp", "candle", "spoon", "laptop", "cushion")


def household_rows(episodes: int, decisions: int, seed: int) -> list[dict[str, Any]]:
    """Samples shaped like those of household episodes.

    Args:
        episodes: how many, all with as many decisions.
        decisions: samples of each; with 1 every episode contributes one from anywhere within it.
        seed: another seed makes other episodes.
    """
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for episode in range(episodes):
        rooms = [f"{room}_1" for room in draw.sample(_ROOMS, 6)]
        pieces = [f"{draw.choice(_FURNITURE)}_{number}" for number in range(1, 31)]
        things = [f"{thing}_{number}" for number, thing in enumerate(draw.sample(_OBJECTS, 5), 1)]
        text = (
            "You are Agent_1, a robot. You work with a partner, Agent_0.\n"
            f"Task: Bring the {things[0]} and the {things[1]} to the {pieces[0]} in the {rooms[0]}, then tidy up.\n"
            "Current Environment:\nFurniture:\n"
        )
        for number, room in enumerate(rooms):
            text += f"{room}: floor_{room}, {', '.join(pieces[number * 5 : number * 5 + 5])}\n"
        text += (
            f"The following furnitures have a faucet: {pieces[3]}\nObjects:\nNo objects found yet\nPrevious actions:\n"
        )
        chosen = range(decisions) if decisions > 1 else [draw.randrange(DECISIONS)]
        for step in range(max(chosen) + 1):
            action = draw.choice(
                (
                    f"Explore[{draw.choice(rooms)}]",
                    f"Navigate[{draw.choice(pieces)}]",
                    f"Pick[{draw.choice(things)}]",
                    f"Place[{draw.choice(things)}, on, {draw.choice(pieces)}, None, None]",
                )
            )
            prompt, completion = f"{text}Next Agent_Action:<act>", f"{action}<end_act>"
            if step in chosen:
                rows.append(
                    {
                        "sample_id": f"{episode:04d}/{step}/distilled",
                        "episode_id": f"{episode:04d}",
                        "agent": 1,
                        "step": step,
                        "prompt": prompt,
                        "completion": completion,
                        "weight": 1.0,
                    }
                )
            text = f"{prompt}{completion}\nAction Result: Successful execution!\nObjects: "
            text += f"{draw.choice(things)}: {draw.choice(pieces)} in {draw.choice(rooms)}\n"
            if draw.random() < 0.3:
                text += f"Other_Agent_Action: Pick[{draw.choice(things)}] Successful execution!\n"
    return rows


@dataclass(frozen=True)
class Material:
    """What both loops train on.

    Attributes:
        samples: the samples file.
        base: folder of the untrained model.
        batches: for each step the encoded samples of its batch, in our loop's order.
    """

    samples: Path
    base: Path
    batches: list[list[EncodedSample]]

    @property
    def tokens(self) -> int:
        """Tokens of the samples of all steps but the first and the last."""
        return sum(len(sample.tokens) for batch in self.batches[1:-1] for sample in batch)


@dataclass(frozen=True)
class Run:
    """One training: seconds of the counted steps, and the loss of every step."""

    seconds: float
    losses: list[float]


def our_config(base: Path) -> TrainConfig:
    """Our side of the comparison; everything not named is the loop's default."""
    return TrainConfig(
        base=str(base),
        method="full",
        max_steps=STEPS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        schedule="constant",
        validation_fraction=0,
        checkpoint_every=STEPS,
    )


def prepare(folder: Path, *, decisions: int) -> Material:
    """Write samples and an untrained model, and look up in which order our loop will take the samples."""
    episodes = BATCH * STEPS // decisions
    samples = folder / "samples.parquet"
    folder.mkdir(parents=True)
    pd.DataFrame(household_rows(episodes, decisions, seed=decisions)).to_parquet(samples)
    rows = read_sample_rows(samples)
    base = load_base("tiny", cache=folder, corpus=corpus_of(rows), tiny=SHAPE)
    base.model.save_pretrained(folder / "base")
    base.tokenizer.save_pretrained(folder / "base")
    config = our_config(folder / "base")
    encoded, _ = encode_rows(rows, base.tokenizer, max_length=config.max_length, overlong="error")
    units = build_units(encoded, batch_size=BATCH, packing="tree")
    steps = plan_steps(
        [unit.samples for unit in units],
        batch_size=BATCH,
        gradient_accumulation=1,
        epochs=1,
        max_steps=STEPS,
        seed=config.seed,
    )
    firsts = [0]
    for unit in units:
        firsts.append(firsts[-1] + unit.samples)
    batches = [
        [encoded[index] for unit in batch for index in range(firsts[unit], firsts[unit + 1])] for (batch,) in steps
    ]
    assert all(len(batch) == BATCH for batch in batches), "both loops must have full batches"
    return Material(samples, folder / "base", batches)


def run_ours(material: Material) -> Run:
    """Train with our loop."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        train(
            our_config(material.base),
            material.samples,
            out,
            lambda done, total, note="": ends.append(time.perf_counter()),
            cache=Path(folder),
        )
        losses = [line["loss"] for line in read_log(out / "train_log.jsonl")]
    return Run(ends[-2] - ends[0], losses)


def run_trl(material: Material) -> Run:
    """Train with TRL's SFTTrainer on the very tokens our loop trains on."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends: list[float] = []
    losses: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                losses.append(float(logs["loss"]))

    dataset = Dataset.from_list(
        [
            {
                "input_ids": sample.tokens.tolist(),
                "labels": [
                    int(token) if weight > 0 else -100
                    for token, weight in zip(sample.tokens, sample.weights, strict=True)
                ],
            }
            for batch in material.batches
            for sample in batch
        ]
    )
    base = load_base(str(material.base), cache=material.base)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=base.model,
            args=SFTConfig(
                output_dir=folder,
                max_steps=STEPS,
                per_device_train_batch_size=BATCH,
                train_sampling_strategy="sequential",
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                optim="adamw_torch_fused",
                weight_decay=0.0,
                max_grad_norm=1.0,
                max_length=None,
                bf16=False,
                gradient_checkpointing=False,
                dataset_kwargs={"skip_prepare_dataset": True},
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            train_dataset=dataset,
            processing_class=AutoTokenizer.from_pretrained(material.base),
            callbacks=[Watch()],
        )
        trainer.train()
    return Run(ends[-2] - ends[0], losses)


def compare(material: Material, name: str, target: float | None) -> list[dict[str, Any]]:
    """Alternate the two loops; rows for the speed and for how far their losses lie apart.

    Args:
        material: what to train on.
        name: of the figure.
        target: ratio to reach; None: only told.
    """
    ours, trl = [], []
    for _ in range(ROUNDS):
        ours.append(run_ours(material))
        gc.collect()
        trl.append(run_trl(material))
        gc.collect()
    speeds = [statistics.median(material.tokens / run.seconds for run in runs) for runs in (ours, trl)]
    ratio = speeds[0] / speeds[1]
    apart = max(abs(a - b) for a, b in zip(ours[0].losses, trl[0].losses, strict=True))
    return [
        row(f"sft tokens per second, {name}", "sample tokens/s", *speeds, ratio, target),
        {
            **row(f"sft largest loss difference of a step, {name}", "nats", apart, None, None, SAME_CURVE),
            "holds": apart <= SAME_CURVE,
        },
    ]


def row(
    metric: str, unit: str, ours: float, reference: float | None, ratio: float | None, target: float | None
) -> dict[str, Any]:
    """One line of the result; ``holds`` is about the ratio."""
    return {
        "metric": metric,
        "unit": unit,
        "ours": ours,
        "reference": reference,
        "reference_name": None if reference is None else _reference_name(),
        "ratio": ratio,
        "target": target,
        "holds": None if target is None or ratio is None else ratio >= target,
    }


def _reference_name() -> str:
    import trl

    return f"TRL {trl.__version__} SFTTrainer"


def shapes(folder: Path, widths: Sequence[int] = (128, 192, 256)) -> list[dict[str, Any]]:
    """Our loop alone: tokens a second for several widths of the model, in single precision and in bfloat16."""
    rows = []
    material = prepare(folder / "shapes", decisions=DECISIONS)
    for width in widths:
        tiny = SHAPE.replace(hidden_size=width, intermediate_size=width * 8 // 3)
        for precision in ("fp32", "bf16"):
            config = our_config(material.base).replace(
                base="tiny", tiny=tiny.model_dump(), precision=precision, max_steps=4 * STEPS, checkpoint_every=99
            )
            ends: list[float] = []
            with tempfile.TemporaryDirectory() as out:
                train(
                    config,
                    material.samples,
                    Path(out) / "out",
                    lambda done, total, note="", ends=ends: ends.append(time.perf_counter()),  # type: ignore[misc]
                    cache=folder,
                )
            # The last two of four passes: bfloat16 kernels are made for each new shape, in the first two.
            speed = (
                2 * sum(len(s.tokens) for batch in material.batches for s in batch) / (ends[-1] - ends[2 * STEPS - 1])
            )
            rows.append(
                row(f"sft tokens per second, width {width}, {precision}", "sample tokens/s", speed, None, None, None)
            )
    return rows


def bench() -> list[dict[str, Any]]:
    """Measure everything; a row a figure."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [
            *compare(prepare(root / "episodes", decisions=DECISIONS), "decisions of whole episodes", TARGET_RATIO),
            *compare(prepare(root / "single", decisions=1), "one decision an episode", None),
            *shapes(root),
        ]


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
