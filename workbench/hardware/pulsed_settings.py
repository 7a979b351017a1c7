"""Settings of devices that are changed in place by pulses, and of how an update becomes pulses.

Numbers of a device are in its own units: the weight runs over about -1..1, whatever the network's weights are.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any, Literal

from pydantic import Field, create_model, model_validator

from workbench.hardware.settings import CrossbarConfig
from workbench.plugin import LazyConfig


class PulsedConfig(CrossbarConfig):
    """What pulses do to a device, and how pulses are sent.

    Formulas and presets after IBM's aihwkit (`simulator/configs/devices.py`, `simulator/presets`), whose papers the
    presets name.
    """

    # The device.
    step: Literal["constant", "linear", "soft-bounds", "exponential", "power", "neurosim"] = Field(
        "constant",
        description="how the change that a pulse makes depends on the weight; neurosim: exponential saturation over "
        "`states` pulses",
    )
    cell: Literal["single", "pair"] = Field(
        "single",
        description="one device a weight, or two that only ever go up, one for each sign, and are refreshed",
    )
    dw_min: float = Field(
        0.001,
        ge=0,
        description="mean change that a pulse makes at weight zero, device units; 0: a device that takes any change",
    )
    dw_min_dtod: float = Field(0.3, ge=0, description="device-to-device spread of dw_min, relative")
    dw_min_log_normal: bool = Field(
        False,
        description="that spread is log-normal: the standard deviation of the logarithm, around the median",
    )
    dw_min_std: float = Field(
        0.3, ge=0, description="cycle-to-cycle noise of each pulse, standard deviation relative to its change"
    )
    dw_min_std_add: float = Field(
        0.0, ge=0, description="cycle-to-cycle noise at a change of nothing, device units (exponential steps)"
    )
    dw_min_std_slope: float = Field(
        0.0, ge=0, description="growth of cycle-to-cycle noise with the weight (exponential steps)"
    )
    multiplicative_noise: bool = Field(
        True, description="cycle-to-cycle noise follows the step at the present weight, not that at zero"
    )
    up_down: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="asymmetry: pulses down are weaker by this share, or pulses up if negative",
    )
    up_down_dtod: float = Field(0.01, ge=0, description="device-to-device spread of the asymmetry")
    w_max: float = Field(0.6, gt=0, description="upper bound of the weight, device units")
    w_min: float = Field(-0.6, le=0, description="lower bound of the weight, device units")
    w_max_dtod: float = Field(0.3, ge=0, description="device-to-device spread of the upper bound, relative")
    w_min_dtod: float = Field(0.3, ge=0, description="device-to-device spread of the lower bound, relative")
    write_noise: float = Field(
        0.0,
        ge=0,
        description="what a read differs from the weight in the device, drawn anew when it is written, in dw_min",
    )
    lifetime: float = Field(
        0.0, ge=0, description="updates after which the weight has leaked to 1/e; 0: does not leak"
    )
    lifetime_dtod: float = Field(0.0, ge=0, description="device-to-device spread of the lifetime, relative")
    stuck_range: float = Field(
        1000.0,
        ge=0,
        description="stuck devices hold any weight within their bounds and +- this, device units",
    )
    gamma_up: float = Field(
        0.0,
        description="linear: share by which pulses up are weaker at the upper bound; exponential, power: exponent",
    )
    gamma_down: float = Field(
        0.0, description="linear: share by which pulses down are weaker at the lower bound; else as gamma_up"
    )
    gamma_up_dtod: float = Field(0.0, ge=0, description="device-to-device spread of gamma_up (linear, power)")
    gamma_down_dtod: float = Field(
        0.0, ge=0, description="device-to-device spread of gamma_down (linear, power)"
    )
    a: float = Field(
        0.5, description="exponential: slope of the exponent's argument z = 2 a w / (w_max - w_min) + b"
    )
    b: float = Field(0.0, description="exponential: offset of z")
    a_up: float = Field(0.0, description="exponential: step up = dw_min max(1 - a_up exp(gamma_up z), 0)")
    a_down: float = Field(
        0.0, description="exponential: step down = dw_min max(1 - a_down exp(-gamma_down z), 0)"
    )
    subtract_symmetry_point: bool = Field(
        False, description="weights are read against the point where pulses up and down cancel (soft bounds)"
    )
    reference_std: float = Field(
        0.0, ge=0, description="error of that reference, standard deviation, device units (soft bounds)"
    )
    states: int = Field(97, ge=2, description="neurosim: pulses from the lower bound to the upper one")
    nonlinearity_up: float = Field(
        0.0, ge=0, lt=10, description="neurosim: label of nonlinearity of pulses up"
    )
    nonlinearity_down: float = Field(
        0.0, ge=0, lt=10, description="neurosim: label of nonlinearity of pulses down"
    )
    nonlinearity_dtod: float = Field(
        0.0, ge=0, description="neurosim: device-to-device spread of both labels"
    )
    refresh_every: int = Field(1, ge=0, description="pair: updates between two refreshes; 0: never")
    refresh_upper: float = Field(
        0.75, gt=0, le=1, description="pair: refreshed if one device is above this share of w_max ..."
    )
    refresh_lower: float = Field(0.25, ge=0, le=1, description="pair: ... and the other one above this")
    reset: float = Field(0.0, ge=0, description="pair: weight of a device that was reset, device units")
    reset_dtod: float = Field(0.0, ge=0, description="pair: spread of that weight, device units")

    # The way of writing.
    update: Literal[
        "stochastic",
        "deterministic",
        "stochastic-rounding",
        "mixed-precision",
        "tiki-taka",
        "tiki-taka-2",
        "tiki-taka-chopped",
    ] = Field(
        "stochastic",
        description="how an update becomes pulses: trains of random pulses on rows and columns, whole pulses (nearest "
        "or rounded at random), a digital accumulator, or a second, fast array that is read into the weights",
    )
    pulses: int = Field(
        31, ge=1, le=62, description="longest train: most pulses that a device gets in an update"
    )
    shorten: bool = Field(
        True, description="trains are as short as the largest change allows; else all have `pulses` slots"
    )
    transfer_every: int = Field(
        1, ge=1, description="updates between two transfers (mixed precision, tiki-taka)"
    )
    granularity: float = Field(
        0.0,
        ge=0,
        description="mixed-precision: change that is sent as one pulse, device units; 0: the device's step",
    )
    fast_lr: float = Field(
        1.0, gt=0, description="tiki-taka: what reaches the fast array of a requested change"
    )
    transfer_lr: float = Field(
        1.0, gt=0, description="tiki-taka: what reaches the weights of a column that is read"
    )
    auto_scale: bool = Field(
        False,
        description="tiki-taka: the fast array gets changes over their running largest one, times `pulses` steps "
        "and fast_lr",
    )
    threshold: float = Field(
        1.0, gt=0, description="tiki-taka 2 and chopped: buffered change that is sent as one pulse, in steps"
    )
    auto_granularity: float = Field(
        0.0,
        ge=0,
        description="tiki-taka-chopped: that threshold also times this over the updates until all columns were "
        "transferred (aihwkit's presets: 500 or 1000); 0: as it is",
    )
    momentum: float = Field(
        0.1,
        ge=0,
        le=1,
        description="tiki-taka 2 and chopped: share of the buffer that stays after a pulse",
    )
    forget_buffer: bool = Field(
        True, description="tiki-taka 2 and chopped: a pulse empties the buffer but for the momentum"
    )
    in_chop_prob: float = Field(
        0.1, ge=0, le=1, description="tiki-taka-chopped: chance that a column's sign flips after its transfer"
    )

    @model_validator(mode="after")
    def _fits(self) -> PulsedConfig:
        if self.dw_min == 0:
            if self.cell == "pair":
                raise ValueError("dw_min must be above 0 for a pair of devices: they go up in steps")
            if self.update not in ("stochastic", "deterministic", "stochastic-rounding"):
                raise ValueError(
                    f"dw_min=0 is a device that takes any change: update={self.update} has no steps to send"
                )
            if self.step == "neurosim":
                raise ValueError("neurosim steps follow from `states`: dw_min=0 has no meaning there")
        if self.cell == "single" and self.w_min == 0:
            raise ValueError("w_min must be below 0, or cell=pair: a weight has two signs")
        return self

    @property
    def continuous(self) -> bool:
        """Whether a device takes a change of any size."""
        return self.dw_min == 0

    @property
    def levels(self) -> float:
        """Steps of dw_min from bound to bound, the usual count of a device's states; infinite for a continuous one."""
        return (self.w_max - self.w_min) / self.dw_min if self.dw_min else math.inf

    @property
    def reach(self) -> float:
        """Largest weight of either sign that a typical device holds, device units."""
        return self.w_max if self.cell == "pair" else min(self.w_max, -self.w_min)

    @property
    def mean_step(self) -> float:
        """Return the change that a pulse makes on a typical device, device units; 1 for a continuous one.

        At weight zero; in the middle of the range for exponential steps, whose slope is steep.
        """
        unit = self.dw_min or 1.0
        if self.step == "exponential":
            z = self.a * (self.w_max + self.w_min) / (self.w_max - self.w_min) + self.b
            up = (1 + min(self.up_down, 0.0)) * max(1 - self.a_up * math.exp(self.gamma_up * z), 0.0)
            down = (1 - max(self.up_down, 0.0)) * max(1 - self.a_down * math.exp(-self.gamma_down * z), 0.0)
            return unit * (up if self.cell == "pair" else (up + down) / 2) or unit
        if self.step == "power":
            middle = (math.pow(0.5, self.gamma_up) + math.pow(0.5, self.gamma_down)) / 2
            return unit * middle
        if self.step == "neurosim":
            return (self.w_max - self.w_min) / self.states
        return unit


def preset(name: str, source: str, **defaults: Any) -> Any:
    """Return a `LazyConfig`: the settings of a device with the defaults that `source` gives; types and limits stay.

    Raises KeyError for a setting that there is not.
    """
    for key in defaults:
        PulsedConfig.model_fields[key]

    def make() -> type[PulsedConfig]:
        fields: dict[str, Any] = {}
        for key, value in defaults.items():
            field = copy(PulsedConfig.model_fields[key])
            field.default = value
            field._attributes_set = {**field._attributes_set, "default": value}
            if key not in ("step", "cell"):
                field.description = f"{field.description} ({source})"
                field._attributes_set["description"] = field.description
            fields[key] = (field.annotation, field)
        made: type[PulsedConfig] = create_model(name, __base__=PulsedConfig, __module__=__name__, **fields)
        made.__doc__ = f"Settings as published: {source}."
        return made

    return LazyConfig(PulsedConfig, make)
