"""``flywheel habitat-worker``: whether a scene can be played in habitat-sim on this machine, question by question."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import SetOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hitl_ops.worlds.habitat.config import HabitatConfig
    from hitl_ops.worlds.habitat.trial import Step


def habitat_worker(
    python: Annotated[
        str | None,
        typer.Option(
            help="Interpreter of the environment that has habitat-sim. [default: what FLYWHEEL_HABITAT_PYTHON names]"
        ),
    ] = None,
    gpu: Annotated[int | None, typer.Option(min=-1, help="Graphics card to draw on; -1: none. [default: -1]")] = None,
    scene_dataset: Annotated[
        Path | None, typer.Option(help="Scene data set (*.scene_dataset_config.json). [default: none, a home of ours]")
    ] = None,
    scene_id: Annotated[
        str, typer.Option(help="Scene to open. [default: the data set's first, or flywheel_val_000]")
    ] = "",
    picture: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Keep the RGB picture.")] = None,
    width: Annotated[int, typer.Option(min=8, max=4096, help="Pixels of the pictures.")] = 320,
    height: Annotated[int, typer.Option(min=8, max=4096, help="Pixels of the pictures.")] = 240,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    file: Annotated[
        bool, typer.Option("--file", help="Only print the path of the worker's one file, to copy it elsewhere.")
    ] = False,
) -> None:
    """Start habitat-sim's worker and ask it one question of each sort.

    A line for each that works, with its time; the first that does not is told with what to do about it. `--set` takes
    what other verbs take for a scene, such as `--set scene.habitat.start_within_s=300`.
    """
    if file:
        from hitl_ops.worlds.habitat import worker

        print(worker.__file__)
        return
    from contextlib import closing

    from hitl_ops.worlds.habitat.trial import try_worker

    if picture is not None:
        _check_name(picture)
    config = _config(python, gpu, scene_dataset, overrides)
    drawn: NDArray[np.uint8] | None = None
    with closing(try_worker(config, scene_id, width, height)) as steps:
        for step in steps:
            print(f"{step.name:8}  {_time(step):>7}  {step.said}", flush=True)
            if step.name == "rgb":
                drawn = step.picture
    if picture is not None:
        _keep(picture, drawn)


def _config(python: str | None, gpu: int | None, scene_dataset: Path | None, overrides: list[str]) -> HabitatConfig:
    """The configuration's values, options over them.

    Raises:
        UserError: one of them is not accepted, or no interpreter is named anywhere.
    """
    import os

    from flywheel.machine_checks import HABITAT_GUIDE
    from hitl_ops.contracts.config import apply_overrides
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.worlds.habitat.config import PYTHON_VARIABLE
    from hitl_ops.worlds.habitat.trial import TrialConfig

    config = apply_overrides(TrialConfig(), overrides).scene.habitat
    given = {"python": python, "gpu": gpu, "scene_dataset": None if scene_dataset is None else str(scene_dataset)}
    config = config.replace(**{name: value for name, value in given.items() if value is not None})
    if not config.python and config.backend == "habitat" and not os.environ.get(PYTHON_VARIABLE):
        raise UserError(
            "no interpreter with habitat-sim is named",
            f"name it by --python, or set {PYTHON_VARIABLE}; how to get habitat-sim: {HABITAT_GUIDE}",
        )
    return config


def _check_name(picture: Path) -> None:
    from hitl_ops.contracts.errors import UserError

    if picture.suffix.lower() != ".png":
        raise UserError(f"--picture '{picture}' is no name of a PNG file", "let it end in .png")


def _keep(path: Path, drawn: NDArray[np.uint8] | None) -> None:
    from PIL import Image

    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.publish import publishing

    if drawn is None:
        raise UserError(f"there is no RGB picture to keep as '{path}'", "this worker draws none; leave --picture out")
    with publishing(path) as temporary:
        Image.fromarray(drawn).save(temporary, format="PNG")
    print(path)


def _time(step: Step) -> str:
    if step.seconds is None:
        return "–"
    return f"{step.seconds:.1f} s" if step.seconds >= 1 else f"{step.seconds * 1000:.0f} ms"
