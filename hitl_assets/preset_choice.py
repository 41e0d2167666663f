"""The scale a run works at: chosen once in its run config, the same for every asset of the run."""

import os
from collections.abc import Callable, Sequence
from typing import Self

import dagster as dg
from pydantic import Field

from hitl_assets.advantage_presets import (
    ADVANTAGE_PRESETS,
    AdvantagePreset,
    AdvantagePresetName,
    chosen_advantage_preset,
)
from hitl_assets.dagger_presets import DAGGER_PRESETS, DaggerPreset, DaggerPresetName, chosen_dagger_preset
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preference_presets import (
    PREFERENCE_PRESETS,
    PreferencePreset,
    PreferencePresetName,
    chosen_preference_preset,
)
from hitl_assets.presets import PRESETS, PlannerPreset, PresetName, chosen_preset, collection_target
from hitl_assets.station_presets import (
    STATION_PRESETS,
    STATION_WORLDS,
    StationPreset,
    StationPresetName,
    chosen_station_preset,
)
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
        name = _one_of("FLYWHEEL_PRESET", tuple(PRESETS), "laptop")
        target = collection_target()
        counted = [] if target is None else [f"collection.target={target}", f"collection.step={target}"]
        overrides = _laid_over("FLYWHEEL_OVERRIDES", lambda values: chosen_preset(name, values), counted)
        return cls(name=name, overrides=overrides)

    def resolve(self) -> PlannerPreset:
        """The configuration.

        Raises:
            dagster.Failure: an override is malformed, or its key or value is not accepted.
        """
        with mistakes_named():
            return chosen_preset(self.name, self.overrides)


class StationPresetChoice(dg.ConfigurableResource):
    """The same for the station program; in the launchpad it is called ``station_preset``."""

    name: StationPresetName = Field(
        default="laptop",
        description="laptop: 2 cores, no GPU, minutes; paper: pi0-FAST at an H1-2; tiny_ci: seconds, learns nothing",
    )
    world: str = Field(default="", description="bimanual or aloha; empty: the preset's own")
    overrides: list[str] = Field(
        default=[], description="`section.key=value` laid over the preset; an unknown key is an error"
    )

    @classmethod
    def from_environment(cls) -> Self:
        """What a run works at that is told nothing.

        ``FLYWHEEL_STATION_PRESET`` names the preset, ``FLYWHEEL_STATION_WORLD`` the world, and
        ``FLYWHEEL_STATION_OVERRIDES`` what is to be laid over it, ``section.key=value`` between blanks.

        Raises:
            UserError: a variable holds something else.
        """
        name = _one_of("FLYWHEEL_STATION_PRESET", tuple(STATION_PRESETS), "laptop")
        world = _one_of("FLYWHEEL_STATION_WORLD", ("", *STATION_WORLDS), "")
        overrides = _laid_over("FLYWHEEL_STATION_OVERRIDES", lambda values: chosen_station_preset(name, values, world))
        return cls(name=name, world=world, overrides=overrides)

    def resolve(self) -> StationPreset:
        """The configuration.

        Raises:
            dagster.Failure: an override is malformed, or its key or value is not accepted.
        """
        with mistakes_named():
            return chosen_station_preset(self.name, self.overrides, self.world)


class AdvantagePresetChoice(dg.ConfigurableResource):
    """The same for the advantage program; in the launchpad it is called ``advantage_preset``."""

    name: AdvantagePresetName = Field(
        default="laptop",
        description="laptop: 2 cores, no GPU, minutes; paper: pi05 at kai0's scale; tiny_ci: seconds, learns nothing",
    )
    overrides: list[str] = Field(
        default=[], description="`section.key=value` laid over the preset; an unknown key is an error"
    )

    @classmethod
    def from_environment(cls) -> Self:
        """What a run works at that is told nothing.

        ``FLYWHEEL_ADVANTAGE_PRESET`` names the preset, ``FLYWHEEL_ADVANTAGE_OVERRIDES`` what is to be laid over it,
        ``section.key=value`` between blanks.

        Raises:
            UserError: a variable holds something else.
        """
        name = _one_of("FLYWHEEL_ADVANTAGE_PRESET", tuple(ADVANTAGE_PRESETS), "laptop")
        overrides = _laid_over("FLYWHEEL_ADVANTAGE_OVERRIDES", lambda values: chosen_advantage_preset(name, values))
        return cls(name=name, overrides=overrides)

    def resolve(self) -> AdvantagePreset:
        """The configuration.

        Raises:
            dagster.Failure: an override is malformed, or its key or value is not accepted.
        """
        with mistakes_named():
            return chosen_advantage_preset(self.name, self.overrides)


class PreferencePresetChoice(dg.ConfigurableResource):
    """The same for the preference program; in the launchpad it is called ``preference_preset``."""

    name: PreferencePresetName = Field(
        default="laptop",
        description="laptop: 2 cores, no GPU, minutes; paper: 240 Hz and whole trajectories; tiny_ci: seconds",
    )
    overrides: list[str] = Field(
        default=[], description="`section.key=value` laid over the preset; an unknown key is an error"
    )

    @classmethod
    def from_environment(cls) -> Self:
        """What a run works at that is told nothing.

        ``FLYWHEEL_PREFERENCE_PRESET`` names the preset, ``FLYWHEEL_PREFERENCE_OVERRIDES`` what is to be laid over it,
        ``section.key=value`` between blanks.

        Raises:
            UserError: a variable holds something else.
        """
        name = _one_of("FLYWHEEL_PREFERENCE_PRESET", tuple(PREFERENCE_PRESETS), "laptop")
        overrides = _laid_over("FLYWHEEL_PREFERENCE_OVERRIDES", lambda values: chosen_preference_preset(name, values))
        return cls(name=name, overrides=overrides)

    def resolve(self) -> PreferencePreset:
        """The configuration.

        Raises:
            dagster.Failure: an override is malformed, or its key or value is not accepted.
        """
        with mistakes_named():
            return chosen_preference_preset(self.name, self.overrides)


class DaggerPresetChoice(dg.ConfigurableResource):
    """The same for the dagger program; in the launchpad it is called ``dagger_preset``."""

    name: DaggerPresetName = Field(
        default="laptop",
        description="laptop: 2 cores, no GPU, minutes; paper: InstructBLIP-Vicuna-7B in ALFWorld; tiny_ci: seconds",
    )
    overrides: list[str] = Field(
        default=[], description="`section.key=value` laid over the preset; an unknown key is an error"
    )

    @classmethod
    def from_environment(cls) -> Self:
        """What a run works at that is told nothing.

        ``FLYWHEEL_DAGGER_PRESET`` names the preset, ``FLYWHEEL_DAGGER_OVERRIDES`` what is to be laid over it,
        ``section.key=value`` between blanks.

        Raises:
            UserError: a variable holds something else.
        """
        name = _one_of("FLYWHEEL_DAGGER_PRESET", tuple(DAGGER_PRESETS), "laptop")
        overrides = _laid_over("FLYWHEEL_DAGGER_OVERRIDES", lambda values: chosen_dagger_preset(name, values))
        return cls(name=name, overrides=overrides)

    def resolve(self) -> DaggerPreset:
        """The configuration.

        Raises:
            dagster.Failure: an override is malformed, or its key or value is not accepted.
        """
        with mistakes_named():
            return chosen_dagger_preset(self.name, self.overrides)


def _laid_over(variable: str, check: Callable[[list[str]], object], first: Sequence[str] = ()) -> list[str]:
    """The values to be laid over a preset: some, and those that an environment variable names after them.

    Raises:
        UserError: ``check`` does not accept them.
    """
    values = [*first, *os.environ.get(variable, "").split()]
    try:
        check(values)
    except UserError as error:
        raise UserError(f"{variable}: {error.what}", error.remedy) from None
    return values


def _one_of[NameT: str](variable: str, known: tuple[NameT, ...], usual: NameT) -> NameT:
    """What an environment variable names.

    Raises:
        UserError: it is none of ``known``.
    """
    wanted = os.environ.get(variable, "").strip() or usual
    for name in known:
        if name == wanted:
            return name
    raise UserError(f"{variable} '{wanted}' is unknown", f"choose one of {', '.join(filter(None, known))}")
