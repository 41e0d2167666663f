from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.models.vision_agent_base import part_of
from hitl_ops.models.vision_agent_config import PARTS, TINY_CI_AGENT
from tests.support.agent_games import CORPUS, GAMES, answers, pictures_of, rows_of, stir

SUBSETS = [subset for count in range(1, 5) for subset in itertools.combinations(PARTS, count)]


@pytest.fixture(scope="module")
def agent() -> VisionAgent:
    made = VisionAgent.create(TINY_CI_AGENT, CORPUS, seed=1)
    stir(made)
    return made


def plain_logits(
    agent: VisionAgent, prompt: list[int], more: list[int], task: tuple[int, ...], picture
) -> torch.Tensor:
    """By transformers' own forward pass, the picture's tokens written out: [tokens, V]."""
    base = agent._base
    ids = [base.image_token] * agent.model.config.num_query_tokens + prompt + more
    with torch.no_grad():
        return agent.model(
            pixel_values=base.pixels(picture[None]),
            qformer_input_ids=torch.tensor([task]),
            input_ids=torch.tensor([ids]),
        ).logits[0]


def test_logprobs_are_those_of_the_plain_forward_pass(agent) -> None:
    pictures = pictures_of(6)
    rows = rows_of(agent, 6)
    with torch.no_grad():
        scores = agent.logprobs(rows, pictures)
    assert scores.prompts is None
    for row, picture, total, count, hits in zip(rows, pictures, *scores[:3], strict=True):
        logits = plain_logits(agent, list(row.prompt), list(row.completion), row.task, picture)
        logprobs = torch.log_softmax(logits[-1 - len(row.completion) : -1], dim=-1)
        expected = logprobs[range(len(row.completion)), list(row.completion)].sum()
        assert float(total) == pytest.approx(float(expected), abs=1e-5 * len(row.completion))
        assert int(count) == len(row.completion)
        assert int(hits) == (logprobs.argmax(-1) == torch.tensor(row.completion)).sum()
        assert row.completion[-1] == agent._base.tokenizer.eos_token_id


def test_rows_do_not_see_one_another(agent) -> None:
    pictures = pictures_of(8)
    rows = rows_of(agent, 8)
    assert len({len(row.prompt) for row in rows}) > 1
    together = agent.logprobs(rows, pictures).sums
    alone = torch.cat([agent.logprobs([row], pictures[at : at + 1]).sums for at, row in enumerate(rows)])
    assert torch.allclose(together, alone, atol=1e-4)
    order = [5, 2, 7, 0]
    some = agent.logprobs([rows[at] for at in order], pictures[order]).sums
    assert torch.allclose(some, alone[order], atol=1e-4)


def test_rows_with_one_prompt_run_it_once_and_do_not_see_one_another(agent) -> None:
    pictures = np.repeat(pictures_of(3), 3, axis=0)
    games = [game for game in GAMES[:3] for _ in range(3)]
    endings = ["look", "go to fridge 12", "take mug 1 from shelf 1"] * 3
    rows = [agent.encode(prompt, f" {end}", task) for (prompt, task, _), end in zip(games, endings, strict=True)]
    mixed = [0, 4, 1, 8, 2, 5, 3]
    shapes = []
    hook = agent._decoder.register_forward_hook(lambda _, __, out: shapes.append(out.last_hidden_state.shape[0]))
    together = agent.logprobs([rows[at] for at in mixed], pictures[mixed]).sums
    hook.remove()
    assert shapes == [3]
    alone = torch.cat([agent.logprobs([rows[at]], pictures[at : at + 1]).sums for at in mixed])
    assert torch.allclose(together, alone, atol=1e-4)
    gradients = []
    for sums in (together, alone):
        agent.model.zero_grad()
        sums.sum().backward()
        gradients.append([parameter.grad.clone() for parameter in agent.trainable_parameters().values()])
    agent.model.zero_grad()
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-3, rtol=1e-3)


def test_many_rows_run_in_several_passes(agent, monkeypatch) -> None:
    pictures, rows = pictures_of(8), rows_of(agent, 8)
    whole = agent.logprobs(rows, pictures).sums
    answered = answers(agent, 8)
    monkeypatch.setattr("hitl_ops.models.vision_agent_rows._TOKENS_AT_ONCE", 200)
    passes = []
    hook = agent._decoder.register_forward_hook(lambda *_: passes.append(1))
    parts = agent.logprobs(rows, pictures).sums
    hook.remove()
    assert len(passes) > 1
    assert torch.allclose(whole, parts, atol=1e-4)
    assert [action for action, _ in answers(agent, 8)] == [action for action, _ in answered]


def test_logits_are_made_for_replies_alone(agent) -> None:
    rows = rows_of(agent, 5)
    shapes = []
    hook = agent._head.register_forward_hook(lambda _, __, logits: shapes.append(tuple(logits.shape)))
    agent.logprobs(rows, pictures_of(5))
    hook.remove()
    assert shapes == [(sum(len(row.completion) for row in rows), len(agent._base.tokenizer))]


def test_a_picture_is_looked_at_once_for_each_task(agent) -> None:
    seen = []
    hook = agent.model.vision_model.register_forward_hook(lambda _, __, out: seen.append(len(out[0])))
    row, other = rows_of(agent, 2)
    picture = np.repeat(pictures_of(1), 4, axis=0)
    agent.logprobs([row, row, other, row], picture)
    hook.remove()
    assert row.task != other.task
    assert seen == [2]


def test_kept_features_stand_for_pictures(agent) -> None:
    rows, pictures = rows_of(agent, 4), pictures_of(4)
    features = agent.image_features([row.task for row in rows], pictures)
    assert features.shape == (4, TINY_CI_AGENT.tiny.query_tokens, TINY_CI_AGENT.tiny.qformer_hidden)
    assert torch.allclose(
        agent.logprobs(rows, features=features.detach()).sums, agent.logprobs(rows, pictures).sums, atol=1e-5
    )


def test_picture_task_and_prompt_each_change_the_answer(agent) -> None:
    prompt, task, commands = GAMES[0]
    black, white = np.zeros((1, 32, 32, 3), np.uint8), np.full((1, 32, 32, 3), 255, np.uint8)

    def said(prompt: str, task: str, picture: np.ndarray) -> float:
        return float(agent.logprobs([agent.encode(prompt, f" {commands[0]}", task)], picture).sums.detach())

    base = said(prompt, task, black)
    assert abs(said(prompt, task, white) - base) > 1e-3
    assert abs(said(prompt, "heat an apple.", black) - base) > 1e-3
    assert abs(said(prompt.replace("room", "fridge"), task, black) - base) > 1e-3


def greedy_by_hand(agent: VisionAgent, game: tuple[str, str, list[str]], picture) -> tuple[str, float]:
    """At every fork the likeliest branch, each fork by a plain forward pass over everything before it."""
    prompt, task, commands = game
    base = agent._base
    alive = {command: (*base.reply_ids(f" {command}"), base.tokenizer.eos_token_id) for command in commands}
    walked, logprob = [], 0.0
    while len(alive) > 1:
        branches = sorted({ids[len(walked)] for ids in alive.values()})
        if len(branches) > 1:
            logits = plain_logits(agent, base.prompt_ids(prompt), walked, tuple(base.task_ids(task)), picture)[-1]
            logprobs = torch.log_softmax(logits[branches].double(), dim=-1)
            logprob += float(logprobs.max())
            branches = [branches[int(logprobs.argmax())]]
        walked = [*walked, branches[0]]
        alive = {command: ids for command, ids in alive.items() if ids[len(walked) - 1] == walked[-1]}
    return next(iter(alive)), logprob


def test_every_fork_takes_its_likeliest_branch(agent) -> None:
    pictures = pictures_of(len(GAMES))
    prompts, tasks, admissible = zip(*GAMES, strict=True)
    replies = agent.choose(prompts, tasks, pictures, admissible)
    for reply, game, picture in zip(replies, GAMES, pictures, strict=True):
        action, logprob = greedy_by_hand(agent, game, picture)
        assert reply.action == reply.text == action
        assert reply.action in game[2]
        assert reply.logprob == pytest.approx(logprob, abs=1e-4)
        assert reply.latency_ms > 0
    assert len({reply.action for reply in replies}) > 1


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_batching_changes_no_answer(agent, temperature) -> None:
    agent.config = TINY_CI_AGENT.replace(temperature=temperature)
    try:
        pictures = pictures_of(len(GAMES))
        prompts, tasks, admissible = zip(*GAMES, strict=True)
        together = agent.choose(prompts, tasks, pictures, admissible)
        lines = agent.write(prompts, tasks, pictures)
        for at, (prompt, task, commands) in enumerate(GAMES):
            alone = agent.choose([prompt], [task], pictures[at : at + 1], [commands])[0]
            assert alone.action == together[at].action
            assert alone.logprob == pytest.approx(together[at].logprob, abs=1e-4)
            assert agent.write([prompt], [task], pictures[at : at + 1])[0].text == lines[at].text
    finally:
        agent.config = TINY_CI_AGENT


def test_a_single_admissible_command_needs_no_asking(agent) -> None:
    prompt, task, _ = GAMES[0]
    many = agent.choose([prompt, prompt], [task, task], pictures_of(2), [["look"], ["look", "inventory", "help"]])
    assert (many[0].action, many[0].logprob) == ("look", 0.0)
    assert agent.choose([prompt], [task], pictures_of(1), [["look"]])[0].action == "look"
    assert agent.choose([], [], pictures_of(0), []) == []


def test_free_replies_are_what_greedy_generation_writes(agent) -> None:
    pictures = pictures_of(4)
    free = [agent.write([p], [t], pictures[at : at + 1])[0] for at, (p, t, _) in enumerate(GAMES[:4])]
    base = agent._base
    for at, ((prompt, task, _), reply) in enumerate(zip(GAMES[:4], free, strict=True)):
        written: list[int] = []
        while len(written) < TINY_CI_AGENT.max_reply_tokens:
            logits = plain_logits(agent, base.prompt_ids(prompt), written, tuple(base.task_ids(task)), pictures[at])[-1]
            logits[agent._no_text] = -torch.inf
            if int(logits.argmax()) == base.tokenizer.eos_token_id:
                break
            written.append(int(logits.argmax()))
            if "\n" in base.reply_text(written[-1:]):
                break
        assert reply.text == base.reply_text(written).partition("\n")[0]
        assert reply.action == reply.text.strip()


def overfit(agent: VisionAgent, completion: str) -> None:
    rows = [agent.encode(prompt, completion, task) for prompt, task, _ in GAMES[:6]]
    optimizer = torch.optim.AdamW(agent.trainable_parameters().values(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        sums = agent.logprobs(rows, pictures_of(6)).sums
        (-sums.mean()).backward()
        optimizer.step()


def test_a_trained_free_reply_ends_by_itself_and_at_a_line() -> None:
    agent = VisionAgent.create(TINY_CI_AGENT.replace(reply="free"), CORPUS)
    overfit(agent, " go to fridge 1")
    prompts, tasks, admissible = zip(*GAMES[:3], strict=True)
    replies = agent.choose(prompts, tasks, pictures_of(3), admissible)
    assert [(reply.text, reply.action) for reply in replies] == [(" go to fridge 1", "go to fridge 1")] * 3
    assert all(-1.0 < reply.logprob < 0.0 for reply in replies)
    thought = agent.write(prompts[:1], tasks[:1], pictures_of(1), opening=" go to drawer")[0]
    assert thought.text.startswith(" go to drawer")
    with torch.no_grad():  # make the end of a line the likeliest of all tokens
        agent._head.weight[agent._base.reply_ids("\n")[0]] = 10 * agent._head.weight[agent._base.reply_ids(" go")[0]]
    assert all("\n" not in reply.text for reply in agent.choose(prompts, tasks, pictures_of(3), admissible))


@pytest.mark.parametrize("subset", SUBSETS, ids="-".join)
def test_only_what_trains_has_a_gradient_is_kept_and_comes_back(subset, tmp_path) -> None:
    agent = VisionAgent.create(TINY_CI_AGENT.replace(trainable=subset), CORPUS, seed=4)
    untrained = answers(agent)
    sums = agent.logprobs(rows_of(agent, 3), pictures_of(3)).sums
    sums.sum().backward()
    for name, parameter in agent.model.named_parameters():
        assert (parameter.grad is not None) == (part_of(name) in subset), name
    stir(agent)
    agent.save(tmp_path / "agent")
    kept = load_file(tmp_path / "agent" / "weights.safetensors")
    assert {part_of(name) for name in kept} == set(subset)
    assert kept.keys() == {name for part in subset for name in agent.parameters_of(part)}
    again = VisionAgent.load(tmp_path / "agent")
    assert again.policy_id == agent.policy_id
    assert answers(again) == answers(agent) != untrained
    for (name, one), (_, other) in zip(agent.model.named_parameters(), again.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert sorted(path.name for path in (tmp_path / "agent").iterdir()) == [
        "agent.json",
        "tokenizer.json",
        "weights.safetensors",
    ]


def test_making_an_agent_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = VisionAgent.create(TINY_CI_AGENT, CORPUS, seed=7)
    assert torch.equal(before, torch.get_rng_state())
    two, other = (VisionAgent.create(TINY_CI_AGENT, CORPUS, seed=seed) for seed in (7, 8))
    assert one.policy_id == two.policy_id != other.policy_id
    queries = one.model.query_tokens[0]
    assert all(not torch.equal(queries[0], query) for query in queries[1:])


def test_weights_can_be_exchanged(agent) -> None:
    other = VisionAgent.create(TINY_CI_AGENT, CORPUS, seed=2)
    before = answers(other)
    kept = other.weights()
    other.set_weights(agent.weights())
    assert answers(other) == answers(agent)
    other.set_weights(kept)
    assert answers(other) == before
    with pytest.raises(UserError, match="do not fit"):
        other.set_weights({})


def damage(folder, what: str) -> None:
    if what == "facts":
        (folder / "agent.json").write_text("{}")
    elif what == "cut":
        (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:100])
    elif what == "flipped":
        raw = bytearray((folder / "weights.safetensors").read_bytes())
        raw[-2] ^= 0x40
        (folder / "weights.safetensors").write_bytes(raw)
    elif what == "tokenizer":
        (folder / "tokenizer.json").write_text("no JSON")
    elif what == "seed":
        text = (folder / "agent.json").read_text()
        (folder / "agent.json").write_text(text.replace('"seed": 4', '"seed": 5'))
    else:
        (folder / "agent.json").unlink()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("facts", "is damaged"),
        ("cut", "cannot be read"),
        ("flipped", "are not those of"),
        ("tokenizer", "tokenizer of agent"),
        ("seed", "is not the one that agent"),
        ("gone", "there is no agent"),
    ],
)
def test_damage_is_told_in_one_line(what, said, tmp_path) -> None:
    agent = VisionAgent.create(TINY_CI_AGENT.replace(trainable=("projection",)), CORPUS, seed=4)
    agent.save(tmp_path / "agent")
    damage(tmp_path / "agent", what)
    with pytest.raises(UserError, match=said) as error:
        VisionAgent.load(tmp_path / "agent")
    assert "\n" not in str(error.value)


def test_how_it_answers_may_change_when_it_is_loaded_and_nothing_else(agent, tmp_path) -> None:
    agent.save(tmp_path / "agent")
    hot = VisionAgent.load(tmp_path / "agent", temperature=3.0, seed=5)
    assert hot.policy_id == agent.policy_id
    assert answers(hot) != answers(agent)
    assert answers(hot) == answers(hot) != answers(VisionAgent.load(tmp_path / "agent", temperature=3.0, seed=6))
    long, short = (
        answers(VisionAgent.load(tmp_path / "agent", reply="free", max_reply_tokens=limit)) for limit in (9, 2)
    )
    pairs = [(one, other.rstrip("\ufffd")) for (one, _), (other, _) in zip(long, short, strict=True)]
    assert all(one.startswith(other) for one, other in pairs)
    assert any(one != other for one, other in pairs)
    with pytest.raises(UserError, match=r"'trainable'.*these can"):
        VisionAgent.load(tmp_path / "agent", trainable=("vision",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_tokens": 40}, "longer than the agent reads"),
        ({"tiny": TINY_CI_AGENT.tiny.replace(task_tokens=8)}, "longer than the Q-Former reads"),
    ],
)
def test_what_is_too_long_is_told(changes, said) -> None:
    agent = VisionAgent.create(TINY_CI_AGENT.replace(**changes), CORPUS)
    prompt, task, commands = GAMES[0]
    with pytest.raises(UserError, match=said):
        agent.encode(prompt, " look", task)
    with pytest.raises(UserError, match=said):
        agent.choose([prompt], [task], pictures_of(1), [commands])


@pytest.mark.parametrize("reply", ["constrained", "free"])
def test_what_fits_is_answered_and_learned_and_what_does_not_is_too_long_by_a_token(reply) -> None:
    prompt, task, commands = GAMES[0]

    def reader(max_tokens: int) -> VisionAgent:
        return VisionAgent.create(TINY_CI_AGENT.replace(max_tokens=max_tokens, reply=reply, max_reply_tokens=2), CORPUS)

    least = next(limit for limit in range(32, 600) if reader(limit).fits([prompt], [commands]) == [True])
    exact, short = reader(least), reader(least - 1)
    for command in commands:
        exact.encode(prompt, f" {command}", task)
    text = exact.choose([prompt], [task], pictures_of(1), [commands])[0].text
    assert not text.strip() or exact.encode(prompt, f" {text.strip()}", task)
    assert short.fits([prompt, "> look\n>"], [commands, ["look"]]) == [False, True]
    with pytest.raises(UserError, match="longer than the agent reads"):
        for command in commands:
            short.encode(prompt, f" {command}", task)


def test_room_for_a_thought_is_more_than_for_none(agent) -> None:
    prompt, _, commands = GAMES[0]
    most = next(n for n in range(1, 2000) if not agent.fits([f"word {prompt}" * n], [commands])[0])
    assert agent.fits([f"word {prompt}" * (most - 1)], [commands]) == [True]
    assert agent.fits([f"word {prompt}" * (most - 1)], [commands], " think:" + " on and on" * 400) == [False]
    assert agent.fits([prompt], [commands], " think:") == [True]


def test_what_is_no_picture_or_no_line_is_told(agent) -> None:
    prompt, task, commands = GAMES[0]
    for wrong in (pictures_of(1, 48), pictures_of(2), pictures_of(1).astype(np.float32)):
        with pytest.raises(UserError, match="draw them with size 32"):
            agent.choose([prompt], [task], wrong, [commands])
    for completion in ("", "  ", " go\nto"):
        with pytest.raises(UserError, match="not one line"):
            agent.encode(prompt, completion, task)
    with pytest.raises(UserError, match="corpus is empty"):
        VisionAgent.create(TINY_CI_AGENT, [])
    with pytest.raises(UserError, match="device 'nowhere'"):
        VisionAgent.create(TINY_CI_AGENT.replace(device="nowhere"), CORPUS)


@pytest.mark.parametrize("subset", [PARTS, ("projection",), ("vision",), ("qformer",), ("language",)], ids="-".join)
def test_half_precision_is_for_what_does_not_train(subset, tmp_path) -> None:
    agent = VisionAgent.create(TINY_CI_AGENT.replace(dtype="bfloat16", trainable=subset), CORPUS)
    for name, parameter in agent.model.named_parameters():
        assert parameter.dtype == (torch.float32 if part_of(name) in subset else torch.bfloat16), name
    exact = VisionAgent.create(TINY_CI_AGENT, CORPUS)
    rows = rows_of(agent, 4)
    sums = agent.logprobs(rows, pictures_of(4)).sums
    wanted = exact.logprobs(rows, pictures_of(4)).sums
    assert torch.allclose(sums, wanted, rtol=0.02)
    assert not torch.equal(sums, wanted)
    sums.sum().backward()
    assert all(parameter.grad is not None for parameter in agent.trainable_parameters().values())
    agent.save(tmp_path / "agent")
    assert answers(VisionAgent.load(tmp_path / "agent")) == answers(agent)


def test_it_learns_to_tell_pictures_apart() -> None:
    agent = VisionAgent.create(TINY_CI_AGENT, CORPUS, seed=1)
    prompt, task, _ = GAMES[0]
    pictures = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    rows = [agent.encode(prompt, " look", task), agent.encode(prompt, " inventory", task)]
    optimizer = torch.optim.AdamW(agent.trainable_parameters().values(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        (-agent.logprobs(rows, pictures).sums.mean()).backward()
        optimizer.step()
    replies = agent.choose([prompt] * 2, [task] * 2, pictures, [["inventory", "look"]] * 2)
    assert [reply.action for reply in replies] == ["look", "inventory"]
