"""The resolved configuration of a run: frozen dataclasses, presets, and the order in which settings win.

Precedence: command line > --config file > plugin defaults > preset. Settings are addressed as "section.key".
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mcltool.core.errors import UsageError, did_you_mean
from mcltool.core.files import parse_json, read_limited
from mcltool.core.presets import PRESETS, Settings
from mcltool.core.ranges import check
from mcltool.core.sections import SECTIONS, DataConfig, LossConfig, ModelConfig, TrainConfig

__all__ = [
    "SECTIONS", "Config", "DataConfig", "LossConfig", "ModelConfig", "TrainConfig", "parse_setting", "parse_size",
    "read_toml", "resolve",
]  # fmt: skip

MOST_BYTES = 1 << 20
"""Size limit of a file of settings."""


@dataclass(frozen=True)
class Config:
    """Everything a run depends on besides the data themselves."""

    plugin: str
    preset: str = "paper"
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        least = 2 ** len(self.model.generator_widths)  # its convolutions mirror what is outside: no side of 1
        fits = self.model.network == "lean" or min(self.data.size) >= least
        check(fits, "data.size", f"must be at least {least} for the published generator")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    def settings(self) -> dict[str, Any]:
        """Every setting by its address."""
        return _addressed({name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS})

    def changed(self, settings: Settings) -> Config:
        """A copy with other ``settings``. Raises UsageError like ``resolve``."""
        return _build(self.plugin, self.preset, self.settings() | dict(settings))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Raises UsageError for unknown or wrong keys, ValueError for text unlike that of to_json."""
        raw = parse_json(text)
        if not isinstance(raw, dict) or not {"plugin", "preset"} <= raw.keys():
            raise ValueError("the configuration is not a JSON object with plugin and preset")
        plugin, preset = raw.pop("plugin"), raw.pop("preset")
        if not (isinstance(plugin, str) and isinstance(preset, str)):
            raise ValueError("plugin and preset must be text")
        return _build(plugin, preset, _addressed(raw))


def resolve(plugin: str, preset: str, *layers: Settings) -> Config:
    """Build the configuration: the preset, then each layer over the ones before it.

    Raises UsageError for an unknown preset or setting, a value of the wrong type, or values that do not fit.
    """
    if preset not in PRESETS:
        raise UsageError(
            f"no preset {preset!r}{did_you_mean(preset, PRESETS)}; there are {', '.join(PRESETS)}"
        )
    merged: dict[str, Any] = dict(PRESETS[preset])
    for layer in layers:
        merged.update(layer)
    return _build(plugin, preset, merged)


CONFIGS = Path(__file__).parent / "configs"
"""Configurations that come with mcltool, by name."""


def read_toml(path: Path) -> dict[str, Any]:
    """Settings from a TOML file with the sections model, loss, data and train; preset and plugin may stand on top.

    path: a file, or the name of one of CONFIGS. Raises UsageError where it is neither or no such document.
    """
    if not path.exists() and path.parent == Path():
        known = sorted(file.stem for file in CONFIGS.glob("*.toml"))
        if path.name not in known:
            raise UsageError(f"--config {path}: no such file, and not one of {', '.join(known)}")
        path = CONFIGS / f"{path.name}.toml"
    try:
        raw = tomllib.loads(read_limited(path, MOST_BYTES).decode())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    return _addressed(raw)


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse "section.key=value" (a TOML value; bare words are strings)."""
    address, found, value = text.partition("=")
    if not found or "." not in address:
        raise UsageError(f"--set {text}: expected section.key=value, e.g. loss.mcl=0.05")
    try:
        return address.strip(), tomllib.loads(f"v = {value}")["v"]
    except (ValueError, RecursionError):
        return address.strip(), value.strip()


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Parse "256" or "256x192" (height x width). option: what the error names."""
    height, _, width = text.lower().partition("x")
    try:
        size = int(height), int(width or height)
        if min(size) < 1:
            raise ValueError
        return size
    except ValueError:
        raise UsageError(f"{option} {text}: expected S or HxW in pixels, e.g. 256 or 256x192") from None


def _addressed(document: Mapping[str, Any]) -> dict[str, Any]:
    """{"loss": {"mcl": 1}, "preset": "tiny"} -> {"loss.mcl": 1, "preset": "tiny"}."""
    settings: dict[str, Any] = {}
    for section, keys in document.items():
        if isinstance(keys, dict):
            settings.update({f"{section}.{key}": value for key, value in keys.items()})
        else:
            settings[section] = keys
    return settings


def _build(plugin: str, preset: str, settings: Settings) -> Config:
    settings = dict(settings)
    if settings.pop("train.tensorboard", False):  # as it was called before train.loggers
        settings["train.loggers"] = [*settings.get("train.loggers", ()), "tensorboard"]
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    known = [f"{name}.{item.name}" for name, kind in SECTIONS.items() for item in dataclasses.fields(kind)]
    for address, value in settings.items():
        if address not in known:
            raise UsageError(f"no setting {address!r}{did_you_mean(address, known)}")
        section, key = address.split(".")
        wanted = typing.get_type_hints(SECTIONS[section])[key]
        values[section][key] = _convert(address, value, wanted)
    parts = {name: kind(**values[name]) for name, kind in SECTIONS.items()}
    return Config(plugin, preset, **parts)


def _convert(address: str, value: Any, wanted: Any) -> Any:
    """Check ``value`` against the field's type; lists become tuples, whole numbers floats."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(address, value, arguments[0])
    if origin is Literal:
        check(value in arguments, address, f"must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        check(isinstance(value, list | tuple), address, f"must be a list, not {value!r}")
        fits = arguments[-1] is ... or len(value) == len(arguments)
        check(fits, address, f"needs {len(arguments)} values")
        return tuple(_convert(address, item, arguments[0]) for item in value)
    if wanted is float and type(value) is int:
        check(abs(value) < 1e300, address, "is too large")
        return float(value)
    check(type(value) is wanted, address, f"must be of type {wanted.__name__}, not {value!r}")
    check(wanted is not float or math.isfinite(value), address, f"must be finite, not {value}")
    return value
