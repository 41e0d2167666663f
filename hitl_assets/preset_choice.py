"""The scale a run works at: chosen once in its run config, the same for every asset of the run."""

import os
from typing import Self

import dagster as dg
from pydantic import Field

from hitl_assets.mistakes import mistakes_named
from hitl_assets.presets import PRESETS, PlannerPreset, PresetName, chosen_preset, collection_target
from hitl_ops.contracts.errors import UserError


class PresetChoice(dg.ConfigurableResource):
    """Names a preset and lays single values over it.

    In the launchpad::

        resources:
          preset:
            config:
              name: laptop
              overrides: [training.config.epochs=5, checks.gate_severity=ERROR]
    """

    name: PresetName = Field(
        default="laptop",
        description="laptop: 2 cores, no GPU, minutes; paper: PARTNR's own scale; tiny_ci: seconds, learns nothing",
    )
    overrides: list[str] = Field(
        default=[], description="`section.key=value` laid over the preset; an unknown key is an error"
    )

    @classmethod
    def from_environment(cls) -> Self:
        """What a run works at that is told nothing: the variables ``FLYWHEEL_…`` named here.

        Runs that nobody starts by hand, a sensor's above all, have no other way to be told. ``FLYWHEEL_PRESET`` names
        the preset, ``FLYWHEEL_COLLECTION_TARGET`` the plays an iteration is to have, and ``FLYWHEEL_OVERRIDES``
        whatever else is to be laid over the preset, ``section.key=value`` between blanks.

        Raises:
            UserError: a variable holds something else.
        """
        wanted = os.environ.get("FLYWHEEL_PRESET", "").strip() or "laptop"
        name = next((known for known in PRESETS if known == wanted), None)
        if name is None:
            raise UserError(f"FLYWHEEL_PRESET '{wanted}' is unknown", f"choose one of {', '.join(PRESETS)}")
        target = collection_target()
        overrides = [] if target is None else [f"collection.target={target}", f"collection.step={target}"]
        overrides += os.environ.get("FLYWHEEL_OVERRIDES", "").split()
        try:
            chosen_preset(name, overrides)
        except UserError as error:
            raise UserError(f"FLYWHEEL_OVERRIDES: {error.what}", error.remedy) from None
        return cls(name=name, overrides=overrides)

    def resolve(self) -> PlannerPreset:
        """The configuration.

        Raises:
            dagster.Failure: an override is malformed, or its key or value is not accepted.
        """
        with mistakes_named():
            return chosen_preset(self.name, self.overrides)
