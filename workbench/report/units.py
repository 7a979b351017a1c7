"""Numbers as people read them."""

from __future__ import annotations

import math
from pathlib import Path

UNKNOWN = "–"


def size(count: float | None) -> str:
    """Return bytes in binary units with three significant digits.

    >>> [size(n) for n in (0, 512, 2048, 1_300_000, 5_000_000_000)]
    ['0 B', '512 B', '2.00 KiB', '1.24 MiB', '4.66 GiB']
    """
    if count is None:
        return UNKNOWN
    if abs(count) < 1024:
        return f"{count:.0f} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(abs(count), 1024)), len(units))
    value = count / 1024**power
    return f"{value:.{_decimals(value)}f} {units[power - 1]}"


def percent(fraction: float | None, sign: bool = False) -> str:
    """Return a fraction in percent, without the sign of per cent.

    >>> percent(0.6543), percent(-0.301, sign=True), percent(None)
    ('65.4', '-30.1', '–')
    """
    if fraction is None:
        return UNKNOWN
    # Rounding first keeps "-0.0" out of the tables.
    value = round(100 * fraction, 1) + 0.0
    return f"{value:+.1f}" if sign and value else f"{value:.1f}"


def difference(formula: float | None, measured: float | None) -> str:
    """Return by how much a measurement exceeds its formula, in per cent of the formula.

    >>> difference(400, 404), difference(400, 400), difference(0, 10)
    ('+1.0 %', '0.0 %', '–')
    """
    if not formula or measured is None:
        return UNKNOWN
    return f"{percent(measured / formula - 1, sign=True)} %"


def duration(seconds: float | None) -> str:
    """Return a time as people say it.

    >>> [duration(s) for s in (0.0123, 4.21, 75, 3725, 200_000)]
    ['12 ms', '4.2 s', '1 min 15 s', '1 h 02 min', '55 h 33 min']
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def clock(seconds: float | None) -> str:
    """Return a remaining time of fixed form, for a line that changes in place.

    >>> clock(75.4), clock(3725), clock(None)
    ('1:15', '1:02:05', '-:--')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-:--"
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def count(value: float | None) -> str:
    """Return a count with thousands apart, to three significant digits or whole.

    >>> count(8156), count(12.34), count(0.031)
    ('8,156', '12.3', '0.031')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if abs(value) < 1:
        return f"{value:.3g}"
    return f"{value:,.{_decimals(value) if value != int(value) else 0}f}"


def amount(value: float | None) -> str:
    """Return a large count with three significant digits.

    >>> [amount(n) for n in (0, 12.34, 950, 34_801, 1_200_000, 5.2e9)]
    ['0', '12.3', '950', '34.8 k', '1.20 M', '5.20 G']
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if abs(value) < 1000:
        return count(value)
    power = min(int(math.log10(abs(value)) / 3), 4)
    scaled = value / 1000**power
    return f"{scaled:.{_decimals(scaled)}f} {'kMGT'[power - 1]}"


def joules(value: float | None) -> str:
    """Return an energy with three significant digits.

    >>> [joules(n) for n in (0, 4.6e-12, 1.6e-7, 0.0012, None)]
    ['0 J', '4.60 pJ', '160 nJ', '1.20 mJ', '–']
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0 J"
    power = min(max(math.floor(math.log10(abs(value)) / 3), -4), 0)
    scaled = value / 1000.0**power
    return f"{scaled:.{_decimals(scaled)}f} {('J', 'mJ', 'µJ', 'nJ', 'pJ')[-power]}"


def short_path(path: Path) -> str:
    """Return a path from the working folder on when it lies inside, else the whole of it."""
    absolute = Path(path).resolve()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def _decimals(value: float) -> int:
    return 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
