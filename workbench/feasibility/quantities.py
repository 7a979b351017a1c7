"""Numbers with units as people type them: `256KiB`, `1mW`, `5y`, `1000/d`; and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from workbench.errors import nearest

SIZES = {
    "B": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
    "GiB": 1024.0**3,
}
POWERS = {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6, "nW": 1e-9}
ENERGIES = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12}
TIMES = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "y": 31_557_600.0}
"""A year is the Julian one of 365.25 days."""
RATES = {"Hz": 1.0, "/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600, "/d": 1 / 86_400}
SHARES = {"": 1.0, "%": 0.01}

_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*)")


def quantity(value: object, units: Mapping[str, float], example: str) -> float:
    """Return a number with a unit, times the unit. Raises ValueError that says what is wanted.

    >>> quantity("256KiB", SIZES, "256KiB"), quantity("1000/d", RATES, "1/s") * 86_400
    (262144.0, 1000.0)
    """
    wanted = f"wants a number with a unit ({', '.join(unit for unit in units if unit)}), {example} say"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(wanted)
    match = _QUANTITY.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(wanted)
    unit = match[2]
    if unit not in units:
        guess = _other_case(unit, units) or nearest(unit, units) if unit else None
        hint = f"; did you mean {guess}?" if guess else ""
        what = f"{unit!r} is no unit here" if unit else "the unit is missing"
        raise ValueError(f"{what}{hint} ({wanted})")
    number = float(match[1]) * units[unit]
    if not math.isfinite(number):
        raise ValueError(wanted)
    return number


def _other_case(unit: str, units: Mapping[str, float]) -> str | None:
    return next((known for known in units if known and known.lower() == unit.lower()), None)


def seconds(value: float | None) -> str:
    """Return a time of any length as people say it, to three significant digits.

    >>> [seconds(time) for time in (0.5, 90.0, 7200.0, 1e6, 1e9, float("inf"), None)]
    ['0.5 s', '1.5 min', '2 h', '11.6 d', '31.7 y', 'for ever', '–']
    """
    if value is None:
        return "–"
    if math.isinf(value):
        return "for ever"
    unit = next((unit for unit in ("y", "d", "h", "min") if value >= TIMES[unit]), "s")
    scaled = value / TIMES[unit]
    return f"{scaled:.3g} {unit}" if scaled < 1000 else f"{scaled:,.0f} {unit}"


def watts(value: float | None) -> str:
    """Return a power with three significant digits.

    >>> [watts(power) for power in (0.0, 2.5e-8, 1e-3, None)]
    ['0 W', '25 nW', '1 mW', '–']
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0 W"
    power = min(max(math.floor(math.log10(abs(value)) / 3 + 1e-12), -4), 0)
    return f"{value / 1000.0**power:.3g} {('W', 'mW', 'µW', 'nW', 'pW')[-power]}"


def number(value: float | None) -> str:
    """Return a count of any size: whole below a million, in powers of ten beyond.

    >>> [number(count) for count in (0, 0.0312, 12.3, 8156, 1e6, 3.2e9, None)]
    ['0', '0.0312', '12.3', '8,156', '1e6', '3.2e9', '–']
    """
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
