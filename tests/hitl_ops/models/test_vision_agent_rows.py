"""A prompt that stands once with two answers behind it says what two rows with a prompt each say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.models.vision_agent_config import PicturePlace
from hitl_ops.models.vision_agent_rows import (
    Branch,
    EncodedRow,
    RowScores,
    SharedPrompt,
    _picked,
    lay_out,
    shared_prompts,
)
from hitl_ops.training.agent_rows import DPORow
from tests.support.taught_agents import made_up_pairs, small_agent

CLOSE: dict[str, float] = {"atol": 1e-5, "rtol": 1e-5}


def gradients(agent: VisionAgent) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in agent.trainable_parameters().items() if p.grad is not None}
    agent.model.zero_grad()
    return found


def differently(sums: torch.Tensor) -> torch.Tensor:
    """A loss to which every answer counts something else."""
    return (torch.arange(1, sums.numel() + 1) * sums.flatten()).sum()


def scored(agent: VisionAgent, rows: list[DPORow], *which: int) -> RowScores:
    """Of some answers of every row, all at once."""
    encoded = [agent.encode(row.prompt, row.answers[k], row.task) for row in rows for k in which]
    return agent.logprobs(encoded, np.stack([row.picture for row in rows for _ in which]))


@pytest.mark.parametrize("trainable", [("projection",), ("vision", "qformer", "projection", "language")])
def test_both_answers_and_their_gradients_are_those_of_rows_of_their_own(
    trainable: tuple[str, ...],
) -> None:
    agent, rows = small_agent(trainable=trainable), made_up_pairs(5)
    assert len({len(agent.encode(row.prompt, row.winner, row.task).prompt) for row in rows}) > 1  # there is padding
    packed = scored(agent, rows, 0, 1)
    differently(packed.sums).backward()
    ours = gradients(agent)

    apart = [scored(agent, rows, k) for k in (0, 1)]
    sums = torch.stack([found.sums for found in apart], dim=1)
    differently(sums).backward()
    theirs = gradients(agent)

    assert (packed.sums[::2] - packed.sums[1::2]).abs().min() > 1e-3
    assert_close(packed.sums, sums.flatten(), **CLOSE)
    assert torch.equal(packed.tokens, torch.stack([found.tokens for found in apart], dim=1).flatten())
    assert torch.equal(packed.hits, torch.stack([found.hits for found in apart], dim=1).flatten())
    assert ours.keys() == theirs.keys() and ours
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        # Beside the gradient's own size, for it is summed over hundreds of tokens; but those that are zero in truth, as
        # of keys' biases, are only noise.
        size = max(float(gradient.abs().max()), 1e-3 * largest)
        assert_close(ours[name] / size, gradient / size, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)
    if trainable == ("projection",):
        assert set(ours) == {"language_projection.weight", "language_projection.bias"}


def test_an_answer_does_not_see_the_other() -> None:
    agent, (row,) = small_agent(), made_up_pairs(1)
    other = DPORow(row.pair_id, row.picture, row.prompt, row.task, row.winner, " put book 1 in/on shelf 12")
    with torch.no_grad():
        one, another = (scored(agent, [r], 0, 1).sums for r in (row, other))
    assert_close(one[0], another[0], **CLOSE)
    assert abs(float(one[1] - another[1])) > 1e-2


def test_bfloat16_keeps_the_sums_in_single_precision() -> None:
    rows = made_up_pairs(2)
    found = []
    for dtype in ("float32", "bfloat16"):
        agent: VisionAgent = small_agent(dtype=dtype, trainable=("projection",))
        sums = scored(agent, rows, 0, 1).sums
        sums.sum().backward()
        assert sums.dtype == torch.float32
        assert agent.model.language_projection.weight.grad.dtype == torch.float32
        found.append(sums.detach())
    assert_close(found[1], found[0], atol=0.5, rtol=0.02)


def test_padding_beside_many_answers_is_no_trouble() -> None:
    agent, rows = small_agent(), made_up_pairs(6, turns=6)
    longest = max(rows, key=lambda row: len(row.prompt))
    company = [row for row in rows if row is not longest]
    texts = [" look", " go to desk 1", " open drawer 2", " take mug 1 from bed 1"]
    encoded = [agent.encode(row.prompt, text, row.task) for row in (longest, *company) for text in texts]
    pictures = np.stack([row.picture for row in (longest, *company) for _ in texts])
    scores = agent.logprobs(encoded, pictures)
    differently(scores.sums).backward()
    assert all(gradient.isfinite().all() for gradient in gradients(agent).values())
    with torch.no_grad():
        alone = [agent.logprobs([row], pictures[at : at + 1]).sums[0] for at, row in enumerate(encoded)]
    assert_close(scores.sums.detach(), torch.stack(alone), **CLOSE)


# --- the layout -----------------------------------------------------------------------------------------------------

IDS = st.lists(st.integers(1, 50), min_size=1, max_size=6).map(tuple)


QUERIES = st.integers(0, 3)
PLACES: list[PicturePlace] = ["before_prompt", "before_reply"]


@given(QUERIES, st.lists(st.tuples(IDS, st.lists(IDS, min_size=1, max_size=3)), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("place", PLACES)
def test_every_answer_token_is_predicted_from_what_really_precedes_it(
    place: PicturePlace, queries: int, asked: list[tuple[tuple[int, ...], list[tuple[int, ...]]]]
) -> None:
    # Every prompt also comes cut short: where pictures stand before replies, both are one sequence.
    given = [(prompt[:cut], answer) for prompt, answers in asked for answer in answers for cut in (len(prompt), 1)]
    rows = [EncodedRow(prompt, answer, ()) for prompt, answer in given]
    which = [hash(row.prompt) % 3 for row in rows]
    sequences = shared_prompts(rows, which, place)
    if place == "before_reply":
        assert len(sequences) <= len({prompt for prompt, _ in asked})
    layout = lay_out(sequences, queries, place)
    length = layout.positions.shape[1]
    assert layout.tokens.shape == layout.positions.shape == (len(sequences), length)
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(len(sequences), 1, length, length)
    sight = causal if layout.sight is None else layout.sight
    contents = layout.tokens.flatten().tolist()
    for at, number in zip(layout.shown.tolist(), layout.pictures.tolist(), strict=True):
        contents[at] = -1 - number  # so that a picture's tokens are told from words
    found = iter(zip(layout.predictors.tolist(), layout.targets.tolist(), strict=True))
    branches = [(at, branch) for at, one in enumerate(sequences) for branch in one.branches]
    assert sorted(branch.row for _, branch in branches) == list(range(len(rows)))
    for at, branch in branches:
        row = rows[branch.row]
        picture = [-1 - (which[branch.row] * queries + token) for token in range(queries)]
        text = list(row.prompt)
        before = [*picture, *text] if place == "before_prompt" else [*text, *picture]
        for number, token in enumerate(row.completion):
            predictor, target = next(found)
            assert divmod(predictor, length)[0] == at and target == token
            seen = sight[at, 0, predictor % length].nonzero().flatten()
            assert [contents[at * length + place_] for place_ in seen.tolist()] == [*before, *row.completion[:number]]
            assert layout.positions[at, seen].tolist() == list(range(len(before) + number))
    assert next(found, None) is None
    assert layout.counts == [len(rows[branch.row].completion) for _, branch in branches]
    assert sight.any(-1).all()  # a token that saw nothing would be no number


def test_the_turns_of_a_game_run_as_one_sequence_and_say_what_each_says_alone() -> None:
    agent = small_agent(picture_place="before_reply")
    games = [made_up_pairs(1, turns=5, seed=seed)[0] for seed in (3, 4)]
    texts = []
    for game in games:
        turns = game.prompt.removesuffix("\n>").split("\n>")
        texts += [("\n>".join(turns[: count + 1]) + "\n>", game) for count in range(len(turns))]
    encoded = [agent.encode(text, answer, game.task) for text, game in texts for answer in game.answers]
    noise = np.random.default_rng(0)
    size = agent.config.picture
    pictures = np.repeat(noise.integers(0, 256, (len(texts), size, size, 3), dtype=np.uint8), 2, axis=0)
    assert len(texts) > 4 and len(shared_prompts(encoded, range(len(encoded)), "before_reply")) == 2
    together = agent.logprobs(encoded, pictures)
    differently(together.sums).backward()
    ours = gradients(agent)
    alone = [agent.logprobs([row], pictures[at : at + 1]) for at, row in enumerate(encoded)]
    sums = torch.cat([found.sums for found in alone])
    differently(sums).backward()
    theirs = gradients(agent)
    assert_close(together.sums, sums, **CLOSE)
    assert together.hits.tolist() == [int(found.hits[0]) for found in alone]
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        size_of = max(float(gradient.abs().max()), 1e-3 * largest)
        assert_close(ours[name] / size_of, gradient / size_of, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_likeliest_alone_is_what_the_agent_says(place: PicturePlace) -> None:
    """Acting and learning show the picture in the same place."""
    agent, pairs = small_agent(picture_place=place), made_up_pairs(4)
    commands = [" look", " go to desk 1", " open drawer 2", " take mug 1 from bed 1"]
    pictures = np.stack([pair.picture for pair in pairs])
    replies = agent.choose(
        [pair.prompt for pair in pairs],
        [pair.task for pair in pairs],
        pictures,
        [[command.strip() for command in commands]] * len(pairs),
    )
    for pair, reply, picture in zip(pairs, replies, pictures, strict=True):
        rows = [agent.encode(pair.prompt, command, pair.task) for command in commands]
        with torch.no_grad():
            table = agent.logprobs(rows, np.stack([picture] * len(rows)))
        # The walk takes the likeliest branch at each fork; all commands differ in their first token here.
        firsts = [agent.encode(pair.prompt, command, pair.task).completion[:1] for command in commands]
        bare = [EncodedRow(row.prompt, first, row.task) for row, first in zip(rows, firsts, strict=True)]
        with torch.no_grad():
            scores = agent.logprobs(bare, np.stack([picture] * len(rows))).sums
        assert len(set(firsts)) == len(firsts) and table.sums.isfinite().all()
        assert reply.action == commands[int(scores.argmax())].strip()


def test_empty_prompts_and_answers_are_refused() -> None:
    for prompt, answer in (((), (1,)), ((1,), ())):
        with pytest.raises(ValueError, match="no tokens"):
            lay_out([SharedPrompt(prompt, [Branch(0, len(prompt), 0, answer)])], 0, "before_prompt")
    agent, (row,) = small_agent(), made_up_pairs(1)
    encoded = agent.encode(row.prompt, row.winner, row.task)
    with pytest.raises(ValueError, match="no tokens"):
        agent.logprobs([EncodedRow(encoded.prompt, (), encoded.task)], row.picture[None])
    bare = agent.logprobs([EncodedRow((), encoded.completion[:1], encoded.task)], row.picture[None])
    assert bare.sums.isfinite().all() and bare.tokens.tolist() == [1]  # the picture stands before it


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
def test_gradients_of_a_place_read_often_do_not_depend_on_the_threads() -> None:
    places = torch.tensor([7, *range(10)] * 36)
    table, weights = torch.randn(40, 512, requires_grad=True), torch.randn(len(places), 512)
    found = set()
    for _ in range(100):
        (gradient,) = torch.autograd.grad(_picked(table, places), table, weights)
        found.add(gradient.numpy().tobytes())
    assert len(found) == 1
    assert torch.equal(_picked(table, places), table[places])
