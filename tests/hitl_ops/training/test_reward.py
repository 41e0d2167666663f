"""A reward learned from comparisons: it finds what was meant, and easy mistakes would be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import PreferenceValue
from hitl_ops.labels.preferences import Preference
from hitl_ops.models.reward_config import RewardModelConfig
from hitl_ops.models.reward_model import RewardEnsemble, load_reward, save_reward
from hitl_ops.records.clips import Clip, write_clip_set
from hitl_ops.training.reward import reward_figures, train_reward
from hitl_ops.training.reward_config import RewardTrainConfig
from hitl_ops.training.reward_data import is_held_out, preference_data, read_clips
from hitl_ops.training.reward_report import REPORT_FILE, TRUTH_PLOT, reward_truth, write_reward_report
from tests.support.clip_sets import make_clips, make_pairs

QUICK = RewardTrainConfig(
    model=RewardModelConfig(members=4, differences=((17, 14), (18, 15), (19, 16)), observed=(), use_actions=False),
    steps=120,
    validation_share=0.2,
    weight_decay=0.3,
)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return make_clips(60, seed=3)


def truly(left: Clip, right: Clip) -> str:
    return "left" if (left.true_return or 0) > (right.true_return or 0) else "right"


def words(clips, answer, count=120, who="ann", seed=0):
    by = {clip.facts.clip_id: clip for clip in clips}
    found = []
    for number, pair in enumerate(make_pairs(clips, count, seed=seed)):
        left, right = by[pair.left], by[pair.right]
        said = PreferenceValue(
            pair_id=pair.pair_id,
            left=pair.left,
            right=pair.right,
            left_hash=left.facts.content_hash,
            right_hash=right.facts.content_hash,
            choice=answer(left, right),
        )
        found.append(Preference(number + 1, "preference", 0, who, said, 3.0))
    return found


def learned(clips, answer, config=QUICK, count=120):
    by = {clip.facts.clip_id: clip for clip in clips}
    return train_reward(preference_data(words(clips, answer, count), by, config.validation_share), config)


def test_it_names_the_better_clip_of_pairs_it_never_learned_from(clips):
    found = learned(clips, truly)
    figures = found.figures
    assert figures.held_out >= 15 and figures.validation_accuracy is not None
    assert figures.validation_accuracy > 0.85
    truth = reward_truth(found.model, clips)
    assert truth is not None and truth.pair_accuracy is not None and truth.pair_accuracy > 0.85


def test_swapped_labels_would_be_seen(clips):
    """Were left and right mixed up anywhere between the label and the loss, this reward would be upside down."""
    swapped = learned(clips, lambda left, right: "right" if truly(left, right) == "left" else "left")
    truth = reward_truth(swapped.model, clips)
    assert truth is not None and truth.clip_correlation is not None and truth.clip_correlation < -0.5


def test_a_constant_reward_would_be_seen(clips):
    observations = np.concatenate([clip.observations for clip in clips])
    actions = np.concatenate([clip.actions for clip in clips])
    by = {clip.facts.clip_id: clip for clip in clips}
    data = preference_data(words(clips, truly), by, 0.2)
    found = train_reward(data, QUICK)
    assert found.model.rewards(observations, actions).std() > 0.5
    assert found.figures.decided > 0.3
    for layer in found.model.layers.parameters():
        layer.data.zero_()
    found.model.fit_rewards(*(torch.from_numpy(part) for part in data.rows()))
    figures, truth = reward_figures(found.model, data, QUICK), reward_truth(found.model, clips)
    # It names no clip, so that it is right about none, rather than about every other one; scaling adds nothing.
    assert figures.decided == 0.0 and figures.accuracy == 0.0 and figures.validation_accuracy == 0.0
    assert truth is not None and truth.clip_correlation is None and truth.pair_accuracy == 0.0


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "softplus"])
def test_a_concave_reward_falls_off_on_all_sides_of_one_best_place(clips, activation):
    config = QUICK.replace(model=QUICK.model.replace(shape="concave", activation=activation))
    found = learned(clips, truly, config)
    assert found.figures.validation_accuracy is not None and found.figures.validation_accuracy > 0.85
    rng = np.random.default_rng(0)
    # Far beyond anything that was compared, too.
    ends = rng.normal(scale=3.0, size=(2, 2000, 20)).astype(np.float32)
    middle = ends.mean(axis=0)
    still = np.zeros((2000, 7), dtype=np.float32)
    said = [found.model.member_rewards(places, still) for places in (*ends, middle)]
    assert (said[2] >= (said[0] + said[1]) / 2 - 1e-3).all()
    free = learned(clips, truly, config.replace(model=config.model.replace(shape="free"))).model
    said = [free.member_rewards(places, still) for places in (*ends, middle)]
    assert (said[2] < (said[0] + said[1]) / 2 - 1e-3).any()


def test_a_concave_reward_of_an_activation_that_falls_is_refused():
    with pytest.raises(ValueError, match="not tanh"):
        RewardModelConfig(shape="concave", activation="tanh")


def test_training_that_learns_nothing_would_be_seen(clips):
    still = learned(clips, truly, QUICK.replace(learning_rate=1e-12))
    taught = learned(clips, truly)
    assert taught.figures.validation_accuracy is not None and still.figures.validation_accuracy is not None
    assert taught.figures.validation_accuracy > still.figures.validation_accuracy + 0.1
    assert taught.figures.loss < still.figures.loss - 0.05


def test_words_that_do_not_count_teach_nothing_and_are_in_no_figure(clips):
    by = {clip.facts.clip_id: clip for clip in clips}
    honest = words(clips, truly, count=60, who="ann")
    other = words(clips, lambda *_: "left", count=60, who="bob", seed=1)
    data = preference_data([*honest, *other], by, 0.2, {"ann": 1.0, "bob": 0.0})
    alone = preference_data(honest, by, 0.2, {"ann": 1.0})
    one, both = train_reward(alone, QUICK.replace(steps=20)), train_reward(data, QUICK.replace(steps=20))
    assert both.figures.comparisons == one.figures.comparisons
    assert both.figures.held_out == one.figures.held_out
    assert both.figures.left_out == {"by people whose word does not count": 60}
    with pytest.raises(UserError, match="whose word counts"):
        train_reward(preference_data([*honest, *other], by, 0.2, {"ann": 0.0, "bob": 0.0}), QUICK)
    ties = words(clips, lambda *_: "tie", count=10, who="eve", seed=2)
    with pytest.raises(UserError, match="whose word counts"):
        train_reward(preference_data([*other, *ties], by, 0.2, {"eve": 1.0, "bob": 0.0}), QUICK)


def test_ties_draw_clips_together_and_are_no_wins(clips):
    """Clips of two kinds, of which people say: those of one kind are all alike, and better than the others."""
    good = {clip.facts.clip_id for clip in clips[40:]}

    def kind(left: Clip, right: Clip) -> str:
        one, other = (clip.facts.clip_id in good for clip in (left, right))
        return "tie" if one == other else "left" if one else "right"

    found = learned(clips, kind, QUICK.replace(steps=250), count=300)
    assert found.figures.ties > 50
    worth = np.array([found.model.rewards(clip.observations, clip.actions).sum() for clip in clips])
    inside, between = worth[40:].std(), worth[40:].mean() - worth[:40].mean()
    assert between > 2 * inside


def test_the_reward_is_shifted_and_scaled_over_what_was_compared(clips):
    config = QUICK.replace(steps=20)
    data = preference_data(words(clips, truly), {clip.facts.clip_id: clip for clip in clips}, 0.2)
    found = train_reward(data, config)
    members = found.model.member_rewards(*data.rows())
    assert np.allclose(members.mean(axis=1), 0, atol=1e-4)
    assert np.allclose(members.std(axis=1), 1, atol=1e-3)


def test_the_same_comparisons_give_the_same_reward_and_it_is_kept_without_pickle(clips, tmp_path: Path):
    config = QUICK.replace(steps=15)
    one, other = learned(clips, truly, config), learned(clips, truly, config)
    save_reward(one.model, tmp_path / "reward", {"comparisons": 120})
    loaded = load_reward(tmp_path / "reward")
    seen, done = clips[0].observations, clips[0].actions
    assert np.array_equal(one.model.rewards(seen, done), other.model.rewards(seen, done))
    assert np.array_equal(one.model.rewards(seen, done), loaded.rewards(seen, done))
    assert sorted(file.name for file in (tmp_path / "reward").iterdir()) == ["model.safetensors", "reward.json"]


def test_a_reward_asked_about_another_world_says_so(clips):
    model = RewardEnsemble(QUICK.model, 20, 7)
    with pytest.raises(UserError, match="20 observed numbers"):
        model.rewards(clips[0].observations[:, :17], clips[0].actions)


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("reward.json", None, "no learned reward"),
        ("reward.json", b"{", "cannot be read"),
        ("model.safetensors", b"junk", "cannot be read"),
    ],
)
def test_a_damaged_reward_is_one_clear_line(tmp_path: Path, file, content, word):
    save_reward(RewardEnsemble(QUICK.model, 20, 7), tmp_path / "reward")
    target = tmp_path / "reward" / file
    target.unlink() if content is None else target.write_bytes(content)
    with pytest.raises(UserError, match=word):
        load_reward(tmp_path / "reward")


def test_no_preferences_all_ties_and_nothing_told_are_clear(clips):
    by = {clip.facts.clip_id: clip for clip in clips}
    with pytest.raises(UserError, match="no preferences to learn"):
        preference_data([], by, 0.1)
    with pytest.raises(UserError, match=r"no preferences .*120 could not be told"):
        preference_data(words(clips, lambda *_: "cant_tell"), by, 0.1)
    with pytest.raises(UserError, match="are ties"):
        learned(clips, lambda *_: "tie")


def test_what_cannot_be_used_is_counted_and_the_rest_is_learned_from(clips):
    said = words(clips, truly)
    by = {clip.facts.clip_id: clip for clip in clips}
    gone, changed = said[0].said.left, said[-1].said.right
    by.pop(gone)
    other = make_clips(60, seed=99)[0]
    by[changed] = Clip(other.facts, other.observations, other.actions)
    data = preference_data(said, by, 0.1)
    about_gone = sum(gone in (word.said.left, word.said.right) for word in said)
    assert data.left_out["about clips that are not there"] >= about_gone > 0
    assert data.left_out["about clips that have changed"] > 0
    assert len(data.said) + sum(data.left_out.values()) == len(said)


def test_can_t_tell_teaches_nothing_and_a_tie_is_half(clips):
    answers = iter(["left", "right", "tie", "cant_tell"])
    said = words(clips, lambda *_: next(answers), count=4)
    data = preference_data(said, {clip.facts.clip_id: clip for clip in clips}, 0.0)
    assert data.said.tolist() == [1.0, 0.0, 0.5]
    assert data.label_ids == [1, 2, 3]
    assert data.left_out == {"could not be told": 1}


def test_what_is_held_out_is_decided_by_the_pair_for_good():
    names = [(f"{number:064x}", f"{number * 7 + 1:064x}") for number in range(2000)]
    once = [is_held_out(one, other, 0.1) for one, other in names]
    assert once == [is_held_out(other, one, 0.1) for one, other in names]  # whatever side they stand on
    assert 150 < sum(once) < 250
    assert not any(is_held_out(one, other, 0.0) for one, other in names)


def test_clips_of_different_lengths_are_compared_by_their_own_steps(clips):
    short = make_clips(20, steps=(10, 30), seed=5, prefix="short")
    by = {clip.facts.clip_id: clip for clip in short}
    data = preference_data(words(short, truly, count=30), by, 0.0)
    assert sorted(set(data.lengths.tolist())) == [10, 30]
    assert data.mask.sum() == data.lengths.sum() == len(data.rows()[0])


def test_two_sets_with_one_name_for_different_clips_are_refused(tmp_path: Path):
    write_clip_set(tmp_path / "a", make_clips(2, seed=1), [])
    write_clip_set(tmp_path / "b", make_clips(2, seed=2), [])
    with pytest.raises(UserError, match="two clips called"):
        read_clips([tmp_path / "a", tmp_path / "b"])


def test_the_report_shows_the_reward_against_the_truth(clips, tmp_path: Path):
    report = write_reward_report(learned(clips, truly, QUICK.replace(steps=40)), clips, tmp_path, {"ann": 1.0})
    assert report.truth is not None and report.deviation > 0.5
    assert {file.name for file in tmp_path.iterdir()} == {REPORT_FILE, TRUTH_PLOT, "loss.png"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 21),
        ("batch_pairs", 8),
        ("learning_rate", 1e-4),
        ("weight_decay", 30.0),
        ("reward_penalty", 1.0),
        ("answer_noise", 0.6),
        ("clip", 0.05),
        ("worth", "mean"),
        ("bootstrap", True),
        ("validation_share", 0.5),
        ("seed", 1),
        ("model", {"hidden": [8]}),
        ("model", {"activation": "tanh"}),
        ("model", {"members": 2}),
        ("model", {"shape": "concave"}),
        ("model", {"use_actions": False}),
        ("model", {"observed": [0, 1]}),
        ("model", {"differences": [[17, 14]]}),
    ],
)
def test_every_field_changes_what_is_learned(clips, field, value):
    plain = RewardTrainConfig(steps=20, model=RewardModelConfig(members=3))
    changed = plain.replace(**{field: {**plain.model.model_dump(), **value} if field == "model" else value})

    def said(config):
        return learned(clips, truly, config).model.rewards(clips[5].observations, clips[5].actions)

    assert not np.allclose(said(plain), said(changed), atol=1e-5)
