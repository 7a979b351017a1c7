"""What a chip affords: memory, writes, power, lifetime, and how much accuracy may be lost for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from workbench.errors import ConfigurationError
from workbench.feasibility.quantities import (
    ENERGIES,
    POWERS,
    RATES,
    SHARES,
    SIZES,
    TIMES,
    quantity,
)
from workbench.validation import canonical, unknown_key, validate

Endurance = float | Literal["survey-min", "survey-max", "device"]
SURVEYED: tuple[Endurance, ...] = ("survey-min", "survey-max", "device")
NOTHING = "none"


class Budget(BaseModel):
    """Budgets of a feasibility study, `budget.KEY=VALUE`; in the units that the descriptions name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sram: float = Field(
        262_144.0, gt=0, description="digital memory on the chip for what learning needs, bytes"
    )
    endurance: Endurance = Field(
        "survey-min",
        description="writes that a device endures: a number; survey-min or survey-max, the least or most that a "
        "survey found for cells of its kind; or device, the endurance that its settings say",
    )
    lifetime: float = Field(
        5 * TIMES["y"], gt=0, description="time that the chip shall go on learning, seconds"
    )
    rate: float | Literal["continuous"] = Field(
        "continuous",
        description="training sequences a second; continuous: one after the other, as long as each takes",
    )
    power: float = Field(1e-3, gt=0, description="mean power of learning at that rate, watt")
    energy: float | None = Field(
        None, description="energy of a training sequence, joule; none: no such budget"
    )
    loss: float = Field(
        0.05,
        ge=0,
        le=1,
        description="accuracy that may be lost against ideal hardware, a share of the test set",
    )

    @field_validator("sram", mode="before")
    @classmethod
    def _size(cls, value: object) -> object:
        return quantity(value, SIZES, "256KiB")

    @field_validator("power", mode="before")
    @classmethod
    def _power(cls, value: object) -> object:
        return quantity(value, POWERS, "1mW")

    @field_validator("lifetime", mode="before")
    @classmethod
    def _time(cls, value: object) -> object:
        return quantity(value, TIMES, "5y")

    @field_validator("loss", mode="before")
    @classmethod
    def _share(cls, value: object) -> object:
        return quantity(value, SHARES, "5%")

    @field_validator("energy", mode="before")
    @classmethod
    def _energy(cls, value: object) -> object:
        found = None if value in (None, NOTHING) else quantity(value, ENERGIES, "2uJ")
        return _above_zero(found)

    @field_validator("rate", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        found = value if value == "continuous" else quantity(value, RATES, "continuous or 1000/d")
        return _above_zero(found)

    @field_validator("endurance", mode="before")
    @classmethod
    def _writes(cls, value: object) -> object:
        if value in SURVEYED:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"wants a number of writes, 1e6 say, or one of {', '.join(map(str, SURVEYED))}")
        return _above_zero(float(value))


def budget_of(given: Mapping[str, Any]) -> Budget:
    """Return the budgets, defaults where nothing is given. Raises ConfigurationError with a line for each fault."""
    problems: list[str] = []
    data = canonical(given, Budget)
    for key in [key for key in data if key not in Budget.model_fields]:
        del data[key]
        problems.append(unknown_key(key, "budget", Budget.model_fields))
    found = validate(Budget, data, "budget", problems)
    if problems or found is None:
        raise ConfigurationError("\n".join(problems))
    return found


def _above_zero(value: object) -> object:
    if isinstance(value, float) and value <= 0:
        raise ValueError("must be > 0")
    return value
