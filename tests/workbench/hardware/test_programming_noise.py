"""What a write-and-verify loop leaves: mean and spread of every device against the published closed form."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.statistics import assert_moments

from workbench.hardware.pcm import PCM, programming_deviation
from workbench.hardware.pcm_hermes import Hermes
from workbench.hardware.programmed import Generic
from workbench.hardware.programming_noise import ProgrammingNoise, Scaled
from workbench.hardware.reram_cmo import ReRAMCMO
from workbench.hardware.reram_milo import ReRAMMilo
from workbench.hardware.reram_wan import ReRAMWan
from workbench.hardware.reram_wan import programming_deviation as wan_deviation
from workbench.hardware.sonos import SONOS

COUNT = 200_000


def quadratic(x, g_max=25.0):
    """Nandakumar et al. 2019: microsiemens against g / g_max."""
    return (0.26348 + 1.9650 * x - 1.1731 * x**2) * g_max / 25.0


def quartic(x, a, b, c, d, e):
    return a + b * x + c * x**2 + d * x**3 + e * x**4


# By name: the device, and its standard deviation, microsiemens, against the conductance aimed at.
DEVICES = {
    "pcm": (PCM, {}, lambda g: quadratic(g / 25)),
    "pcm g_max=40": (PCM, {"g_max": 40.0}, lambda g: quadratic(g / 40, 40.0)),
    "pcm joshi": (PCM, {"fit": "joshi"}, lambda g: 0.28638599 + 0.07585724 * g - 0.00178767 * g**2),
    "hermes": (
        Hermes,
        {},
        lambda g: quartic(g / 20.7, 0.16603222, 4.71806468, -8.48101252, 4.68961419, 0.0),
    ),
    "hermes alone": (
        Hermes,
        {"sharing": 1},
        lambda g: quartic(g / 10.35, 0.15781817, 2.32443916, -2.16310839, 0.68841818, 0.0),
    ),
    "wan 1s": (ReRAMWan, {}, lambda g: quartic(g / 40, 0.348, 16.030, -43.853, 45.393, -16.815)),
    "wan 1day": (
        ReRAMWan,
        {"relaxed": "1day"},
        lambda g: quartic(g / 40, 0.701, 22.086, -50.773, 47.095, -16.458),
    ),
    "wan 2days": (
        ReRAMWan,
        {"relaxed": "2days"},
        lambda g: quartic(g / 40, 0.782, 20.274, -43.507, 37.062, -11.934),
    ),
    "wan cubic": (
        ReRAMWan,
        {"fit": "cubic"},
        lambda g: 1.053 + 0.2374 * g - 0.01167 * g**2 + 1.536e-4 * g**3,
    ),
    "cmo 0.2%": (ReRAMCMO, {}, lambda g: 0.00081107 + 0.00106879 * g),
    "cmo 2%": (ReRAMCMO, {"acceptance": "2%"}, lambda g: 0.0112185391 + 0.01129027418 * g),
    "milo": (ReRAMMilo, {}, lambda g: 4.782321 - 0.009107 * g),
    "sonos": (SONOS, {}, lambda g: 0.1988665 * (1 - math.exp(-g / 1.763115))),
    "sonos after 5 days": (SONOS, {"days": 5}, lambda g: 0.3457909 * (1 - math.exp(-g / 2.0734309))),
    "independent": (Generic, {}, lambda g: 0.02 * 1000),
    "proportional": (Generic, {"scaling": "proportional"}, lambda g: 0.02 * g),
    "inverse": (Generic, {"scaling": "inverse"}, lambda g: 0.02 * 1000**2 / g),
    "uniform": (Generic, {"distribution": "uniform", "programming_share": 0.1}, lambda g: 0.1 * 1000),
}


def device(kind, **settings):
    return kind(kind.Config(**settings)).device()


@pytest.mark.parametrize("name", DEVICES)
def test_errors_have_no_mean_and_the_published_deviation(name):
    kind, settings, deviation = DEVICES[name]
    made = device(kind, **settings)
    generator = torch.Generator().manual_seed(3)
    for share in (0.0, 0.1, 0.25, 0.5, 1.0):
        g = made.g_min + share * (made.g_max - made.g_min)
        exact = made.programming.deviation(torch.tensor([g], dtype=torch.float64)) if g else None
        assert exact is None or exact.item() == pytest.approx(deviation(g))
        error = made.programming.error(torch.full((COUNT,), g), generator)
        if deviation(g) == 0:
            assert not error.any()
            continue
        assert_moments(error, 0.0, deviation(g), f"{name} at {g} microsiemens")


def test_pcm_reference_values():
    found = programming_deviation("nandakumar")(torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64) * 25)
    torch.testing.assert_close(found, torch.tensor([0.263, 0.681, 0.953, 1.055]).double(), rtol=0, atol=5e-4)


def test_two_fits_of_the_same_phase_change_memory_agree():
    g = torch.linspace(0, 25, 1001, dtype=torch.float64)
    apart = (programming_deviation("nandakumar")(g) - programming_deviation("joshi")(g)).abs()
    assert 0.01 < apart.max() < 0.03


def test_two_fits_of_wans_memory_differ_as_stated():
    g = torch.linspace(0, 39.26, 1001, dtype=torch.float64)
    apart = wan_deviation("quartic")(g) - wan_deviation("cubic")(g)
    assert apart.abs().max() == pytest.approx(0.70, abs=0.01)
    assert apart.square().mean().sqrt() == pytest.approx(0.32, abs=0.01)


def test_wans_noise_follows_the_range_of_40_that_was_measured():
    """Aihwkit 0.9 has 2.03 here: its reference is stored under a name that nothing reads."""
    half = torch.tensor([12.5], dtype=torch.float64)
    assert wan_deviation("quartic", g_max=25.0)(half).item() == pytest.approx(1.26, abs=0.01)
    whole = wan_deviation("quartic")(torch.tensor([20.0], dtype=torch.float64)).item()
    assert wan_deviation("quartic", g_max=25.0)(half).item() == pytest.approx(whole * 25 / 40)


def test_acceptances_of_cmo_are_told_apart():
    """Aihwkit's default of 2e-2 matches none of its keys, and is silently 0.2 %."""
    g = torch.tensor([50.0], dtype=torch.float64)
    fine, coarse = (device(ReRAMCMO, acceptance=a).programming.deviation(g).item() for a in ("0.2%", "2%"))
    assert fine == pytest.approx(0.0542506)
    assert coarse == pytest.approx(0.5757322)


def test_uniform_errors_are_uniform():
    made = device(Generic, distribution="uniform", programming_share=0.1)
    error = made.programming.error(torch.full((COUNT,), 500.0), torch.Generator().manual_seed(0))
    edge = 100.0 * math.sqrt(3)
    assert error.abs().max() <= edge * (1 + 1e-6)
    counts = torch.histc(error, 20, -edge, edge)
    expected = COUNT / 20
    assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()


def test_inverse_noise_is_bounded_and_none_at_zero():
    found = Scaled(0.5, "inverse", 100.0)(torch.tensor([0.0, 1e-3, 25.0, 100.0]))
    assert found.tolist() == [0.0, 100.0, 100.0, 50.0]


@pytest.mark.parametrize("uniform", [False, True])
def test_factor_and_spread_scale_the_same_draws(uniform):
    target = torch.rand(1000, generator=torch.Generator().manual_seed(0)) * 25
    noise = ProgrammingNoise(programming_deviation("nandakumar"), 1.0, uniform)
    wider = ProgrammingNoise(programming_deviation("nandakumar"), 3.0, uniform)
    one = noise.error(target, torch.Generator().manual_seed(1))
    torch.testing.assert_close(wider.error(target, torch.Generator().manual_seed(1), 2.0), 6 * one)


def test_no_fit_has_a_negative_deviation():
    noise = ProgrammingNoise(lambda g: g - 10.0)
    error = noise.error(torch.full((100,), 5.0), torch.Generator().manual_seed(0))
    assert not error.any()
