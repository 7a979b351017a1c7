"""Presets of phase-change memory: their published numbers, and a small network that learns on them."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures import small
from pydantic import ValidationError

from workbench.hardware.pcm import PCM, PCMConfig
from workbench.hardware.pcm_hermes import Hermes, HermesConfig
from workbench.randomness import RandomStreams

HOUR, YEAR = 3600.0, 365.25 * 86400.0


def attached(kind, **settings):
    hardware = kind(kind.Config(**settings))
    net = small.network(hidden=(60,), inputs=50).float()
    return net, hardware.attach(net, RandomStreams(0))


def trained(kind, rule, **settings):
    hardware = kind(kind.Config(**settings))
    made = small.trainer(rule, chip=hardware.attach)
    made.train_task(0)
    return made


def test_nandakumars_device():
    made = PCM(PCMConfig()).device()
    assert (made.g_min, made.g_max, made.sharing) == (0.0, 25.0, 1)
    assert made.drift.t_0 == made.read.t_0 == 20.0
    assert made.read.t_r == 250e-9


@pytest.mark.parametrize(("sharing", "g_max", "t_0"), [(1, 10.35, 200.0), (2, 20.7, 300.0)])
def test_the_hermes_chip(sharing, g_max, t_0):
    made = Hermes(HermesConfig(sharing=sharing)).device()
    assert (made.g_min, made.g_max, made.sharing) == (0.0, g_max, sharing)
    assert made.drift.t_0 == made.read.t_0 == t_0
    assert made.read.t_r == 512e-9
    assert Hermes(HermesConfig(sharing=sharing, t_0=7.0)).device().drift.t_0 == 7.0


@pytest.mark.parametrize("kind", [PCM, Hermes])
def test_a_factor_of_zero_takes_an_imperfection_away(kind):
    made = kind(kind.Config(programming_noise=0.0, drift=0.0, read_noise=0.0)).device()
    assert made.programming is None
    assert made.drift is None
    assert made.read is None


@pytest.mark.parametrize("values", [{"g_max": 0.0}, {"t_0": 0.0}, {"fit": "joshy"}, {"read_seconds": -1.0}])
def test_settings_that_make_no_device_are_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        PCMConfig(**values)


def test_a_network_is_read_with_the_errors_of_its_devices():
    """Programming noise alone: each side of a pair adds its own, that of a side at zero is cut off."""
    net, chip = attached(PCM, read_noise=0.0, drift=0.0)
    stored = chip.stored[0]
    wanted = small.network(hidden=(60,), inputs=50).float().layers[0].synapse.weight.detach()
    largest = stored.array.largest
    assert largest == 2 * float(wanted.abs().max())
    x = (wanted.abs() / largest).double()
    sigma = 0.26348 + 1.9650 * x - 1.1731 * x**2
    off = 0.26348 * math.sqrt(0.5 - 0.5 / math.pi)
    apart = (stored.parameter.detach() - wanted).double() / largest * 25
    # Of a side at zero the mean is sigma / sqrt(2 pi): it pulls weights to zero.
    pull = apart * wanted.sign() + 0.26348 / math.sqrt(2 * math.pi)
    scaled = (pull / (sigma.square() + off**2).sqrt()).flatten()
    # Nearer to zero the errors of both sides are cut off.
    away = (x > 0.05).flatten()
    assert away.double().mean() > 0.5
    count = int(away.sum())
    assert scaled[away].mean() == pytest.approx(0.0, abs=5 / math.sqrt(count))
    assert scaled[away].std() == pytest.approx(1.0, abs=5 / math.sqrt(2 * count))
    assert torch.equal(net.layers[0].synapse.weight, stored.shown)


@pytest.mark.parametrize("kind", [PCM, Hermes])
@pytest.mark.parametrize("rule", ["osttp", "bptt"])
def test_a_network_learns_on_them(kind, rule):
    made = trained(kind, rule, sequence_seconds=10.0, granularity=1e-3)
    report = made.chip.report(made.work.samples)
    assert all(torch.isfinite(p).all() for p in made.network.parameters())
    assert report["writes"]["total"] > 0
    assert report["devices"] == report["weights"] * (4 if kind is Hermes else 2)
    assert report["buffer_bytes"] == 4 * report["weights"]
    assert report["seconds"] == 10.0 * made.work.samples
    for array in report["arrays"]:
        assert array["compensation"] == 1.0
        assert array["largest_weight"] > 0


def test_weights_that_are_read_later_have_drifted_and_are_compensated():
    """The mean comes back to where it was verified; the spread of the exponents stays as an error."""
    net, chip = attached(PCM, read_noise=0.0, t_read=YEAR)
    weight = net.layers[0].synapse.weight
    now = weight.detach().clone()
    with chip.tested("a year"):
        later = weight.detach().clone()
    assert torch.equal(weight, now)
    assert later.abs().mean() == pytest.approx(float(now.abs().mean()), rel=1e-5)
    assert (later - now).abs().mean() > 0.02 * now.abs().mean()
    net, chip = attached(PCM, read_noise=0.0, t_read=YEAR, compensation="off")
    with chip.tested("a year"):
        lost = net.layers[0].synapse.weight.detach().abs().mean() / now.abs().mean()
    assert lost == pytest.approx(0.49, abs=0.03)


def test_the_two_fits_are_two_devices():
    one, other = (attached(PCM, fit=fit, read_noise=0.0, drift=0.0)[0] for fit in ("nandakumar", "joshi"))
    first, second = (net.layers[0].synapse.weight.detach() for net in (one, other))
    # The same draws, of deviations that are 0.023 microsiemens apart at most.
    apart = (first - second).abs().max() / (2 * first.abs().max()) * 25
    assert 0 < apart < 0.023 * 4.5 * 2
