"""Budgets: defaults, units, and faults that are told with what is allowed."""

from __future__ import annotations

import pytest

from workbench.errors import ConfigurationError
from workbench.feasibility.budget import Budget, budget_of


def test_the_defaults():
    assert budget_of({}).model_dump() == {
        "sram": 256 * 1024,
        "endurance": "survey-min",
        "lifetime": 5 * 365.25 * 86_400,
        "rate": "continuous",
        "power": 1e-3,
        "energy": None,
        "loss": 0.05,
    }


def test_every_budget_as_it_is_typed():
    typed = {
        "sram": "64KiB",
        "endurance": 1e6,
        "lifetime": "30d",
        "rate": "1000/d",
        "power": "20uW",
        "energy": "2uJ",
        "loss": "10%",
    }
    found = budget_of(typed)
    assert found == Budget(**typed)
    assert (found.sram, found.endurance, found.lifetime) == (65_536, 1e6, 30 * 86_400)
    assert found.rate == pytest.approx(1000 / 86_400)
    assert (found.power, found.energy, found.loss) == pytest.approx((2e-5, 2e-6, 0.1))
    assert budget_of({"energy": "none", "endurance": "device"}) == budget_of({"endurance": "device"})


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ({"sram": "256KB"}, r"budget\.sram: .*did you mean kB\?.*B, kB, MB"),
        ({"sram": "0B"}, r"budget\.sram: .*> 0"),
        ({"power": "1s"}, r"budget\.power: .*'s' is no unit here.*W, mW"),
        ({"lifetime": 5}, r"budget\.lifetime: .*the unit is missing.*5y"),
        ({"rate": "0Hz"}, r"budget\.rate: .*> 0"),
        ({"rate": "often"}, r"budget\.rate: .*continuous or 1000/d"),
        ({"energy": "1W"}, r"budget\.energy: .*J, mJ"),
        ({"loss": "200%"}, r"budget\.loss: .*<= 1"),
        ({"endurance": "much"}, r"budget\.endurance: .*survey-min, survey-max, device"),
        ({"endurance": True}, r"budget\.endurance: .*survey-min"),
        ({"endurance": 0}, r"budget\.endurance: .*> 0"),
        ({"srma": "1KiB"}, r"budget\.srma: unknown key; did you mean budget\.sram\?"),
    ],
)
def test_faults_are_told_with_what_is_allowed(typed, told):
    with pytest.raises(ConfigurationError, match=told):
        budget_of(typed)


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        budget_of({"sram": "1W", "power": "1B", "srma": 1})
    assert len(str(caught.value).splitlines()) == 3
