"""How many writes memory cells endure, by their kind: the least and the most that a survey found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from workbench.errors import ConfigurationError, nearest

FILE = Path(__file__).parent / "endurance.yaml"


@dataclass(frozen=True)
class SurveyedEndurance:
    """Writes that cells of a kind endure, least and most reported (None: not reported), and who says so.

    kind: as plug-ins declare it. names: as people call it.
    """

    kind: str
    names: str
    least: float | None
    most: float | None
    source: str


@cache
def surveyed() -> Mapping[str, SurveyedEndurance]:
    """Return what the survey says, by kind of cell."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    source = " ".join(content["source"].split())
    return {
        kind: SurveyedEndurance(kind, cell["names"], cell["least"], cell["most"], source)
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
