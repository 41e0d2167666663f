"""Policies that answer with chunks of actions, made by LeRobot: which kinds there are, and how one is built and kept.

What a person said of an episode reaches a policy in one of two ways. One that reads language is told by its prompt,
``"<task>, Advantage=True"``. One that does not (ACT) is told by a number behind the state of its surroundings: 1 for
good, -1 for bad, 0 where nobody said anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hitl_ops.contracts.advantage_prompt import PromptStyle
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.robot import CameraSpec, RobotSpec
from hitl_ops.records.lerobot_layout import ACTION, ENVIRONMENT, IMAGES, STATE, DatasetInfo, Feature, read_json

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "robot.json"
"""Beside LeRobot's files: what a server has to know of the policy that LeRobot does not keep."""

PolicyKind = Literal["act", "smolvla", "pi0", "pi0_fast", "pi05"]
AdvantageInput = Literal["environment_state", "prompt", "none"]
_LOOKED_AT = 20
_MOSTLY = 0.9
_READS_LANGUAGE = ("smolvla", "pi0", "pi0_fast", "pi05")
_REMEDY = "train it again, or restore it"


class ActionModelConfig(StrictConfig):
    """Which policy is trained, and from what."""

    kind: PolicyKind = Field(default="act", description="LeRobot's name of the policy")
    pretrained: str = Field(
        default="", description="Hugging Face id or folder whose weights it starts from; empty: from scratch"
    )
    chunk: int = Field(default=50, ge=1, le=1000, description="actions of one reply")
    advantage: AdvantageInput = Field(
        default="environment_state",
        description="how what people said reaches the policy: as a number behind the state of its surroundings, in "
        "its prompt, or not at all",
    )
    cameras: tuple[str, ...] | None = Field(
        default=None, description="cameras it sees, by their names in the data set; unset: all, [] none"
    )
    guidance: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="how far a served policy is led by what it is told: 1 acts as told, above it goes on in the "
        "direction from the untold to the told action (classifier-free guidance); needs indicator_dropout",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="further fields of LeRobot's own configuration of this kind, by their names"
    )
    least_deviation: float = Field(
        default=1e-2,
        gt=0,
        description="deviation below which an input or action is not scaled up: a joint that hardly moves would "
        "otherwise be all noise",
    )

    @model_validator(mode="after")
    def _it_can_hear_it(self) -> Self:
        if self.advantage == "prompt" and self.kind not in _READS_LANGUAGE:
            raise ValueError(f"{self.kind} reads no prompt; set advantage=environment_state or none")
        if self.advantage == "environment_state" and self.kind in _READS_LANGUAGE:
            raise ValueError(f"{self.kind} reads prompts; set advantage=prompt or none")
        return self


class PolicyFacts(BaseModel):
    """What a server has to know of a policy beyond LeRobot's own files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: RobotSpec = Field(description="the robot it is for")
    task: str = Field(description="the task it was trained for, without an advantage")
    advantage: AdvantageInput = Field(description="how it is told to act well")
    style: PromptStyle = Field(default=PromptStyle(), description="the words it was told in, and is asked with")
    guidance: float = Field(default=1.0, description="how far it is led by what it is told; 1: as trained")
    base: str = Field(default="", description="what it was first trained from, as the configuration names it")


@dataclass(frozen=True)
class ActionModel:
    """A policy with what goes before and after it.

    Attributes:
        policy: LeRobot's.
        before: LeRobot's pipeline that normalises a batch, and tokenises its prompts.
        after: LeRobot's pipeline that turns its output into joint targets.
        facts: what else a server has to know.
    """

    policy: Any
    before: Any
    after: Any
    facts: PolicyFacts


def build_action_model(
    config: ActionModelConfig,
    info: DatasetInfo,
    stats: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    task: str,
    *,
    device: str,
    seed: int,
    style: PromptStyle | None = None,
) -> ActionModel:
    """Make a policy for a data set's robot.

    Args:
        config: which.
        info: the data set's features.
        stats: feature → statistic → values, as LeRobot keeps them.
        task: what the policy is for.
        device: where it runs, ``cpu`` or ``cuda``.
        seed: of weights that are not pretrained.
        style: the words in which it is told how well to act; by default those of verdicts.

    Raises:
        UserError: LeRobot does not know an option, a library is missing, the pretrained weights cannot be had, or the
            data set lacks what this kind of policy needs.
    """
    import torch

    spec = robot_of(info, config.chunk)
    if config.kind in _READS_LANGUAGE:
        spec = spec.replace(environment_state_names=())  # they have no place for it: nobody is to send any
    facts = PolicyFacts(
        spec=spec,
        task=task,
        advantage=config.advantage,
        style=style or PromptStyle(),
        guidance=config.guidance,
        base=config.pretrained or config.kind,
    )
    made = lerobot_config(config, info, device)
    with quiet_lerobot():
        before, after = _pipelines(made, _tensors(stats, made, config))  # a tokenizer is missed sooner than a model
    with torch.random.fork_rng(devices=[]), quiet_lerobot():
        torch.manual_seed(seed)
        try:
            made.validate_features()
            kind = policy_class(config.kind)
            policy = pretrained_policy(kind, config.pretrained, made) if config.pretrained else kind(made)
        except ImportError as error:
            raise UserError(f"policy '{config.kind}' needs a library ({error})", "install the 'vla' extra") from None
        except (ValueError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"policy '{config.kind}' cannot be made ({reason})", "check model.options") from None
    if config.kind == "act" and config.advantage == "environment_state" and not config.pretrained:
        # The indicator begins without effect: who is never told anything must not act on what it is asked with.
        with torch.no_grad():
            policy.model.encoder_env_state_input_proj.weight[:, -1] = 0
    return ActionModel(policy.to(device), before, after, facts)


def save_action_model(model: ActionModel, folder: Path) -> None:
    """Write a policy as LeRobot does, and what else a server has to know beside it; the caller publishes ``folder``."""
    with quiet_lerobot():
        model.policy.save_pretrained(folder)
        model.before.save_pretrained(folder)
        model.after.save_pretrained(folder)
    publish_json(folder / FACTS_FILE, model.facts)


def load_action_model(folder: Path, *, device: str) -> ActionModel:
    """Open what :func:`save_action_model` wrote.

    Args:
        folder: holds LeRobot's files.
        device: where it is to run.

    Raises:
        UserError: the folder holds no policy, or a damaged one.
    """
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.factory import make_pre_post_processors
    from safetensors.torch import load_model

    facts = read_policy_facts(folder)
    kind = read_json(folder / "config.json").get("type")
    with quiet_lerobot():
        try:
            config = PreTrainedConfig.from_pretrained(folder)
            config.device = device
            # Not by from_pretrained: some of LeRobot's policies go on with random weights where these cannot be read.
            policy = policy_class(str(kind))(config)
            load_model(policy, folder / WEIGHTS_FILE, strict=True, device=device)
            before, after = make_pre_post_processors(
                config, str(folder), preprocessor_overrides={"device_processor": {"device": device}}
            )
        except Exception as error:  # draccus, safetensors and torch each have their own
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"policy '{folder}' is damaged ({reason})", _REMEDY) from None
    return ActionModel(policy.to(device).eval(), before, after, facts)


def robot_of(info: DatasetInfo, horizon: int) -> RobotSpec:
    """The robot whose recordings a data set holds.

    Args:
        info: the data set's features.
        horizon: actions in one reply of the policy.

    Raises:
        UserError: it has no state or no actions, they differ in length, or its pictures are no videos.
    """
    for key, feature in info.features.items():
        if feature.dtype == "image":
            raise UserError(f"'{key}' of the data set is kept as single pictures", "convert it to videos first")
    for key in (STATE, ACTION):
        if key not in info.features:
            raise UserError(f"the data set has no '{key}'", "convert recordings with joint positions and actions")
    joints = _names(info, ACTION)
    if info.features[STATE].shape != info.features[ACTION].shape:
        raise UserError(
            f"the data set's state has shape {info.features[STATE].shape}, its actions {info.features[ACTION].shape}",
            "record absolute joint targets, one for each joint",
        )
    return RobotSpec(
        name=info.robot_type or f"robot of {len(joints)} joints",
        joint_names=joints,
        cameras=tuple(_camera(key, info.features[key]) for key in info.video_keys),
        frequency_hz=info.fps,
        action_horizon=horizon,
        gripper_indices=tuple(index for index, name in enumerate(joints) if "gripper" in name),
        environment_state_names=_names(info, ENVIRONMENT) if ENVIRONMENT in info.features else (),
    )


def _camera(key: str, feature: Feature) -> CameraSpec:
    """A camera; data sets name height, width and channels in either order."""
    names = list(feature.names or ())
    height, width = feature.shape[1:] if names[:1] in (["channels"], ["channel"]) else feature.shape[:2]
    return CameraSpec(name=key.removeprefix(IMAGES), height=height, width=width)


def _names(info: DatasetInfo, key: str) -> tuple[str, ...]:
    feature = info.features[key]
    names = feature.names
    if isinstance(names, dict):  # {"motors": [...]}, as some data sets have it
        names = next(iter(names.values()), None)
    if isinstance(names, list | tuple) and len(names) == feature.shape[0]:
        return tuple(str(name) for name in names)
    return tuple(f"{key.rpartition('.')[2]}_{number}" for number in range(feature.shape[0]))


@contextlib.contextmanager
def quiet_lerobot() -> Iterator[None]:
    """LeRobot prints and logs what it loads; nobody asked."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def pretrained_policy(kind: Any, name: str, made: Any) -> Any:
    """A policy with published weights; LeRobot's own loader says nothing where it could not read them.

    Raises:
        UserError: they cannot be had, or are not this policy's.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from safetensors import SafetensorError, safe_open

    remedy = "check model.pretrained, the network, and whether you are logged in to the hub"
    try:
        file = Path(name) / WEIGHTS_FILE if Path(name).is_dir() else Path(hf_hub_download(name, WEIGHTS_FILE))
        with safe_open(file, framework="pt") as opened:
            policy = kind.from_pretrained(name, config=made)
            state = policy.state_dict()
            found = [(key, own) for key in opened.keys() for own in (key, f"model.{key}") if own in state]  # noqa: SIM118  # an open file is no mapping
            same = [
                own for key, own in found[:: max(1, len(found) // _LOOKED_AT)]
                if opened.get_tensor(key).to(state[own].dtype).equal(state[own].cpu())
            ]  # fmt: skip
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, SafetensorError, OSError) as error:
        raise UserError(f"the weights '{name}' cannot be had ({' '.join(str(error).split())[:200]})", remedy) from None
    # A head of another size is made anew; what is not nearly all there is another policy.
    if len(found) < _MOSTLY * len(state) or not same:
        raise UserError(f"the weights '{name}' are not of such a policy ({len(found)} of {len(state)} fit)", remedy)
    return policy


def policy_class(kind: str) -> Any:
    """LeRobot's class of a kind of policy."""
    from lerobot.policies.factory import get_policy_class

    if kind.startswith("pi"):
        _agree_about_masks()
    return get_policy_class(kind)


def _agree_about_masks() -> None:
    """Let LeRobot's pi policies ask newer transformers for their masks.

    LeRobot 0.6 is written for transformers below 5.6 and also hands over where in the cache it is; later ones take no
    such word and read it off the cache itself.
    """
    from lerobot.policies import pi_gemma

    mask = pi_gemma.create_causal_mask
    if mask is None or "cache_position" in inspect.signature(mask).parameters:
        return

    # Named in the signature, so that nobody wraps it a second time.
    def without_position(*arguments: Any, cache_position: Any = None, **named: Any) -> Any:
        return mask(*arguments, **named)

    pi_gemma.create_causal_mask = without_position


def lerobot_config(config: ActionModelConfig, info: DatasetInfo, device: str) -> Any:
    """LeRobot's configuration of the policy.

    Raises:
        UserError: an option is unknown to LeRobot, or decided elsewhere, or out of range.
    """
    from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.factory import make_policy_config

    inputs = {STATE: PolicyFeature(type=FeatureType.STATE, shape=info.features[STATE].shape)}
    around = info.features[ENVIRONMENT].shape[0] if ENVIRONMENT in info.features else 0
    around += config.advantage == "environment_state"
    if around and config.kind not in _READS_LANGUAGE:
        inputs[ENVIRONMENT] = PolicyFeature(type=FeatureType.ENV, shape=(around,))
    for key in info.video_keys:
        camera = _camera(key, info.features[key])
        inputs[key] = PolicyFeature(type=FeatureType.VISUAL, shape=(3, camera.height, camera.width))
    output = {ACTION: PolicyFeature(type=FeatureType.ACTION, shape=info.features[ACTION].shape)}
    ours: dict[str, Any] = {
        "input_features": inputs,
        "output_features": output,
        "chunk_size": config.chunk,
        "n_action_steps": config.chunk,
        "device": device,
        "push_to_hub": False,
    }
    with quiet_lerobot():
        known = {field.name for field in dataclasses.fields(make_policy_config(config.kind))}
    for name in config.options:
        if name in ours or name not in known:
            taken = "is decided elsewhere" if name in ours else f"is unknown to LeRobot's {config.kind}"
            raise UserError(f"model.options: '{name}' {taken}", f"it knows {', '.join(sorted(known - set(ours)))}")
    if config.kind == "act":
        # LeRobot's ACT leaves the state of the surroundings as it is: metres beside normalised radians.
        scaled = NormalizationMode.MEAN_STD
        ours["normalization_mapping"] = dict.fromkeys(("VISUAL", "STATE", "ACTION", "ENV"), scaled)
        # Weights of the picture encoder come from a hub; who has them at hand says so.
        ours["pretrained_backbone_weights"] = None
    with quiet_lerobot():
        try:
            return make_policy_config(config.kind, **{**ours, **config.options})
        except (ValueError, TypeError, NotImplementedError) as error:
            raise UserError(f"model.options: {' '.join(str(error).split())}", "see LeRobot's documentation") from None


def _pipelines(config: Any, stats: dict[str, dict[str, torch.Tensor]]) -> tuple[Any, Any]:
    from lerobot.policies.factory import make_pre_post_processors

    try:
        return make_pre_post_processors(config, dataset_stats=stats)
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the tokenizer of '{config.type}' cannot be had ({reason})", "log in to the hub") from None


def _tensors(
    stats: Mapping[str, Mapping[str, npt.NDArray[Any]]], made: Any, config: ActionModelConfig
) -> dict[str, dict[str, torch.Tensor]]:
    """Statistics as the policy's pipelines take them: no deviation too small, and the indicator left as it is."""
    import torch

    told: dict[str, dict[str, torch.Tensor]] = {}
    for key in (*made.input_features, *made.output_features):
        one = {name: np.asarray(value, np.float64) for name, value in stats.get(key, {}).items() if name != "count"}
        if key == ENVIRONMENT and config.advantage == "environment_state":
            neutral = {"mean": 0.0, "std": 1.0, "min": -1.0, "max": 1.0}
            one = {name: np.append(one.get(name, np.empty(0)), value) for name, value in neutral.items()}
        if "std" in one and not key.startswith(IMAGES):
            one["std"] = np.maximum(one["std"], config.least_deviation)
        told[key] = {name: torch.from_numpy(value.astype(np.float32)) for name, value in one.items()}
    return told


def read_policy_facts(folder: Path) -> PolicyFacts:
    """What is known of the policy in a folder beyond LeRobot's own files.

    Raises:
        UserError: the folder holds no policy, or a damaged one.
    """
    file = folder / FACTS_FILE
    try:
        return PolicyFacts.model_validate(json.loads(file.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"policy file '{file}' does not exist", "name a folder that a training wrote") from None
    except (OSError, ValueError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(f"policy file '{file}' is damaged ({reason})", _REMEDY) from None
