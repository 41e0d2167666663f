"""An agent is taught by imitation and by preference, and a phase that is cut off goes on to the bit."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.models.vision_agent_rows import EncodedRow
from hitl_ops.training import agent_config
from hitl_ops.training.agent_config import AgentTrainConfig
from hitl_ops.training.agent_reference import StartWeights, reference_logprobs
from hitl_ops.training.agent_rows import AgentRow, BCRow, DPORow, Draw, seeded_draw
from hitl_ops.training.agent_training import CHECKPOINTS, LOG_FILE, AgentStep, AgentTrainer
from hitl_ops.training.checkpoint import list_checkpoints
from hitl_ops.training.dpo import dpo_loss, dpo_nll_loss, nll_per_token
from hitl_ops.training.train_log import read_log
from tests.support import agent_training_process
from tests.support.taught_agents import made_up_answers, made_up_pairs, small_agent

BC = AgentTrainConfig(phase="bc", batch_size=4, accumulation=2, learning_rate=1e-2, warmup=0)
DPO = BC.replace(phase="dpo")
ROOT = Path(__file__).resolve().parents[3]


def all_of(rows: list[Any]) -> Draw:
    """Every step on all rows."""
    return lambda step, count, seed: rows


def trained(
    folder: Path, config: AgentTrainConfig, draw: Draw, count: int, agent: VisionAgent | None = None
) -> tuple[VisionAgent, list[AgentStep]]:
    agent = agent or small_agent()
    with AgentTrainer(agent, config, folder) as trainer:
        return agent, trainer.steps(draw, count)


def sums(agent: VisionAgent, rows: list[Any], answer: int) -> tuple[torch.Tensor, torch.Tensor]:
    texts = [row.answer if isinstance(row, BCRow) else row.answers[answer] for row in rows]
    encoded = [agent.encode(row.prompt, text, row.task) for row, text in zip(rows, texts, strict=True)]
    scores = agent.logprobs(encoded, np.stack([row.picture for row in rows]))
    return scores.sums, scores.tokens


def stepped_plainly(agent: VisionAgent, loss: torch.Tensor) -> None:
    """One step of a plain AdamW on the whole loss, with gradients scaled down as the trainer's are."""
    parameters = list(agent.trainable_parameters().values())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, BC.max_grad_norm)
    torch.optim.AdamW(parameters, lr=BC.learning_rate, weight_decay=0).step()


def assert_same_weights(one: VisionAgent, other: VisionAgent, **close: float) -> None:
    for name, weight in one.weights().items():
        assert_close(weight, other.weights()[name], msg=lambda text, name=name: f"{name}: {text}", **close)


# --- what a step does -----------------------------------------------------------------------------------------------


def test_a_step_of_imitation_is_one_on_the_weighted_likelihood_of_all_rows(tmp_path: Path) -> None:
    rows = made_up_answers(8)
    agent, (step,) = trained(tmp_path, BC, all_of(rows), 1)
    plain = small_agent()
    found, tokens = sums(plain, rows, 0)
    loss = nll_per_token(found, tokens, torch.tensor([row.weight for row in rows]))
    stepped_plainly(plain, loss)
    assert step.loss == pytest.approx(loss.item(), abs=1e-5) and step.loss == step.NLL
    # AdamW's first step is lr × sign of the gradient; where that is nearly zero, its sign is left to rounding.
    for name, weight in agent.weights().items():
        assert ((weight - plain.weights()[name]).abs() < 1e-5).float().mean() > 0.99, name
    projection = "language_projection.weight"
    assert not torch.equal(agent.weights()[projection], small_agent().weights()[projection])


@pytest.mark.parametrize("changes", [{}, {"nll_weight": 0.0}, {"label_smoothing": 0.2, "dpo_beta": 0.5}])
def test_a_step_of_preference_is_one_on_all_pairs(tmp_path: Path, changes: dict[str, float]) -> None:
    rows, config = made_up_pairs(8), DPO.replace(**changes)
    agent = small_agent()
    gradients: dict[str, torch.Tensor] = {}
    with AgentTrainer(agent, config, tmp_path) as trainer:
        trainer.steps(all_of(rows), 2)  # away from the reference, so that there is something to be paid
        plain = small_agent()
        plain.set_weights(agent.weights())
        (step,) = trainer.steps(all_of(rows), 1)
        gradients = {name: p.grad.clone() for name, p in agent.trainable_parameters().items() if p.grad is not None}
    (chosen, tokens), (rejected, _) = sums(plain, rows, 0), sums(plain, rows, 1)
    with torch.no_grad():
        known = [sums(small_agent(), rows, answer)[0] for answer in (0, 1)]
    terms = dpo_loss(chosen, rejected, *known, config.dpo_beta, config.label_smoothing)
    nll = nll_per_token(chosen, tokens)
    loss = dpo_nll_loss(terms, nll, config.nll_weight)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.trainable_parameters().values(), config.max_grad_norm)
    said = {
        "loss": loss.item(),
        "NLL": nll.item(),
        "W_reward": terms.chosen_rewards.mean().item(),
        "L_reward": terms.rejected_rewards.mean().item(),
        "margin": terms.margins.mean().item(),
        "accuracy": terms.hits.mean().item(),
        "grad_norm": norm.item(),
    }
    assert abs(said["margin"]) > 1e-3
    assert step.model_dump(include=set(said)) == pytest.approx(said, rel=1e-4, abs=1e-5)
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        found = plain.trainable_parameters()[name].grad
        assert found is not None
        assert_close(gradient / largest, found / largest, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize(("config", "rows"), [(BC, made_up_answers(8)), (DPO, made_up_pairs(8))], ids=["bc", "dpo"])
def test_how_many_rows_go_at_once_changes_nothing(tmp_path: Path, config: AgentTrainConfig, rows: list[Any]) -> None:
    found = []
    for number, (batch, accumulation) in enumerate([(8, 1), (3, 3), (1, 8)]):
        told = config.replace(batch_size=batch, accumulation=accumulation)
        _, steps = trained(tmp_path / str(number), told, all_of(rows), 3)
        found.append([step.model_dump(exclude={"seconds"}, exclude_none=True) for step in steps])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one == pytest.approx(two, rel=1e-3, abs=1e-4)


def test_answers_that_both_gave_count_by_their_likelihood_alone(tmp_path: Path) -> None:
    """Beside pairs, in batches that hold both or one of them; figures of pairs stay those of the pairs."""
    pairs, both = made_up_pairs(5), made_up_answers(4, seed=7)
    rows: list[AgentRow] = [pairs[0], both[0], both[1], *pairs[1:4], both[2], pairs[4], both[3]]
    config = DPO.replace(agreements=True, nll_weight=0.7, batch_size=4, accumulation=3, max_grad_norm=0.0)
    agent, plain = small_agent(), small_agent()
    with AgentTrainer(agent, config, tmp_path / "mixed") as trainer:
        trainer.steps(all_of(rows), 2)  # away from the reference
        plain.set_weights(agent.weights())
        (step,) = trainer.steps(all_of(rows), 1)
        (alone,) = trainer.steps(all_of([both[0]]), 1)
    (chosen, tokens), (rejected, _) = sums(plain, pairs, 0), sums(plain, pairs, 1)
    with torch.no_grad():
        known = [sums(small_agent(), pairs, answer)[0] for answer in (0, 1)]
    encoded = [plain.encode(row.prompt, row.answer, row.task) for row in both]
    said = plain.logprobs(encoded, np.stack([row.picture for row in both]))
    weights = torch.tensor([1.0] * len(pairs) + [row.weight for row in both])
    terms = dpo_loss(chosen, rejected, *known, config.dpo_beta, config.label_smoothing)
    nll = nll_per_token(torch.cat([chosen, said.sums]), torch.cat([tokens, said.tokens]), weights)
    loss = dpo_nll_loss(terms, nll, config.nll_weight)
    loss.backward()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in plain.trainable_parameters().values() if p.grad is not None))
    assert (step.loss, step.NLL, step.grad_norm) == pytest.approx((loss.item(), nll.item(), norm), rel=1e-4)
    paid = (terms.chosen_rewards.mean().item(), terms.rejected_rewards.mean().item(), terms.hits.mean().item())
    assert (step.W_reward, step.L_reward, step.accuracy) == pytest.approx(paid, rel=1e-4, abs=1e-5)
    assert step.rows == 9 and (alone.W_reward, alone.margin, alone.accuracy) == (None, None, None)
    with pytest.raises(UserError, match="nll_weight"):
        DPO.replace(agreements=True, nll_weight=0.0)
    with pytest.raises(UserError, match="phase dpo"):
        BC.replace(agreements=True)


def test_preference_begins_with_no_pay_and_comes_to_prefer_the_winners(tmp_path: Path) -> None:
    rows = made_up_pairs(8)
    _, steps = trained(tmp_path, DPO, all_of(rows), 12)
    first, last = steps[0], steps[-1]
    assert first.W_reward == pytest.approx(0, abs=1e-5) and first.L_reward == pytest.approx(0, abs=1e-5)
    assert first.loss == pytest.approx(math.log(2) + DPO.nll_weight * first.NLL, abs=1e-5)
    assert last.W_reward is not None and last.margin is not None
    assert last.W_reward > 0.1 and last.margin > 0.1 and last.accuracy == 1 and last.NLL < first.NLL


def test_imitation_learns_the_answers(tmp_path: Path) -> None:
    _, steps = trained(tmp_path, BC.replace(betas=(0.9, 0.99)), all_of(made_up_answers(4)), 80)
    assert steps[-1].loss < 0.1 and steps[0].loss > 3 and steps[-1].accuracy == 1


def test_only_what_trains_changes_and_is_kept(tmp_path: Path) -> None:
    agent = small_agent(trainable=("projection",))
    before = {name: p.detach().clone() for name, p in agent.model.named_parameters()}
    with AgentTrainer(agent, DPO, tmp_path) as trainer:
        trainer.steps(all_of(made_up_pairs(4)), 2)
        kept = load_file(trainer.checkpoint() / "weights.safetensors")
    changed = {name for name, p in agent.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(kept) == {"language_projection.weight", "language_projection.bias"}


def test_the_log_holds_a_line_a_step(tmp_path: Path) -> None:
    _, steps = trained(tmp_path, DPO.replace(warmup=4), all_of(made_up_pairs(4)), 5)
    lines = read_log(tmp_path / LOG_FILE)
    assert [AgentStep(**line) for line in lines] == steps
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])
    assert {"step", "loss", "W_reward", "L_reward", "NLL", "accuracy", "learning_rate", "grad_norm"} <= lines[0].keys()


# --- the configuration ----------------------------------------------------------------------------------------------

CHANGED: dict[str, Any] = {
    "batch_size": 1,
    "accumulation": 1,
    "optimizer": "muon",
    "learning_rate": 2e-2,
    "warmup": 3,
    "weight_decay": 0.3,
    "betas": (0.5, 0.9),
    "max_grad_norm": 0.01,
    "dpo_beta": 0.4,
    "nll_weight": 0.1,
    "label_smoothing": 0.3,
    "seed": 5,
}


@pytest.mark.parametrize("field", CHANGED)
def test_every_field_changes_the_weights(tmp_path: Path, field: str) -> None:
    draw = seeded_draw(made_up_pairs(10))
    plain, _ = trained(tmp_path / "plain", DPO, draw, 3)
    other, _ = trained(tmp_path / "other", DPO.replace(**{field: CHANGED[field]}), draw, 3)
    assert any(not torch.equal(weight, other.weights()[name]) for name, weight in plain.weights().items())


def test_every_field_is_looked_at() -> None:
    elsewhere = {"phase", "gradient_steps", "keep_last", "schedule", "draw", "prompt_weight", "agreements"}
    assert set(AgentTrainConfig.model_fields) == set(CHANGED) | elsewhere


def test_the_prompts_words_count_as_much_as_asked_beside_the_answers(tmp_path: Path) -> None:
    rows = made_up_answers(6)
    found = {}
    for weight in (0.0, 0.5):
        agent = small_agent()
        one = BC.replace(batch_size=len(rows), accumulation=1, prompt_weight=weight)
        with AgentTrainer(agent, one, tmp_path / str(weight)) as trainer:
            (found[weight],) = trainer.steps(all_of(rows), 1)
    agent = small_agent()
    encoded = [agent.encode(row.prompt, row.answer, row.task) for row in rows]
    # A prompt's tokens after its first, as the completion of its first: all rows have prompts of their own here.
    words = [EncodedRow(row.prompt[:1], row.prompt[1:], row.task) for row in encoded]
    assert len({row.prompt for row in encoded}) == len(rows)
    with torch.no_grad():
        scores = agent.logprobs(words, np.stack([row.picture for row in rows]))
    told = -float(scores.sums.sum() / scores.tokens.sum())
    assert found[0.0].NLL == found[0.0].loss == pytest.approx(found[0.5].NLL, abs=1e-5)
    assert found[0.5].loss == pytest.approx(found[0.5].NLL + 0.5 * told, abs=1e-4)


def test_the_rate_falls_over_the_second_half_of_the_phase(tmp_path: Path) -> None:
    falling = BC.replace(schedule="linear_end", learning_rate=1e-2, warmup=2)
    draw = all_of(made_up_answers(2))
    with AgentTrainer(small_agent(), falling, tmp_path / "whole", total=10) as trainer:
        rates = [step.learning_rate for step in trainer.steps(draw, 10)]
    assert rates == pytest.approx([0.005, *[0.01] * 6, 0.0075, 0.005, 0.0025])
    with AgentTrainer(small_agent(), falling, tmp_path / "torn", total=10) as trainer:
        trainer.steps(draw, 8)
        trainer.checkpoint()
    with AgentTrainer(small_agent(), falling, tmp_path / "torn", total=10) as trainer:
        assert [step.learning_rate for step in trainer.steps(draw, 2)] == pytest.approx(rates[8:])
    with pytest.raises(ValueError, match="how many steps"):
        AgentTrainer(small_agent(), falling, tmp_path / "unknown")


def test_gradient_steps_and_checkpoints_are_as_many_as_asked(tmp_path: Path) -> None:
    with AgentTrainer(small_agent(), BC.replace(gradient_steps=3, keep_last=1), tmp_path) as trainer:
        for _ in range(2):
            assert len(trainer.steps(all_of(made_up_answers(2)))) == 3
            trainer.checkpoint()
    assert [path.name for path in list_checkpoints(tmp_path / CHECKPOINTS)] == ["step_000006"]


def test_the_published_batches() -> None:
    known = {name: getattr(agent_config, name) for name in ("PAPER_BC", "PAPER_DPO", "SMALL_BC", "SMALL_DPO")}
    assert {name: (c.phase, c.batch_size, c.rows_per_step, c.gradient_steps) for name, c in known.items()} == {
        "PAPER_BC": ("bc", 128, 512, 5),
        "PAPER_DPO": ("dpo", 4, 16, 5),
        "SMALL_BC": ("bc", 8, 32, 5),
        "SMALL_DPO": ("dpo", 1, 4, 5),
    }
    assert known["PAPER_DPO"].nll_weight == pytest.approx((2.4771 - math.log(2)) / 3.5679, abs=1e-4)


# --- the reference --------------------------------------------------------------------------------------------------


def test_the_reference_is_the_agent_of_the_phases_start_whenever_a_pair_comes(tmp_path: Path) -> None:
    first, later = made_up_pairs(4), made_up_pairs(4, seed=3)
    later = [DPORow(f"later/{n}", r.picture, r.prompt, r.task, r.winner, r.loser) for n, r in enumerate(later)]
    agent = small_agent()
    with AgentTrainer(agent, DPO, tmp_path) as trainer:
        trainer.steps(all_of(first), 3)
        moved = agent.weights()
        known = trainer.with_references([*first, *later])
        assert all(torch.equal(weight, agent.weights()[name]) for name, weight in moved.items())
    said = [(row.reference_winner, row.reference_loser) for row in known]
    assert said == reference_logprobs(small_agent(), [*first, *later])  # to the bit, whatever the company
    assert said != reference_logprobs(agent, [*first, *later])


def test_a_reference_is_computed_once_and_outlives_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made_up_pairs(6)
    asked: list[str] = []

    def counted(agent: VisionAgent, new: list[DPORow]) -> list[tuple[float, float]]:
        asked.extend(row.pair_id for row in new)
        return reference_logprobs(agent, new)

    monkeypatch.setattr("hitl_ops.training.agent_reference.reference_logprobs", counted)
    with AgentTrainer(small_agent(), DPO, tmp_path) as trainer:
        trainer.steps(all_of([*rows, *rows]), 2)
        known = trainer.with_references(rows)
        trainer.checkpoint()
    with AgentTrainer(small_agent(), DPO, tmp_path) as trainer:
        assert [r.reference_winner for r in trainer.with_references(rows)] == [r.reference_winner for r in known]
        trainer.with_references(known)
    assert asked == [row.pair_id for row in rows]


def test_the_starts_weights_are_swapped_in_once_for_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, swaps = made_up_pairs(8), []
    plain = StartWeights.swapped_in

    def counted(self: StartWeights, model: torch.nn.Module) -> Any:
        swaps.append(model)
        return plain(self, model)

    monkeypatch.setattr(StartWeights, "swapped_in", counted)
    one_by_one = DPO.replace(accumulation=1, batch_size=2)
    with AgentTrainer(small_agent(), one_by_one, tmp_path / "together") as trainer:
        together = trainer.steps(lambda step, count, seed: rows[step * count :][:count], 4)
    assert len(swaps) == 1
    with AgentTrainer(small_agent(), one_by_one, tmp_path / "apart") as trainer:
        apart = [trainer.steps(lambda step, count, seed: rows[step * count :][:count], 1)[0] for _ in range(4)]
    assert len(swaps) == 5
    timeless = [[step.model_copy(update={"seconds": 0.0}) for step in steps] for steps in (together, apart)]
    assert timeless[0] == timeless[1] and [step.rows for step in together] == [2] * 4


# --- cut off --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "rows"), [(BC, made_up_answers(9)), (DPO, made_up_pairs(9))], ids=["bc", "dpo"])
def test_two_steps_and_two_more_are_four(tmp_path: Path, config: AgentTrainConfig, rows: list[Any]) -> None:
    draw = seeded_draw(rows)
    folders = whole, torn = tmp_path / "whole", tmp_path / "torn"
    with AgentTrainer(small_agent(), config, whole) as trainer:
        trainer.steps(draw, 4)
        trainer.checkpoint()
    with AgentTrainer(small_agent(), config, torn) as trainer:
        trainer.steps(draw, 2)
        trainer.checkpoint()
        trainer.steps(draw, 1)  # lost: the checkpoint knows nothing of it
    with AgentTrainer(small_agent(), config, torn) as trainer:
        assert trainer.step == trainer.resumed_step == 2
        trainer.steps(draw, 2)
        trainer.checkpoint()
    for name in ("weights.safetensors", "optimizer.safetensors", "references.json"):
        one, other = (folder / CHECKPOINTS / "step_000004" / name for folder in folders)
        assert one.read_bytes() == other.read_bytes(), name
    told = [[{**line, "seconds": 0} for line in read_log(folder / LOG_FILE)] for folder in folders]
    assert told[0] == told[1] and [line["step"] for line in told[1]] == [1, 2, 3, 4]


@pytest.mark.integration
@pytest.mark.parametrize("place", ["weights", "optimizer", "references"])
def test_killed_while_a_checkpoint_is_written(tmp_path: Path, place: str) -> None:
    torn, whole = tmp_path / "torn", tmp_path / "whole"
    words = [sys.executable, "-m", "tests.support.agent_training_process", str(torn), place]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert [path.name for path in list_checkpoints(torn / CHECKPOINTS)] == ["step_000002"]
    assert list(torn.rglob(f"*{TEMPORARY_MARK}*"))  # it died in the middle
    with AgentTrainer(small_agent(), agent_training_process.CONFIG, torn) as trainer:
        assert trainer.step == 2  # the one before is whole
    assert not list(torn.rglob(f"*{TEMPORARY_MARK}*"))
    for folder in (torn, whole):
        agent_training_process.train(folder, steps=6)
    for name in ("weights.safetensors", "optimizer.safetensors", "references.json"):
        one, other = (folder / CHECKPOINTS / "step_000006" / name for folder in (torn, whole))
        assert one.read_bytes() == other.read_bytes(), name


# --- refused --------------------------------------------------------------------------------------------------------


def test_a_phase_of_another_agent_or_configuration_is_refused(tmp_path: Path) -> None:
    with AgentTrainer(small_agent(), DPO, tmp_path) as trainer:
        trainer.steps(all_of(made_up_pairs(2)), 1)
        trainer.checkpoint()
    with pytest.raises(UserError, match="of another agent"):
        AgentTrainer(small_agent(seed=1), DPO, tmp_path)
    with pytest.raises(UserError, match="trains other parts"):
        AgentTrainer(small_agent(trainable=("projection",)), DPO, tmp_path)
    with pytest.raises(UserError, match=r"dpo_beta=0\.1, not 0\.3"):
        AgentTrainer(small_agent(), DPO.replace(dpo_beta=0.3), tmp_path)
    frozen = tmp_path / "frozen"
    with AgentTrainer(small_agent(trainable=("projection",)), DPO, frozen) as trainer:
        trainer.checkpoint()
    other = small_agent(seed=1, trainable=("projection",))
    other.set_weights(small_agent(trainable=("projection",)).weights())
    with pytest.raises(UserError, match="was made with start="):
        AgentTrainer(other, DPO, frozen)


@pytest.mark.parametrize("name", ["start.safetensors", "checkpoints/step_000001/references.json"])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    with AgentTrainer(small_agent(), DPO, tmp_path) as trainer:
        trainer.steps(all_of(made_up_pairs(2)), 1)
        trainer.checkpoint()
    (tmp_path / name).write_bytes(b"half")
    with pytest.raises(UserError, match="damaged"):
        AgentTrainer(small_agent(), DPO, tmp_path)


def test_rows_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    with AgentTrainer(small_agent(), DPO, tmp_path / "dpo") as trainer:
        with pytest.raises(UserError, match="nothing to learn"):
            trainer.steps(all_of([]))
        rows: list[AgentRow] = [*made_up_answers(1)]
        with pytest.raises(ValueError, match="DPORows"):
            trainer.steps(all_of(rows))
        (pair,) = made_up_pairs(1)
        wrong = DPORow("x", pair.picture, pair.prompt, pair.task, pair.winner, pair.loser, math.nan, 0.0)
        before = trainer._agent.weights()
        with pytest.raises(UserError, match="the loss became nan"):
            trainer.steps(all_of([wrong]), 1)
        assert all(torch.equal(weight, trainer._agent.weights()[name]) for name, weight in before.items())
    with AgentTrainer(small_agent(), BC, tmp_path / "bc") as trainer, pytest.raises(ValueError, match="BCRows"):
        trainer.steps(all_of(made_up_pairs(1)))
    weightless = BCRow(pair.picture, pair.prompt, pair.task, pair.winner, weight=0.0)
    with AgentTrainer(small_agent(), BC, tmp_path / "none") as trainer, pytest.raises(UserError, match="nothing"):
        trainer.steps(all_of([weightless]))
