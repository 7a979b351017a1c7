"""Drift against its closed forms: factors, exponents, relaxation, and that each device counts from its own writing."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.statistics import assert_moments

from workbench.hardware.drift import power_law
from workbench.hardware.pcm import PCM, PCMConfig
from workbench.hardware.pcm_hermes import Hermes
from workbench.hardware.programmed import Generic
from workbench.hardware.programmed_array import ProgrammedArray
from workbench.hardware.reram_cmo import ReRAMCMO

COUNT = 200_000
HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0


def device(kind, **settings):
    return kind(kind.Config(**settings)).device()


def programmed(wanted, **settings):
    """Return phase-change memory without noise that holds weights of full scale 1."""
    plain = {"programming_noise": 0.0, "read_noise": 0.0, "headroom": 1.0, "compensation": "off"}
    config = PCMConfig(**(plain | settings))
    array = ProgrammedArray(wanted, PCM(config).device(), config, torch.Generator().manual_seed(1))
    array.program(wanted, torch.ones_like(wanted, dtype=torch.bool), 0.0, torch.Generator().manual_seed(2))
    return array


@pytest.mark.parametrize(
    ("seconds", "factor"), [(HOUR, 0.775), (DAY, 0.664), (30 * DAY, 0.562), (YEAR, 0.497)]
)
def test_factors_at_the_exponent_of_large_conductances(seconds, factor):
    found = power_law(torch.tensor([seconds], dtype=torch.float64), 20.0, torch.tensor([0.049]).double())
    assert found.item() == pytest.approx(factor, abs=5e-4)


def test_at_programming_nothing_has_drifted():
    g = torch.rand(1000, generator=torch.Generator().manual_seed(0)) * 25
    drift = device(PCM).drift
    nu = drift.draw(g, torch.Generator().manual_seed(1))
    assert torch.equal(drift.after(g, nu, torch.zeros(1000)), g)


def clamp(value, least, most):
    return min(max(value, least), most)


def pcm(x):
    """Return mean and spread of nu before its sign is dropped."""
    return clamp(-0.0155 * math.log(x) + 0.0244, 0.049, 0.1), clamp(
        -0.0125 * math.log(x) - 0.0059, 0.008, 0.045
    )


def hermes_mean(x):
    low = clamp(-0.0387 * math.log(x) - 0.0182, 0.0720, 0.13)
    return low if x < 0.0945 else 0.0736 - 0.0126 * x - 0.0436 * x**2


def hermes(x):
    low = clamp(-0.0117 * math.log(x) - 0.0057, 0.0091, 0.04)
    return hermes_mean(x), low if x < 0.3055 else 0.0073 + 0.0093 * x - 0.0118 * x**2


def hermes_alone(x):
    low = clamp(-0.0120 * math.log(x) - 0.0023, 0.0124, 0.04)
    return hermes_mean(x), low if x < 0.3039 else 0.0104 + 0.0116 * x - 0.0165 * x**2


def folded(mean, spread):
    """Return mean and standard deviation of |mean + spread xi|."""
    ratio = mean / spread
    below = 0.5 * math.erfc(ratio / math.sqrt(2))
    first = spread * math.sqrt(2 / math.pi) * math.exp(-(ratio**2) / 2) + mean * (1 - 2 * below)
    return first, math.sqrt(mean**2 + spread**2 - first**2)


@pytest.mark.parametrize(
    ("kind", "settings", "law"),
    [
        (PCM, {}, pcm),
        (PCM, {"g_max": 40.0, "drift": 2.0}, lambda x: tuple(2 * part for part in pcm(x))),
        (Hermes, {}, hermes),
        (Hermes, {"sharing": 1}, hermes_alone),
        (Generic, {"drift": 1.0, "nu_mean": 0.02, "nu_spread": 0.02}, lambda x: (0.02, 0.02)),
    ],
    ids=["pcm", "pcm doubled", "hermes", "hermes alone", "generic"],
)
def test_exponents_have_the_published_mean_and_spread(kind, settings, law):
    made = device(kind, **settings)
    generator = torch.Generator().manual_seed(5)
    for x in (0.01, 0.08, 0.25, 0.5, 1.0):
        g = torch.full((1,), x * made.g_max, dtype=torch.float64)
        drift, factor = made.drift, made.drift.factor
        curves = factor * drift.mean(g).item(), factor * drift.spread(g).item()
        assert curves == pytest.approx(law(x))
        nu = made.drift.draw(torch.full((COUNT,), x * made.g_max), generator)
        assert nu.min() >= 0
        assert_moments(nu, *folded(*law(x)), f"nu at {x} of the range")


def test_devices_that_share_a_conductance_have_wider_exponents():
    """So that their mean has the spread of the fit."""
    config = Hermes.Config(programming_noise=0.0, read_noise=0.0, headroom=1.0)
    wanted = torch.ones(300, 400)
    array = ProgrammedArray(wanted, Hermes(config).device(), config, torch.Generator().manual_seed(0))
    array.program(wanted, torch.ones_like(wanted, dtype=torch.bool), 0.0, torch.Generator().manual_seed(1))
    one, other = array.cells.course[:2]
    mean, spread = hermes(1.0)
    assert_moments(one, mean, math.sqrt(2) * spread, "one device")
    assert_moments((one + other) / 2, mean, spread, "both")


def test_devices_that_aim_at_zero_have_the_largest_exponents():
    nu = device(PCM).drift.draw(torch.zeros(COUNT), torch.Generator().manual_seed(0))
    assert_moments(nu, *folded(0.1, 0.045), "nu at zero")


def test_the_fits_of_hermes_meet_at_their_knees():
    """A digit that was mistyped would show as a step."""
    for sharing, knees in ((1, (0.0945, 0.3039)), (2, (0.0945, 0.3055))):
        drift = device(Hermes, sharing=sharing).drift
        for curve, knee in zip((drift.mean, drift.spread), knees, strict=True):
            g = torch.tensor([knee - 1e-6, knee + 1e-6], dtype=torch.float64) * {1: 10.35, 2: 20.7}[sharing]
            below, above = curve(g).tolist()
            assert abs(below - above) < 1.2e-3


@pytest.mark.parametrize("seconds", [1.0, 60.0, DAY])
def test_cmo_relaxes_by_a_shift_and_a_spread_that_grow_with_the_logarithm(seconds):
    drift = device(ReRAMCMO).drift
    g = torch.full((COUNT,), 50.0)
    xi = drift.draw(g, torch.Generator().manual_seed(0))
    relaxed = drift.after(g, xi, torch.full_like(g, seconds))
    logarithm = math.log(seconds)
    mean, spread = 50 - 0.08900206 * logarithm, 0.41183342 + 0.04201137 * logarithm
    assert_moments(relaxed, mean, spread, "relaxed")
    sides = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    found = drift.after(torch.full_like(sides, 50.0), sides, torch.full_like(sides, seconds))
    assert found.tolist() == pytest.approx([mean - spread, mean + spread])


def test_cmo_shows_nothing_before_a_second_and_never_less_than_zero():
    drift = device(ReRAMCMO).drift
    g = torch.tensor([50.0, 0.01, 50.0])
    xi, seconds = torch.tensor([3.0, -9.0, 3.0]), torch.tensor([0.99, DAY, 1.0])
    after = drift.after(g, xi, seconds)
    assert after[0] == 50.0
    assert after[1] == 0.0
    assert after[2] > 51.0


def test_a_device_keeps_its_course_until_it_is_written_again():
    wanted = torch.full((20, 30), 0.5)
    array = programmed(wanted)
    generator = torch.Generator().manual_seed(7)
    early, late = array.read(DAY), array.read(YEAR)
    assert torch.equal(array.read(DAY), early)
    assert ((late < early) & (early < wanted)).all()
    # Half of the weights are written anew after a year: they stand where they are wanted, and drift from there.
    anew = torch.arange(600).view(20, 30) % 2 == 0
    array.program(wanted * 0.9, anew, YEAR, generator)
    again = array.read(YEAR)
    torch.testing.assert_close(again[anew], 0.9 * wanted[anew])
    assert torch.equal(again[~anew], late[~anew])
    nu = -(array.read(YEAR + DAY)[anew] / again[anew]).log() / math.log((DAY + 20) / 20)
    before = -(early / wanted).log()[anew] / math.log((DAY + 20) / 20)
    assert (nu - before).abs().min() > 0
    assert nu.mean() == pytest.approx(0.049, abs=5 * 0.008 / math.sqrt(300))
    assert nu.std() == pytest.approx(0.008, abs=5 * 0.008 / math.sqrt(600))


def test_only_the_side_of_a_pair_that_is_written_starts_anew():
    array = programmed(torch.tensor([[0.5, 1.0]]))
    generator = torch.Generator().manual_seed(0)
    assert array.cells.written.tolist() == [[[0.0, 0.0]], [[0.0, 0.0]]]
    array.program(torch.tensor([[0.6, 1.0]]), torch.tensor([[True, True]]), 10.0, generator)
    assert array.cells.written.tolist() == [[[10.0, 0.0]], [[0.0, 0.0]]]
    array.program(torch.tensor([[-0.6, 1.0]]), torch.tensor([[True, True]]), 20.0, generator)
    assert array.cells.written.tolist() == [[[20.0, 0.0]], [[20.0, 0.0]]]


def test_weights_lose_the_factor_of_the_mean_exponent():
    array = programmed(torch.ones(100, 200))
    for seconds, factor in ((HOUR, 0.775), (DAY, 0.664), (YEAR, 0.497)):
        logarithm = math.log((seconds + 20) / 20)
        # E[exp(-nu L)] of a normal nu is the factor at the mean times exp(L^2 sigma^2 / 2).
        expected = factor * math.exp((0.008 * logarithm) ** 2 / 2)
        assert array.read(seconds).mean() == pytest.approx(expected, abs=2e-3)
