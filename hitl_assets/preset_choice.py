"""The scale a run works at: chosen once in its run config, the same for every asset of the run."""

import dagster as dg
from pydantic import Field

from hitl_assets.mistakes import mistakes_named
from hitl_assets.presets import PlannerPreset, PresetName, chosen_preset


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

    def resolve(self) -> PlannerPreset:
        """The configuration.

        Raises:
            dagster.Failure: an override is malformed, or its key or value is not accepted.
        """
        with mistakes_named():
            return chosen_preset(self.name, self.overrides)
