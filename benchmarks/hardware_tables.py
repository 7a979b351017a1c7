"""The tables of docs/hardware.md: every device with its range or states, its imperfections and its source.

    python -m benchmarks.hardware_tables              print the tables
    python -m benchmarks.hardware_tables --write      write them into docs/hardware.md
    python -m benchmarks.hardware_tables --check      fail if they say anything else there

All numbers are worked out from the devices' own laws and default settings.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.markdown import escaped, table
from benchmarks.options import command_line
from workbench.errors import WorkbenchError
from workbench.hardware.drift import PowerLaw, power_law
from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import DriftingConfig, ProgrammedConfig, ProgrammedHardware
from workbench.hardware.pulse_steps import change_at
from workbench.hardware.pulsed import Pulsed
from workbench.hardware.pulsed_devices import draw_devices
from workbench.hardware.pulsed_settings import PulsedConfig
from workbench.plugin import Plugin
from workbench.registry import Registry

DOCUMENT = Path(__file__).parents[1] / "docs" / "hardware.md"
OWN = "continual-workbench"
HOUR, DAY, MONTH, YEAR = 3600.0, 86400.0, 30 * 86400.0, 365.25 * 86400.0
NU = 0.049
"""The least mean exponent of drift of `pcm`, that of its larger conductances."""
SPREADS = (
    "dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod", "gamma_up_dtod", "gamma_down_dtod", "reference_std",
    "nonlinearity_dtod",
)  # fmt: skip


def devices(registry: Registry, base: type[Plugin]) -> dict[str, type[Plugin]]:
    """Return our own hardware of one kind by name."""
    return {
        entry.name: kind
        for entry in registry.entries("hardware")
        if entry.package == OWN and issubclass(kind := registry.load("hardware", entry.name), base)
    }


def programmed(registry: Registry) -> str:
    """Return the table of devices that are written and verified, at half of their range."""
    rows = []
    for name, kind in devices(registry, ProgrammedHardware).items():
        config = kind.Config()
        device: Device = kind(config).device()  # type: ignore[attr-defined]
        half = torch.tensor([(device.g_min + device.g_max) / 2], dtype=torch.float64)
        rows.append(
            (
                f"`{name}`",
                str(2 * device.sharing),
                f"{device.g_min:g} to {device.g_max:g}",
                _error(device, half),
                _day(device, half),
                _fluctuation(device, half),
                ", ".join(f"`{key}`" for key in own_settings(kind)),
                _source(kind),
            )
        )
    head = (
        "name",
        "devices a weight",
        "range, µS",
        "programming",
        "after a day",
        "read",
        "settings",
        "source",
    )
    return table(head, rows)


def own_settings(kind: type[Plugin]) -> list[str]:
    """Return the settings that a device does not share with every device that is written and verified."""
    shared = {*ProgrammedConfig.model_fields, *DriftingConfig.model_fields}
    return [key for key in kind.Config.model_fields if key not in shared]


def _error(device: Device, half: Tensor) -> str:
    if device.programming is None:
        return "exact"
    sigma = float(device.programming.deviation(half)) * device.programming.factor
    return f"{sigma:.2g} µS, {100 * sigma / (device.g_max - device.g_min):.1f} %"


def _day(device: Device, half: Tensor) -> str:
    """Return what is left of half the range after a day on average."""
    if device.drift is None:
        return "all"
    law = device.drift
    course = law.mean(half) * law.factor if isinstance(law, PowerLaw) else torch.zeros_like(half)
    left = law.after(half.clone(), course, torch.full_like(half, DAY))
    return f"{100 * float(left / half):.0f} %"


def _fluctuation(device: Device, half: Tensor) -> str:
    if device.read is None:
        return "none"
    law, seconds = device.read, torch.ones_like(half)
    variance = law.variance(law.coefficient(half.clone()), half.clone(), seconds)
    return f"{float(variance.sqrt()):.2g} µS, {100 * float(variance.sqrt() / half):.1f} %"


def _source(kind: type[Plugin]) -> str:
    """Return what the docstring of the settings says after naming the device."""
    line = (kind.Config.__doc__ or "").strip().splitlines()[0]
    if issubclass(kind, Pulsed):
        found = line.removeprefix("Settings as published: ") if "published" in line else "any device"
    else:
        found = line.partition("; ")[2] or line
    return escaped(found.rstrip("."))


def pulsed(registry: Registry) -> str:
    """Return the table of devices that are changed by pulses."""
    rows = []
    for name, kind in devices(registry, Pulsed).items():
        config = kind.Config()
        assert isinstance(config, PulsedConfig)
        up, down, shrunk = responses(config)
        rows.append(
            (
                f"`{name}`",
                "2" if config.cell == "pair" else "1",
                f"{config.levels:,.3g}" if config.levels < 10 else f"{config.levels:,.0f}",
                f"{config.w_min:g} to {config.w_max:g}",
                config.step,
                f"{down / up:.2f}",
                f"{shrunk / up:.2f}",
                f"{config.dw_min_std:.2g}",
                f"{config.dw_min_dtod:.2g}" + (" (log)" if config.dw_min_log_normal else ""),
                f"{config.write_noise:g}",
                _source(kind),
            )
        )
    head = (
        "name", "devices a weight", "states", "range", "step", "down / up", "up at half", "pulse to pulse",
        "device to device", "read off", "source",
    )  # fmt: skip
    return table(head, rows)


def responses(config: PulsedConfig) -> tuple[float, float, float]:
    """Return the steps of a mean device: up and down at weight zero, and up at half of the upper bound.

    For a pair: of the device that stands for the sign, which has no step down of its own.
    """
    plain = config.model_copy(update=dict.fromkeys(SPREADS, 0.0))
    count = 2 if config.cell == "pair" else 1
    mean = draw_devices(plain, (count, 1, 1), torch.Generator().manual_seed(0), torch.zeros(1))
    zero = torch.zeros((count, 1, 1), dtype=torch.float64)

    def step(rising: bool, weight: float) -> float:
        return float(change_at(mean, torch.tensor(rising), zero + weight)[0])

    up = step(True, 0.0)
    return up, up if config.cell == "pair" else step(False, 0.0), step(True, config.w_max / 2)


def drift() -> str:
    """Return what drift leaves of a conductance of `pcm`."""
    spans = {"an hour": HOUR, "a day": DAY, "30 days": MONTH, "a year": YEAR}
    cells = []
    for seconds in spans.values():
        factor = power_law(torch.tensor([seconds], dtype=torch.float64), 20.0, torch.tensor([NU]))
        cells.append(f"{float(factor):.3f}")
    return table([f"after {span}" for span in spans], [cells], numbers=len(cells))


def tables(registry: Registry) -> dict[str, str]:
    """Return every table by the name of its place in the page."""
    return {"programmed": programmed(registry), "drift": drift(), "pulsed": pulsed(registry)}


def place(name: str) -> re.Pattern[str]:
    """Return the pattern of a place in the page, whose match is what stands there."""
    return re.compile(rf"(?<=<!-- table: {name} -->\n)(.*?)(?=<!-- end of table -->)", re.DOTALL)


def filled(page: str, made: dict[str, str]) -> str:
    """Return a page with its tables. Raises ValueError where a place is missing."""
    for name, text in made.items():
        if place(name).search(page) is None:
            raise ValueError(f"{DOCUMENT} has no place for the table {name!r}")
        page = place(name).sub(lambda _, text=text: text + "\n", page, count=1)  # type: ignore[misc]
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the tables, then print, write or compare them; returns the exit code."""
    parse = command_line("hardware_tables", __doc__)
    what = parse.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="write them into docs/hardware.md")
    what.add_argument("--check", action="store_true", help="compare them with docs/hardware.md")
    options = parse.parse_args(arguments)
    try:
        made = tables(Registry.discover())
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not options.write and not options.check:
        print("\n\n".join(made.values()))
        return 0
    page = DOCUMENT.read_text(encoding="utf-8")
    new = filled(page, made)
    if options.write:
        DOCUMENT.write_text(new, encoding="utf-8")
    elif new != page:
        print(f"{DOCUMENT} is out of date; run python -m benchmarks.hardware_tables --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
