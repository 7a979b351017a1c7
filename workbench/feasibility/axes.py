"""What a device may be worse in than its data sheet says: the axes along which accuracy is followed.

An axis applies to a device whose settings have its field, however the device is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.config import DEFAULTS
from workbench.errors import ConfigurationError, PluginError, nearest
from workbench.plugin import PluginConfig
from workbench.registry import Registry

REFERENCE = DEFAULTS["hardware"]
"""Ideal hardware, against which every device is held."""


@dataclass(frozen=True)
class Axis:
    """A setting of devices that is swept.

    field: of the devices' settings. also: settings of which a device must have one besides; a device that does not
    drift takes no notice of time. values: when none are given. scale: of the picture's axis; `symlog` is logarithmic
    with a place for 0. worse: the direction in which devices get worse. alone: a device that has the field takes part
    although nobody named it.
    """

    name: str
    field: str
    title: str
    values: tuple[float | int, ...]
    also: tuple[str, ...] = ()
    scale: Literal["linear", "symlog"] = "linear"
    worse: Literal["up", "down"] = "up"
    alone: bool = False

    @property
    def key(self) -> str:
        """The setting as it is typed."""
        return f"hardware.{self.field}"

    def applies(self, config: type[PluginConfig]) -> bool:
        """Tell whether devices with these settings can be swept along the axis."""
        fields = config.model_fields
        return self.field in fields and (not self.also or any(name in fields for name in self.also))


AXES = (
    Axis("bits", "bits", "resolution of the weights, bits", (2, 3, 4, 5, 6, 8), worse="down", alone=True),
    Axis("noise", "read_noise", "read noise, times the device's own", (0, 0.5, 1, 2, 4)),
    Axis("asymmetry", "up_down", "asymmetry of steps up and down", (0, 0.1, 0.2, 0.4)),
    Axis("stuck", "stuck", "share of devices that are stuck", (0, 0.01, 0.03, 0.1, 0.2)),
    Axis(
        "drift",
        "t_read",
        "time between learning and use, seconds",
        (0, 3600, 86_400, 2_592_000, 31_536_000),
        also=("drift",),
        scale="symlog",
    ),
)


def axis_named(name: str) -> Axis:
    """Return an axis by its name. Raises ConfigurationError."""
    found = next((axis for axis in AXES if axis.name == name or axis.field == name), None)
    if found is None:
        names = [axis.name for axis in AXES]
        guess = nearest(name, names)
        hint = f"; did you mean {guess}?" if guess else ""
        raise ConfigurationError(f"{name!r} is no axis{hint} (allowed: {', '.join(names)})")
    return found


def settings_model(device: str, registry: Registry) -> type[PluginConfig]:
    """Return the class of a device's settings. Raises PluginError."""
    return registry.load("hardware", device).Config


def devices_of(axis: Axis, devices: Iterable[str], registry: Registry) -> list[str]:
    """Return the devices to follow along an axis: those of `devices` that it applies to.

    Where none has it, an axis that stands alone takes the first device installed that has.
    """
    found = [name for name in devices if axis.applies(settings_model(name, registry))]
    if found or not axis.alone:
        return found
    return [name for name in _installed(registry) if axis.applies(settings_model(name, registry))][:1]


def _installed(registry: Registry) -> list[str]:
    """Return the devices that load, by name."""
    names = []
    for name in registry.names("hardware"):
        try:
            registry.load("hardware", name)
        except PluginError:
            continue
        names.append(name)
    return names


def own_value(axis: Axis, device: str, settings: Mapping[str, Any], registry: Registry) -> Any:
    """Return a device's value on an axis: what is set, or its default."""
    default = settings_model(device, registry).model_fields[axis.field].default
    return settings.get(axis.key, default)
