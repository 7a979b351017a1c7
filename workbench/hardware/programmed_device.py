"""A memristive device that is written and verified: its range of conductance and its three imperfections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.hardware.drift import Drift
    from workbench.hardware.programming_noise import ProgrammingNoise
    from workbench.hardware.read_noise import ReadNoise


@dataclass(frozen=True)
class Device:
    """Conductances in microsiemens; an imperfection that is None does not exist.

    sharing: devices that carry one conductance between them. Range and fits are then those of their sum, and each of
    them has sqrt(sharing) times the relative errors, so that the sum has those of the fit.
    """

    g_min: float
    g_max: float
    programming: ProgrammingNoise | None = None
    drift: Drift | None = None
    read: ReadNoise | None = None
    sharing: int = 1
