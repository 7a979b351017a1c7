"""What a device may be worse in than its data sheet says: the axes along which accuracy is followed.

An axis applies to a device whose settings have its field, however the device is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.config import DEFAULTS
from workbench.errors import ConfigurationError, nearest
from workbench.feasibility.quantities import seconds
from workbench.plugin import PluginConfig
from workbench.registry import Registry

REFERENCE = DEFAULTS["hardware"]
"""Ideal hardware, against which every device is held."""
FLOAT = 0
"""Bits of a weight that stand for floating point."""


@dataclass(frozen=True)
class Axis:
    """A setting of devices that is swept.

    field: of the devices' settings. also: settings of which a device must have one besides; a device that does not
    drift takes no notice of time. values: when none are given. unit: of the values. worse: the direction in which
    devices get worse. stand_in: a device that takes part although nobody named it, where none that was named can.
    """

    name: str
    field: str
    title: str
    values: tuple[float | int, ...]
    also: tuple[str, ...] = ()
    unit: Literal["bits", "times", "share", "seconds", ""] = ""
    worse: Literal["up", "down"] = "up"
    stand_in: str | None = None

    @property
    def key(self) -> str:
        """The setting as it is typed."""
        return f"hardware.{self.field}"

    def told(self, value: float | int) -> str:
        """Return a value as it is told.

        >>> axis_named("stuck").told(0.03), axis_named("drift").told(86400), axis_named("noise").told(2)
        ('3 %', '1 d', '×2')
        """
        if self.unit == "seconds":
            return seconds(float(value)) if value else "0"
        if self.unit == "share":
            return f"{100 * value:g} %" if value else "0"
        return f"×{value:g}" if self.unit == "times" else f"{value:g}"

    def applies(self, config: type[PluginConfig]) -> bool:
        """Tell whether devices with these settings can be swept along the axis."""
        fields = config.model_fields
        return self.field in fields and (not self.also or any(name in fields for name in self.also))


AXES = (
    Axis(
        "bits",
        "bits",
        "bits of a weight",
        (2, 3, 4, 5, 6, 7, 8),
        unit="bits",
        worse="down",
        stand_in="quantised",
    ),
    Axis("noise", "read_noise", "read noise, times that of the device", (0, 0.5, 1, 2, 4), unit="times"),
    Axis("asymmetry", "up_down", "asymmetry of pulses up and down", (0, 0.1, 0.2, 0.4)),
    Axis("stuck", "stuck", "share of devices that are stuck", (0, 0.01, 0.03, 0.1, 0.2), unit="share"),
    Axis(
        "drift",
        "t_read",
        "time between learning and use",
        (0, 3600, 86_400, 2_592_000, 31_536_000),
        also=("drift",),
        unit="seconds",
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

    Where there is none, the axis's stand-in, if that is registered. Raises PluginError for a broken device.
    """
    found = [name for name in devices if axis.applies(settings_model(name, registry))]
    if found or axis.stand_in not in registry.names("hardware"):
        return found
    return [axis.stand_in]


def own_value(axis: Axis, device: str, settings: Mapping[str, Any], registry: Registry) -> Any:
    """Return a device's value on an axis: what is set, or its default."""
    default = settings_model(device, registry).model_fields[axis.field].default
    return settings.get(axis.key, default)
