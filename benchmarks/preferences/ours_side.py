"""Our loop in one process, without its gate: clips, comparisons, reward, policy; the next clips are that one's.

``python -m benchmarks.preferences.ours_side --settings JSON --out FILE``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.preferences.journal import Journal
from hitl_assets.preference_presets import PreferencePreset
from hitl_ops.contracts.preference import PreferenceValue
from hitl_ops.experts.scripted_comparer import ScriptedComparer
from hitl_ops.labels.preferences import Preference
from hitl_ops.models.reach_policy import WEIGHTS_FOLDER, load_reach_policy
from hitl_ops.models.reward_model import RewardEnsemble, save_reward
from hitl_ops.records.clips import Clip
from hitl_ops.rollouts.reach_clips import ReachActing, ReachClipConfig, UntaughtReach, reach_clips
from hitl_ops.samples.clip_queries import choose_pairs, clip_worth
from hitl_ops.training.ppo import train_ppo
from hitl_ops.training.reward import train_reward
from hitl_ops.training.reward_data import preference_data


def seeded(preset: PreferencePreset, seed: int) -> PreferencePreset:
    """The same settings with other dice throughout; the examination's targets stay."""
    return preset.replace(
        clips=preset.clips.replace(seed=seed),
        queries=preset.queries.replace(seed=seed),
        annotator=preset.annotator.replace(seed=seed),
        reward=preset.reward.replace(seed=seed),
        ppo=preset.ppo.replace(seed=seed),
    )


def comparisons_of(preset: PreferencePreset) -> int:
    """Comparisons of a whole loop."""
    return sum(preset.pairs_of(iteration) for iteration in range(preset.loop.iterations + 1))


def steps_of(preset: PreferencePreset) -> int:
    """Steps of the world in a whole loop, clips included, examinations left out."""
    trained = preset.ppo.rollouts * preset.ppo.rollout_size
    return (preset.loop.iterations + 1) * (trained + _clip_steps(preset.clips, preset.world.max_steps))


def _clip_steps(clips: ReachClipConfig, max_steps: int) -> int:
    tries = clips.episodes * clips.attempts
    arms = min(clips.arms, tries)
    return -(-tries // arms) * arms * max_steps


def run(preset: PreferencePreset, out: Path) -> None:
    """The whole loop; an examination after every iteration goes into the file."""
    torch.set_num_threads(1)
    person = ScriptedComparer(preset.annotator.comparer, preset.annotator.people[0])
    words: list[Preference] = []
    clips: dict[str, Clip] = {}
    reward: RewardEnsemble | None = None
    actor: ReachActing = UntaughtReach()
    weights: Path | None = None
    steps = 0
    with Journal(out, preset) as journal, tempfile.TemporaryDirectory(prefix="flywheel-preferences-") as place:
        for iteration in range(preset.loop.iterations + 1):
            key = f"{iteration:03d}"
            made = preset.clips_of(iteration)
            cut = reach_clips(actor, preset.world, made, f"c{key}")
            steps += _clip_steps(made, preset.world.max_steps)
            clips |= {clip.facts.clip_id: clip for clip in cut}
            asked = choose_pairs(
                cut, preset.queries_of(iteration), f"q{key}", None if reward is None else clip_worth(reward)
            )
            for pair in asked:
                left, right = clips[pair.left], clips[pair.right]
                said = PreferenceValue(
                    pair_id=pair.pair_id,
                    left=pair.left,
                    right=pair.right,
                    left_hash=left.facts.content_hash,
                    right_hash=right.facts.content_hash,
                    choice=person.answer(pair.pair_id, left, right),
                )
                words.append(
                    Preference(len(words) + 1, "preference", iteration, person.name, said, person.config.seconds)
                )
            data = preference_data(words, clips, preset.reward.validation_share)
            learned = train_reward(data, preset.reward)
            reward = learned.model
            folder = Path(place) / key
            save_reward(reward, folder / "reward")
            training = preset.training_of(iteration)
            summary = train_ppo(
                training.ppo,
                training.world,
                folder / "policy",
                reward=folder / "reward",
                start=weights if preset.loop.warm_start else None,
            )
            steps += summary.steps
            weights = folder / "policy" / WEIGHTS_FOLDER
            actor = load_reach_policy(weights)
            success = journal.examine(actor, preset.world, preset.evaluation, len(words), steps)
            print(f"{len(words)} comparisons: {success:.0%}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    run(PreferencePreset.model_validate_json(options.settings), options.out)
