"""Presets of resistive and charge-trapping memory that is written and verified: ranges, settings, and learning."""

from __future__ import annotations

import pytest
import torch
from fixtures import small
from pydantic import ValidationError

from workbench.config import resolve
from workbench.errors import ConfigurationError
from workbench.hardware.programmed import Generic
from workbench.hardware.reram_cmo import ReRAMCMO
from workbench.hardware.reram_milo import ReRAMMilo
from workbench.hardware.reram_wan import ReRAMWan
from workbench.hardware.sonos import SONOS
from workbench.randomness import RandomStreams

PRESETS = {
    # Range in microsiemens, and which imperfections there are: programming, drift, read noise.
    ReRAMWan: (0.0, 40.0, (True, False, True)),
    ReRAMCMO: (9.0, 88.2, (True, True, True)),
    ReRAMMilo: (50.0, 225.0, (True, False, False)),
    SONOS: (0.0, 16.0, (True, False, True)),
    Generic: (100.0, 1000.0, (True, False, True)),
}
DAY = 86400.0


def device(kind, **settings):
    return kind(kind.Config(**settings)).device()


@pytest.mark.parametrize("kind", PRESETS)
def test_ranges_and_imperfections(kind):
    g_min, g_max, imperfections = PRESETS[kind]
    made = device(kind)
    assert (made.g_min, made.g_max, made.sharing) == (g_min, g_max, 1)
    assert tuple(law is not None for law in (made.programming, made.drift, made.read)) == imperfections


@pytest.mark.parametrize("kind", PRESETS)
def test_factors_of_zero_leave_nothing(kind):
    off = {"programming_noise": 0.0, "read_noise": 0.0}
    if "drift" in kind.Config.model_fields:
        off["drift"] = 0.0
    made = device(kind, **off)
    assert made.programming is made.drift is made.read is None


@pytest.mark.parametrize("share", ["programming_share", "read_share"])
def test_a_share_of_zero_is_no_noise_either(share):
    made = device(Generic, **{share: 0.0})
    assert (made.programming if share == "programming_share" else made.read) is None


@pytest.mark.parametrize("kind", ["reram-cmo", "reram-milo", "programmed"])
def test_a_range_that_is_none_is_refused(kind):
    with pytest.raises(ConfigurationError, match="leaves no range"):
        resolve([f"hardware={kind}", "hardware.g_min=70", "hardware.g_max=60"])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ReRAMWan, {"fit": "cubik"}),
        (ReRAMWan, {"relaxed": "1h"}),
        (ReRAMCMO, {"acceptance": "0.02"}),
        (SONOS, {"days": 6}),
        (SONOS, {"g_max": 17.0}),
        (Generic, {"sharing": 3}),
        (Generic, {"granularity": 0.0}),
    ],
)
def test_settings_outside_of_what_was_measured_are_refused(kind, values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        kind.Config(**values)


@pytest.mark.parametrize("rule", ["osttp", "bptt"])
@pytest.mark.parametrize("kind", PRESETS)
def test_a_network_learns_on_them(kind, rule):
    hardware = kind(kind.Config(granularity=1e-3))
    made = small.trainer(rule, chip=hardware.attach)
    made.train_task(0)
    report = made.chip.report(made.work.samples)
    assert all(torch.isfinite(p).all() for p in made.network.parameters())
    assert report["writes"]["total"] > 0
    assert report["devices"] == 2 * report["weights"]


@pytest.mark.parametrize("kind", PRESETS)
def test_a_weight_is_off_by_a_share_of_the_range_that_is_the_devices(kind):
    """What a designer sees first: how far a network is from what was trained, right after it was written."""
    net = small.network(hidden=(40,), inputs=50).float()
    wanted = net.layers[0].synapse.weight.detach().clone()
    chip = kind(kind.Config(read_noise=0.0)).attach(net, RandomStreams(0))
    array = chip.stored[0].array
    off = (net.layers[0].synapse.weight.detach() - wanted).square().mean().sqrt() / array.largest
    made = array.device
    g = made.g_min + wanted.abs() / array.largest * (made.g_max - made.g_min)
    rest = made.programming.deviation(torch.full((1,), made.g_min))
    if made.g_min == 0:
        # Of a side at zero half of the errors are cut off; their second moment is half of what it was.
        rest = rest / 2**0.5
    expected = (made.programming.deviation(g).square().mean() + rest.square()).sqrt() / (
        made.g_max - made.g_min
    )
    assert off == pytest.approx(float(expected), rel=0.15)


def test_relaxation_of_cmo_is_what_a_test_after_a_day_reads():
    """Its spread is many times that of programming; the shift is that of both sides and cancels."""
    net = small.network(hidden=(200,), inputs=200).float()
    chip = ReRAMCMO(ReRAMCMO.Config(read_noise=0.0, t_read=DAY)).attach(net, RandomStreams(0))
    weight = net.layers[0].synapse.weight
    written = weight.detach().clone()
    with chip.tested("a day"):
        moved = (weight.detach() - written).double() / chip.stored[0].array.largest * (88.2 - 9.0)
    # A spread of 0.41183342 + 0.04201137 ln(86400) microsiemens on either side.
    expected = 2**0.5 * 0.8893
    count = moved.numel()
    assert moved.std() == pytest.approx(expected, rel=5 / (2 * count) ** 0.5)
    assert moved.mean() == pytest.approx(0.0, abs=5 * expected / count**0.5)


def test_wans_devices_relax_as_a_setting():
    """The fit was measured at some times only: none of them passes while a network learns."""
    net = small.network(hidden=(100,), inputs=100).float()
    wanted = net.layers[0].synapse.weight.detach().clone()
    spread = {}
    for relaxed in ("1s", "1day"):
        again = small.network(hidden=(100,), inputs=100).float()
        chip = ReRAMWan(ReRAMWan.Config(read_noise=0.0, relaxed=relaxed)).attach(again, RandomStreams(0))
        before = again.layers[0].synapse.weight.detach().clone()
        with chip.tested("later"):
            assert torch.equal(again.layers[0].synapse.weight, before)
        spread[relaxed] = float((before - wanted).std())
    assert spread["1day"] > 1.2 * spread["1s"]
