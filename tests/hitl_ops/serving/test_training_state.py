"""The exported state: what scripts of other pipelines read of the station's loop."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from hitl_ops.contracts.publish import publish_text
from hitl_ops.contracts.store import Store
from hitl_ops.serving.training_state import TaskNames, export_again, export_training_state, training_state_file
from tests.support.robot_policies import write_hold_policy

NAMES = TaskNames("lift_lid", "Lift the lid off the bowl", "act_bimanual")
# As the documents of the pipeline it is for have it.
FIELDS = [
    "task_name",
    "task_description",
    "config_name",
    "epoch",
    "last_checkpoint",
    "base_checkpoint",
    "status",
    "updated_at",
]


def test_says_which_epoch_is_open_and_where_weights_lie(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    file = export_training_state(store, NAMES, last=5)
    assert file == tmp_path / "station" / "training_state_lift_lid.json"
    said = json.loads(file.read_text())
    assert list(said) == FIELDS
    # Nobody collects for iteration 0: its policy comes of demonstrations.
    assert (said["epoch"], said["status"], said["last_checkpoint"], said["base_checkpoint"]) == (0, "training", "", "")
    assert datetime.datetime.fromisoformat(said["updated_at"]).tzinfo is not None

    write_hold_policy(store.iteration("station", 0).policy)
    store.iteration("station", 1).base.mkdir(parents=True)
    said = json.loads(export_training_state(store, NAMES, last=5).read_text())
    assert (said["epoch"], said["status"]) == (1, "collecting_data")
    assert said["base_checkpoint"] == str(store.iteration("station", 0).policy / "merged")
    assert json.loads(export_training_state(store, NAMES, training=True).read_text())["status"] == "training"


def test_what_others_wrote_is_left_alone(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    store.iteration("station", 2).base.mkdir(parents=True)
    ours = export_training_state(store, NAMES)
    theirs = training_state_file(store, "pour")
    publish_text(theirs, '{"epoch": 7}')
    store.iteration("station", 3).base.mkdir(parents=True)
    export_again(store)
    assert json.loads(ours.read_text())["epoch"] == 3
    assert theirs.read_text() == '{"epoch": 7}'
