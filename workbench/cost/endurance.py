"""How many writes memory cells endure, by their kind: the least and the most that a survey found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from workbench.errors import ConfigurationError, nearest

FILE = Path(__file__).parent / "endurance.yaml"

KINDS = {
    "pcm": "pcm",
    "hermes": "pcm",
    "reram": "rram",
    "rram": "rram",
    "fefet": "fefet",
    "mram": "mram",
    "sot": "sot",
    "eflash": "eflash",
    "sonos": "eflash",
}
"""Kinds of cells by how names of hardware begin; capacitors and ECRAM are in no survey at hand."""


@dataclass(frozen=True)
class SurveyedEndurance:
    """Writes that cells of a kind endure, least and most reported (None: not reported), and who says so."""

    kind: str
    least: float | None
    most: float | None
    source: str


@cache
def surveyed() -> Mapping[str, SurveyedEndurance]:
    """Return what the survey says, by kind of cell."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    source = " ".join(content["source"].split())
    return {
        kind: SurveyedEndurance(kind, cell["least"], cell["most"], f"{cell['names']}: {source}")
        for kind, cell in content["cells"].items()
    }


def endurance_of(kind: str) -> SurveyedEndurance:
    """Return what cells of a kind endure.

    Raises ConfigurationError for a kind that the survey does not have.

    >>> endurance_of("pcm").least
    100000.0
    """
    found = surveyed()
    if kind not in found:
        guess = nearest(kind, found)
        hint = f"; did you mean {guess}?" if guess else ""
        raise ConfigurationError(f"no endurance of {kind!r} is known{hint} (known: {', '.join(found)})")
    return found[kind]


def kind_of(hardware: str) -> str | None:
    """Return the kind of cell of a hardware plug-in by its name, None if the name does not tell.

    >>> kind_of("reram-wan"), kind_of("capacitor")
    ('rram', None)
    """
    return next((kind for start, kind in KINDS.items() if hardware.startswith(start)), None)
