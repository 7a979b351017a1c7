"""What cells endure, as the survey has it."""

from __future__ import annotations

import pytest

from workbench.cost.endurance import endurance_of, surveyed
from workbench.errors import ConfigurationError


def test_the_survey_is_that_of_the_source():
    assert {kind: (cell.least, cell.most) for kind, cell in surveyed().items()} == {
        "rram": (1e4, 1e9),
        "pcm": (1e5, 2e11),
        "fefet": (1e4, 1e11),
        "mram": (1e6, 1e15),
        "sot": (None, 1e11),
        "eflash": (1e6, None),
    }
    assert all("EnduranceSummary.csv" in cell.source for cell in surveyed().values())


def test_an_unknown_kind_is_refused_and_a_near_name_suggested():
    with pytest.raises(ConfigurationError, match=r"did you mean fefet\?.*known: rram, pcm"):
        endurance_of("fefett")
