"""What a station is told: ``training_config.yaml``. Unknown keys are errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import CameraSpec
from hitl_ops.contracts.station_epoch import NAME


class TaskSection(StrictConfig):
    """What the robot is to do."""

    name: str = Field(pattern=NAME, description="Short name; folders carry it, such as lift_lid.")
    description: str = Field(min_length=1, max_length=500, description="The task in words, as policies are asked.")


class PolicySection(StrictConfig):
    """Which policy is trained; the station only notes it."""

    config_name: str = Field(default="", description="Name of the training configuration, such as pi0_fast_h1.")
    base_checkpoint: str = Field(default="", description="Checkpoint that epoch 0 starts from.")


class TrainingSection(StrictConfig):
    """How the server trains between epochs; the station needs the number of epochs and how labels are given."""

    max_epochs: int = Field(default=400, ge=1, description="Epochs in all; after the last one the session is over.")
    save_interval: int = Field(default=200, ge=1, description="Training steps between checkpoints.")
    keep_period: int = Field(default=100, ge=1, description="Checkpoints of every so many steps are kept.")
    labeling_mode: Literal["human_labeling", "later"] = Field(
        default="human_labeling", description="Who judges an episode: a person at the station, or somebody later."
    )
    gpu_id: int = Field(default=0, ge=-1, description="GPU that trains; -1 for none.")


class PolicyServerSection(StrictConfig):
    """Where the policy answers, and how long it may take."""

    host: str = Field(default="localhost", min_length=1, description="Its address, or a ws:// or wss:// URL.")
    port: int = Field(default=8000, ge=1, le=65_535, description="Its port; a URL carries its own.")
    api_key_env: str = Field(default="FLYWHEEL_POLICY_KEY", description="Environment variable that holds the API key.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    reply_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for actions.")
    poll_interval_s: float = Field(default=2.0, gt=0, description="Seconds between looks for a new policy.")

    @property
    def url(self) -> str:
        """Where to connect."""
        if self.host.startswith(("ws://", "wss://")):
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}"

    @property
    def api_key(self) -> str:
        """The key to send; empty for none."""
        return os.environ.get(self.api_key_env, "") if self.api_key_env else ""


class RsyncSection(StrictConfig):
    """Sending episodes by rsync over SSH."""

    enabled: bool = Field(default=False, description="Send episodes this way.")
    target: str = Field(default="", description="Where to, such as user@server:~/flywheel/data/station/incoming.")
    timeout_s: int = Field(default=60, ge=1, description="Seconds without a byte after which the transfer has failed.")


class UploadSection(StrictConfig):
    """Sending episodes by HTTP."""

    enabled: bool = Field(default=False, description="Send episodes this way.")
    url: str = Field(default="", description="The server, such as https://server:8443.")
    token_env: str = Field(
        default="FLYWHEEL_UPLOAD_TOKEN", description="Environment variable that holds the upload token."
    )
    chunk_mb: float = Field(default=2.0, gt=0, le=8, description="Megabytes sent at once; each is safe once answered.")
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for an answer.")

    @property
    def token(self) -> str:
        """The token to send; empty for none."""
        return os.environ.get(self.token_env, "") if self.token_env else ""


class DataSection(StrictConfig):
    """Where episodes are kept, and how they reach the server."""

    save_dir: Path = Field(default=Path("./h1_data_auto"), description="Folder of all recordings at the station.")
    station: str = Field(
        default="", pattern=rf"^$|{NAME}", description="Name of this station; needed where several collect at once."
    )
    jpeg_quality: int = Field(default=90, ge=1, le=95, description="Quality of the recorded pictures.")
    rsync: RsyncSection = Field(default_factory=RsyncSection, description="By rsync over SSH.")
    upload: UploadSection = Field(default_factory=UploadSection, description="By HTTP.")
    retry_s: float = Field(default=10.0, gt=0, description="Seconds until a sync that failed is tried again.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.rsync.enabled and self.upload.enabled:
            raise ValueError("enable data.rsync or data.upload, not both")
        if self.rsync.enabled and not self.rsync.target:
            raise ValueError("data.rsync.enabled takes data.rsync.target")
        if self.upload.enabled and not self.upload.url.startswith(("http://", "https://")):
            raise ValueError("data.upload.enabled takes data.upload.url, http:// or https://")
        return self


class RobotSection(StrictConfig):
    """Which robot is driven."""

    adapter: str = Field(
        default="bimanual",
        min_length=1,
        description="bimanual, aloha, replay, unitree_h1, lerobot, or one's own as package.module:function.",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="What this adapter takes; see its options.")
    seed: int = Field(default=0, ge=0, le=2**31, description="Where a simulated world's scenes begin.")


class ControlSection(StrictConfig):
    """How actions are carried out."""

    frequency_hz: float = Field(default=50.0, gt=0, le=1000, description="Actions a second.")
    chunk_steps: int = Field(default=25, ge=1, description="Actions of a chunk carried out before the next is asked.")
    blend_steps: int = Field(
        default=25, ge=0, description="Actions over which an old chunk fades into the new one; 0 switches at once."
    )
    lost_after_s: float = Field(
        default=3.0, ge=0, description="Seconds the robot holds for a lost server before the episode is given up."
    )
    camera_timeout_s: float = Field(default=0.5, gt=0, description="Age of a picture at which its camera is dead.")
    largest_step: float | None = Field(
        default=None, gt=0, description="Largest change of a joint's target in one action; more ends the episode."
    )
    longest_episode_s: float = Field(default=600.0, gt=0, description="Seconds after which an episode is stopped.")


class StationConfig(StrictConfig):
    """A station's whole configuration."""

    task: TaskSection = Field(description="What the robot is to do.")
    policy: PolicySection = Field(default_factory=PolicySection, description="Which policy is trained.")
    training: TrainingSection = Field(default_factory=TrainingSection, description="How the server trains.")
    policy_server: PolicyServerSection = Field(
        default_factory=PolicyServerSection, description="Where the policy answers."
    )
    data: DataSection = Field(default_factory=DataSection, description="Where episodes are kept and sent.")
    robot: RobotSection = Field(default_factory=RobotSection, description="Which robot is driven.")
    cameras: tuple[CameraSpec, ...] = Field(default=(), description="Cameras recorded and sent; none: states only.")
    control: ControlSection = Field(default_factory=ControlSection, description="How actions are carried out.")

    @model_validator(mode="after")
    def _cameras_differ(self) -> Self:
        if len({camera.name for camera in self.cameras}) != len(self.cameras):
            raise ValueError("two cameras share a name")
        return self

    def checked(self) -> Self:
        """The configuration, if what it names outside itself is there.

        Raises:
            UserError: an upload without its token.
        """
        if self.data.upload.enabled and not self.data.upload.token:
            raise UserError(
                f"environment variable {self.data.upload.token_env} is empty", "put the server's upload token in it"
            )
        return self
