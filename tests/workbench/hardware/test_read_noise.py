"""Fluctuation of reads: standard deviation of every device against its closed form, and of what an array reads."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.statistics import assert_moments

from workbench.hardware.pcm import PCM
from workbench.hardware.pcm_hermes import Hermes
from workbench.hardware.programmed import Generic
from workbench.hardware.programmed_array import ProgrammedArray
from workbench.hardware.read_noise import FlickerNoise, LogarithmicFlickerNoise
from workbench.hardware.reram_cmo import ReRAMCMO
from workbench.hardware.reram_milo import ReRAMMilo
from workbench.hardware.reram_wan import ReRAMWan
from workbench.hardware.sonos import SONOS

COUNT = 200_000
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
DAY = 86400.0


def gathered(seconds, t_0, t_r):
    return math.sqrt(math.log((seconds + t_0 + t_r) / (2 * t_r)))


def phase_change(g, seconds, g_max=25.0, t_0=20.0, t_r=250e-9):
    relative = min(0.0088 / max((g / g_max) ** 0.65, 1e-3), 0.2)
    return g * relative * gathered(seconds, t_0, t_r)


def hermes(g, seconds, sharing=2):
    x = g / {1: 10.35, 2: 20.7}[sharing]
    if sharing == 1:
        low = min(max(-0.0078 * math.log(x) + 0.0038, 0.0179), 0.04)
        q = low if x < 0.1591 else 0.0088 + 0.0768 * x - 0.1352 * x**2 + 0.0664 * x**3
    else:
        low = min(max(-0.0117 * math.log(x) - 0.0069, 0.015), 0.04)
        q = low if x < 0.16 else 0.0123 + 0.0211 * x - 0.0280 * x**2 + 0.0069 * x**3
    return g * q * gathered(seconds, {1: 200.0, 2: 300.0}[sharing], 512e-9)


def cmo(g, seconds):
    return 0.0277316483 * math.log10(g) * math.sqrt(math.log((seconds + 1e-6) / 2e-6))


# By name: the device, and the standard deviation of reading one conductance, microsiemens, some time after programming.
DEVICES = {
    "pcm": (PCM, {}, phase_change),
    "pcm other": (
        PCM,
        {"g_max": 40.0, "t_0": 5.0, "read_seconds": 1e-6},
        lambda g, s: phase_change(g, s, 40.0, 5.0, 1e-6),
    ),
    "hermes": (Hermes, {}, hermes),
    "hermes alone": (Hermes, {"sharing": 1}, lambda g, s: hermes(g, s, 1)),
    "wan": (ReRAMWan, {}, lambda g, s: 0.01 * 40 / math.sqrt(2)),
    "cmo": (ReRAMCMO, {}, cmo),
    "milo": (ReRAMMilo, {"read_noise": 1.0}, lambda g, s: 0.01 * 175 / math.sqrt(2)),
    "sonos": (SONOS, {}, lambda g, s: 0.1258037 * (1 - math.exp(-g / 2.1536557))),
    "independent": (Generic, {}, lambda g, s: 0.01 * 1000),
    "proportional": (Generic, {"read_scaling": "proportional"}, lambda g, s: 0.01 * g),
    "inverse": (Generic, {"read_scaling": "inverse"}, lambda g, s: 0.01 * 1000**2 / g),
}


def device(kind, **settings):
    return kind(kind.Config(**settings)).device()


@pytest.mark.parametrize("seconds", [1.0, DAY])
@pytest.mark.parametrize("name", DEVICES)
def test_deviations_are_the_published_ones(name, seconds):
    kind, settings, deviation = DEVICES[name]
    made = device(kind, **settings)
    g = torch.tensor([made.g_min + share * (made.g_max - made.g_min) for share in SHARES]).double()
    variance = made.read.variance(made.read.coefficient(g), g, torch.full_like(g, seconds))
    expected = torch.tensor([deviation(x, seconds) for x in g.tolist()]).double()
    torch.testing.assert_close(variance.sqrt(), expected)


@pytest.mark.parametrize("redrawn", ["batch", "read"])
@pytest.mark.parametrize("name", DEVICES)
def test_reads_of_an_array_fluctuate_as_published(name, redrawn):
    """One side of each pair is at g_min, whose noise adds to that of the other."""
    kind, settings, deviation = DEVICES[name]
    plain = {"programming_noise": 0.0, "headroom": 1.0, "read_noise_redrawn": redrawn}
    config = kind.Config(
        **(settings | plain | ({"drift": 0.0} if "drift" in kind.Config.model_fields else {}))
    )
    made = kind(config).device()
    wanted = torch.tensor(SHARES)[:, None].repeat(1, COUNT // 10)
    wanted[:, ::2] *= -1
    generator = torch.Generator().manual_seed(2)
    array = ProgrammedArray(wanted, made, config, generator)
    array.program(wanted, torch.ones_like(wanted, dtype=torch.bool), 0.0, generator)
    array.redraw(generator)
    read = array.read(DAY)
    if redrawn == "read":
        read = read + array.read_deviation() * torch.randn(wanted.shape, generator=generator)
    for row, share in enumerate(SHARES):
        width = made.g_max - made.g_min
        lowest = 0.0 if made.g_min == 0 and kind in (PCM, Hermes) else deviation(made.g_min or 1e-12, DAY)
        expected = math.hypot(deviation(made.g_min + share * width, DAY), lowest) / width
        assert_moments(read[row] - wanted[row], 0.0, expected, f"{name}, {share} of the range")


def test_relative_noise_of_phase_change_memory_after_a_second():
    made = device(PCM)
    g = torch.tensor([25.0, 12.5, 2.5], dtype=torch.float64)
    relative = made.read.variance(made.read.coefficient(g), g, torch.ones(3, dtype=torch.float64)).sqrt() / g
    torch.testing.assert_close(relative, torch.tensor([0.037, 0.058, 0.165]).double(), rtol=0, atol=6e-4)


def test_the_fits_of_hermes_meet_at_their_knees():
    """A digit that was mistyped would show as a step."""
    for sharing, knee in ((1, 0.1591), (2, 0.16)):
        made = device(Hermes, sharing=sharing)
        g = torch.tensor([knee - 1e-6, knee + 1e-6], dtype=torch.float64) * made.g_max
        below, above = made.read.relative(g).tolist()
        assert abs(below - above) < 1e-3


def test_noise_is_relative_to_what_is_left_of_a_conductance():
    noise = FlickerNoise(lambda g: torch.full_like(g, 0.1), 20.0, 1e-6)
    coefficient = noise.coefficient(torch.tensor([10.0]))
    seconds = torch.tensor([1000.0])
    whole, half = (noise.variance(coefficient, torch.tensor([g]), seconds) for g in (10.0, 5.0))
    torch.testing.assert_close(whole, 4 * half)


def test_no_noise_has_gathered_before_a_read_is_over():
    late, early = torch.tensor([1.0]), torch.tensor([0.0])
    noise = LogarithmicFlickerNoise(0.03, 1e-6)
    coefficient, g = noise.coefficient(torch.tensor([50.0])), torch.tensor([50.0])
    assert noise.variance(coefficient, g, early) == 0
    assert noise.variance(coefficient, g, late) > 0
    # Nor does its logarithm turn round below a microsiemens.
    assert noise.variance(coefficient, torch.tensor([0.1]), late) == 0


@pytest.mark.parametrize("name", DEVICES)
def test_the_factor_scales_deviations(name):
    kind, settings, _ = DEVICES[name]
    one, three = (device(kind, **(settings | {"read_noise": factor})) for factor in (1.0, 3.0))
    g = torch.linspace(one.g_min, one.g_max, 11, dtype=torch.float64)
    seconds = torch.full_like(g, 100.0)
    first, second = (made.read.variance(made.read.coefficient(g), g, seconds) for made in (one, three))
    torch.testing.assert_close(second, 9 * first)
    assert device(kind, **(settings | {"read_noise": 0.0})).read is None
