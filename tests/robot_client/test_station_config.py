from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import robot_client
from hitl_ops.contracts.config import load_config
from robot_client.__main__ import main
from robot_client.station_config import StationConfig

LABORATORYS_OWN = """
# Task definition
task:
  name: "lift_lid"
  description: "Lift the lid off the bowl"

# Policy configuration
policy:
  config_name: "pi0_fast_h1"
  base_checkpoint: "checkpoints/pi0_fast_h1/pretrained/999"

# Training parameters
training:
  max_epochs: 400
  save_interval: 200
  keep_period: 100
  labeling_mode: "human_labeling"
  gpu_id: 0

# Server settings
policy_server:
  host: "localhost"
  port: 8000

# Data paths
data:
  save_dir: "./h1_data_auto"
  rsync:
    enabled: true
    target: "user@P6000:~/openpi/data/training_epochs"
"""


def test_a_configuration_as_it_has_always_been_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "training_config.yaml"
    file.write_text(LABORATORYS_OWN)
    config = load_config(StationConfig, file)
    assert config.policy_server.url == "ws://localhost:8000"
    assert config.data.rsync.target == "user@P6000:~/openpi/data/training_epochs"
    assert config.training.max_epochs == 400
    assert config.control.frequency_hz == 50


def test_the_configuration_that_comes_along_is_valid() -> None:
    config = load_config(StationConfig, Path(robot_client.__file__).with_name("training_config.yaml"))
    assert config.robot.adapter == "bimanual"


def described(model: type[BaseModel]) -> list[str]:
    missing = [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            missing += described(field.annotation)
    return missing


def test_every_field_is_described() -> None:
    assert described(StationConfig) == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"control": {"chunk_step": 9}}, "unknown config key 'control.chunk_step': did you mean 'chunk_steps'?"),
        ({"task": {"name": "../x", "description": "d"}}, "config key 'task.name' is invalid"),
        ({"policy_server": {"port": 99999}}, "config key 'policy_server.port' is invalid"),
        (
            {"data": {"rsync": {"enabled": True, "target": "a:b"}, "upload": {"enabled": True, "url": "http://x"}}},
            "enable data.rsync or data.upload, not both",
        ),
        ({"data": {"upload": {"enabled": True, "url": "x"}}}, "takes data.upload.url"),
        ({"cameras": [{"name": "a"}, {"name": "a"}]}, "two cameras share a name"),
        ({"robot": {"adapter": "nobody"}}, "robot adapter 'nobody' is unknown"),
        ({"robot": {"adapter": "nobody:here"}}, "robot adapter 'nobody:here' cannot be loaded"),
        ({"robot": {"adapter": "math:sqrt"}}, "robot adapter 'math:sqrt' failed (TypeError: must be real number"),
        ({"robot": {"adapter": "replay", "options": {"episode": "x", "lockstap": 1}}}, "did you mean 'lockstep'?"),
        ({"robot": {"adapter": "replay", "options": {"episode": "gone.hdf5"}}}, "episode 'gone.hdf5' does not exist"),
        ({"data": {"upload": {"enabled": True, "url": "http://x"}}}, "FLYWHEEL_UPLOAD_TOKEN is empty"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], wrong: str
) -> None:
    values = {
        "task": {"name": "lift_lid", "description": "Lift the lid off the bowl"},
        "data": {"save_dir": str(tmp_path / "data")},
        **change,
    }
    file = tmp_path / "training_config.yaml"
    file.write_text(yaml.safe_dump(values))
    assert main(["--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert wrong in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", ["task: [", "- a list", "\x00"])
def test_malformed_yaml_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    file = tmp_path / "training_config.yaml"
    file.write_text(content)
    assert main(["--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: config file")
    assert said.count("\n") == 1
