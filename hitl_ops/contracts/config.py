"""Typed configuration: strict models, YAML files, presets and ``key=value`` overrides."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hitl_ops.contracts.errors import UserError

ConfigT = TypeVar("ConfigT", bound="StrictConfig")


class StrictConfig(BaseModel):
    """A frozen configuration in which an unknown key is an error, never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with ``changes`` applied.

        Raises:
            UserError: a key is unknown or a value is out of range.
        """
        return parse_config(type(self), {**self.model_dump(), **changes}, source="override")


def parse_config(model: type[ConfigT], data: dict[str, Any], *, source: str) -> ConfigT:
    """Validate ``data`` as ``model``.

    Args:
        model: the configuration class.
        data: nested plain values.
        source: where the values came from (a file name, "override"), named in the error.

    Raises:
        UserError: one line naming the offending key, with the nearest known key where there is one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, tuple(str(part) for part in first["loc"][:-1]))
            near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}"
            raise UserError(f"{source}: unknown config key '{key}'", remedy) from None
        raise UserError(f"{source}: config key '{key}' is invalid", f"{first['msg']}, got {first['input']!r}") from None


def as_config(model: type[ConfigT], config: StrictConfig | Mapping[str, Any] | None, *, source: str) -> ConfigT:
    """A configuration, out of it or of settings of one; what is not named is as ``model`` has it.

    Args:
        model: the configuration class.
        config: one of it, another one of the same fields, or settings by name.
        source: where it came from, named in the error.

    Raises:
        UserError: a setting is unknown or wrong.
    """
    if isinstance(config, model):
        return config
    settings = config.model_dump() if isinstance(config, StrictConfig) else dict(config or {})
    return parse_config(model, settings, source=source)


def _known_keys(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in path:
        field = current.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return list(current.model_fields)


def load_config(model: type[ConfigT], path: str | Path) -> ConfigT:
    """Read a YAML file as ``model``.

    Raises:
        UserError: the file is missing, is no YAML mapping, or has an unknown or invalid key.
    """
    file = Path(path)
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"config file '{file}' does not exist", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config file '{file}' cannot be read", str(error)) from None
    except yaml.YAMLError as error:
        raise UserError(f"config file '{file}' is not valid YAML", " ".join(str(error).split())) from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UserError(f"config file '{file}' must hold a mapping", f"found {type(data).__name__}")
    return parse_config(model, data, source=str(file))


def apply_overrides(config: ConfigT, overrides: list[str]) -> ConfigT:
    """Apply ``dotted.key=value`` overrides (values are YAML) to a configuration.

    Raises:
        UserError: an override is malformed, or its key or value is not accepted by the model.
    """
    data = config.model_dump()
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UserError(f"override '{override}' is malformed", "write it as key=value")
        target = data
        *parents, leaf = key.split(".")
        for parent in parents:
            # A section that is not there yet may belong to an open mapping; the model below tells if it does not.
            if target.get(parent) is None:
                target[parent] = {}
            if not isinstance(target[parent], dict):
                raise UserError(f"override: unknown config key '{key}'", f"'{parent}' is not a section")
            target = target[parent]
        try:
            target[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"override '{override}' has a value that is not valid YAML", "quote it") from None
    return parse_config(type(config), data, source="override")
