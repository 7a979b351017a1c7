"""Devices as they are drawn: presets line by line as published, spreads against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.pulses import EXACT, devices, plain, settings
from pydantic import ValidationError

from workbench.hardware import pulsed
from workbench.hardware.pulse_steps import apply_pulses
from workbench.hardware.pulsed_devices import NONLINEARITY, curvature_of, symmetry_point
from workbench.hardware.pulsed_settings import PulsedConfig, preset

COUNT = 200_000
PRESETS = {
    # preset: step, dw_min, states, w_min, w_max, dtod, c2c, write noise, up_down, up_down_dtod, dtod of w_max, of w_min
    "ReRamES": ("exponential", 0.00135, 1481, -1, 1, 0.2, 5.0, 75, 0.259, 0.05, 0.3, 0.3),
    "ReRamSB": ("soft-bounds", 0.002, 1000, -0.75, 1.25, 0.3, 3.75, 56, 0, 0.01, 0.3 / 1.25, 0.3 / 0.75),
    "ReRamOM": ("soft-bounds", 0.0949, 21, -1, 1, 0.7829, 0.4158, 1.4113, 0, 0.01, 0.35, 0.57),
    "ReRamHfO2": ("soft-bounds", 0.4622, 4.3, -1, 1, 0.7125, 0.2174, 0.5841, 0, 0.01, 0.43, 0.60),
    "Capacitor": ("linear", 0.005, 400, -1, 1, 0.1, 0.3, 0, 0, 0.06, 0.07, 0.07),
    "ECRAM": ("linear", 0.002, 1000, -0.83, 1.17, 0.1, 0.3, 0, 0, 0.01, 0.05, 0.05),
    "ECRAMMO": ("linear", 2.8214e-4, 7089, -0.83, 1.17, 0.1, 2.0, 0, 0, 0.01, 0.05, 0.05),
    "PCMPair": ("exponential", 0.01, 200, 0, 2, 0.2, 0.6, 0, 0, 0.05, 0.1, 0.0),
    "Idealised": ("constant", 0.0002, 10_000, -1, 1, 0.3, 0.3, 0, 0, 0.0, 0.3, 0.3),
    "GokmenVlasov": ("constant", 0.0016, 1250, -1, 1, 0.3, 0.3, 0, 0, 0.01, 0.3, 0.3),
    "Pulsed": ("constant", 0.001, 1200, -0.6, 0.6, 0.3, 0.3, 0, 0, 0.01, 0.3, 0.3),
}
CURVES = {
    "ReRamES": {"a": -0.5, "b": -0.5, "gamma_up": 5, "gamma_down": 5, "a_up": -1.18445, "a_down": -0.081404},
    "PCMPair": {
        "cell": "pair",
        "gamma_up": 2.5,
        "a_up": -27.235,
        "a_down": -2.235,
        "dw_min_std_add": 0.042,
        "dw_min_std_slope": 0.108,
    },
    "ReRamSB": {"subtract_symmetry_point": False, "dw_min_log_normal": False},
    "ReRamOM": {
        "subtract_symmetry_point": True,
        "reference_std": 0.05,
        "dw_min_log_normal": True,
        "stuck": 0.0,
    },
    "ReRamHfO2": {
        "subtract_symmetry_point": True,
        "reference_std": 0.05,
        "dw_min_log_normal": True,
        "stuck": 0.0,
    },
    "Capacitor": {"gamma_up": 0.05, "gamma_down": 0.05, "lifetime": 1e6, "lifetime_dtod": 0.3},
    "ECRAM": {"gamma_up": 0.1153, "gamma_down": 0.5085},
    "ECRAMMO": {"gamma_up": 0.4152, "gamma_down": 0.7342},
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_published_devices(name):
    """The table D3 of the facts, whose numbers are rounded: to half a unit of their last digit."""
    config = getattr(pulsed, name).Config()
    step, dw_min, states, w_min, w_max, dtod, c2c, noise, up_down, up_down_dtod, *bounds = PRESETS[name]
    assert config.step == step
    assert config.dw_min == dw_min
    assert config.levels == pytest.approx(states, rel=0.015)
    assert (config.w_min, config.w_max) == pytest.approx((w_min, w_max), abs=0.005)
    assert (config.dw_min_dtod, config.dw_min_std, config.write_noise) == (dtod, c2c, noise)
    assert config.up_down == pytest.approx(up_down, abs=5e-4)
    assert config.up_down_dtod == up_down_dtod
    assert (config.w_max_dtod, config.w_min_dtod) == pytest.approx(bounds, abs=0.005)
    for field, value in CURVES.get(name, {}).items():
        assert getattr(config, field) == value, field


def test_presets_name_their_source_where_they_differ():
    fields = pulsed.ReRamOM.Config.model_fields
    assert "Gong and Rasch" in fields["dw_min"].description
    assert "Gong" not in fields["pulses"].description
    with pytest.raises(KeyError):
        preset("Nobody", "nowhere", no_such_setting=1)


def test_a_preset_does_not_change_the_generic_device():
    assert PulsedConfig().dw_min == 0.001
    assert PulsedConfig().step == "constant"
    assert "(" not in PulsedConfig.model_fields["dw_min_dtod"].description


def mean_and_spread(values, mean, spread, normal=True):
    """Hold a sample's mean and standard deviation to theirs, within five of their own standard deviations."""
    values = values.double().flatten()
    count = len(values)
    assert abs(float(values.mean()) - mean) < 5 * spread / math.sqrt(count)
    if normal:
        assert abs(float(values.std()) - spread) < 5 * spread / math.sqrt(2 * count)


def test_steps_spread_from_device_to_device():
    drawn = devices(settings(dw_min=0.01, dw_min_dtod=0.1, up_down=0.2, up_down_dtod=0.03), 200, 1000)
    spread = 0.01 * math.hypot(0.1, 0.03)
    mean_and_spread(drawn.up, 0.01, spread)
    mean_and_spread(drawn.down, 0.01 * 0.8, spread)
    # What both directions share, and what sets them apart.
    mean_and_spread(drawn.up + drawn.down, 0.01 * 1.8, 2 * 0.01 * 0.1)
    mean_and_spread(drawn.up - drawn.down, 0.01 * 0.2, 2 * 0.01 * 0.03)


def test_a_negative_asymmetry_weakens_pulses_up():
    drawn = devices(plain(up_down=-0.3, dw_min=0.01), 2, 2)
    torch.testing.assert_close(drawn.up, torch.full_like(drawn.up, 0.007))
    torch.testing.assert_close(drawn.down, torch.full_like(drawn.down, 0.01))


def test_a_log_normal_spread_is_around_the_median():
    drawn = devices(
        plain(dw_min=0.0949, dw_min_dtod=0.7829, dw_min_log_normal=True, up_down_dtod=0.0), 200, 1000
    )
    mean_and_spread(drawn.up.double().log(), math.log(0.0949), 0.7829)
    assert torch.equal(drawn.up, drawn.down)


def test_no_step_and_no_bound_changes_its_sign():
    drawn = devices(settings(dw_min_dtod=2.0, w_max_dtod=2.0, w_min_dtod=2.0), 200, 1000)
    assert (drawn.up >= 0).all()
    assert (drawn.down >= 0).all()
    assert (drawn.upper >= 0).all()
    assert (drawn.lower <= 0).all()


def test_bounds_spread_relative_to_their_mean():
    drawn = devices(settings(w_max=1.25, w_min=-0.75, w_max_dtod=0.2, w_min_dtod=0.1), 200, 1000)
    mean_and_spread(drawn.upper, 1.25, 1.25 * 0.2)
    mean_and_spread(drawn.lower, -0.75, 0.75 * 0.1)
    both = (drawn.upper - 1.25) * (drawn.lower + 0.75)
    mean_and_spread(both, 0.0, 1.25 * 0.2 * 0.75 * 0.1, normal=False)


def test_slopes_spread():
    chosen = plain("linear", gamma_up=0.6, gamma_down=0.5, gamma_up_dtod=0.1, gamma_down_dtod=0.05)
    drawn = devices(chosen, 200, 1000)
    mean_and_spread(-drawn.gain_up / 0.02 * 0.6, 0.6, 0.1)
    mean_and_spread(drawn.gain_down / 0.02 * 0.6, 0.5, 0.05)
    raised = devices(plain("power", gamma_up=1.5, gamma_up_dtod=0.2), 200, 1000)
    mean_and_spread(raised.gain_up, 1.5, 0.2)


def test_lifetimes_spread_and_are_what_is_left_after_an_update():
    drawn = devices(plain(lifetime=1000.0, lifetime_dtod=0.1), 200, 1000)
    mean_and_spread(1 / (1 - drawn.decay), 1000.0, 100.0)
    short = devices(plain(lifetime=0.5), 2, 2)
    assert (short.decay == 0).all()


def test_devices_of_a_pair_are_reset_with_a_spread_within_their_bounds():
    chosen = PulsedConfig(cell="pair", w_min=0.0, w_max=2.0, w_max_dtod=0.0, reset=0.5, reset_dtod=0.05)
    drawn = devices(chosen, 200, 1000)
    mean_and_spread(drawn.reset, 0.5, 0.05)
    low = devices(chosen.model_copy(update={"reset": 0.01, "reset_dtod": 0.02}), 200, 1000)
    assert low.reset.min() == 0


def test_both_devices_of_a_pair_go_up_and_differ_in_asymmetry():
    chosen = PulsedConfig(
        **(EXACT | {"cell": "pair", "w_min": 0.0, "w_max": 2.0, "up_down": 0.25, "dw_min": 0.01})
    )
    drawn = devices(chosen, 3, 4)
    assert drawn.up[0].unique().tolist() == pytest.approx([0.01])
    assert drawn.up[1].unique().tolist() == pytest.approx([0.0075])


def sent(drawn, count, start):
    """Return the weights after `count` pulses at each device."""
    state = start.double().clone()
    apply_pulses(drawn, torch.full(state.shape, count, dtype=torch.int32), 3, state)
    return state


def test_at_the_symmetry_point_pulses_up_and_down_cancel():
    drawn = devices(
        settings("soft-bounds", dw_min_std=0.0, dw_min_dtod=0.5, up_down_dtod=0.2, dw_min=0.01), 50, 60
    )
    point = symmetry_point(drawn.up, drawn.down, drawn.lower, drawn.upper).double()
    inside = (point > drawn.lower) & (point < drawn.upper)
    assert inside.double().mean() > 0.99
    up, down = sent(drawn, 1, point) - point, sent(drawn, -1, point) - point
    torch.testing.assert_close(up[inside], -down[inside], rtol=1e-4, atol=1e-8)


def test_equal_pulses_up_and_down_bring_soft_bounds_to_their_symmetry_point():
    drawn = devices(settings("soft-bounds", dw_min_std=0.0, dw_min=0.02, up_down_dtod=0.1), 20, 30)
    point = symmetry_point(drawn.up, drawn.down, drawn.lower, drawn.upper).double()
    for start in (drawn.lower, drawn.upper):
        state = start.double()
        for _ in range(800):
            state = sent(drawn, -1, sent(drawn, 1, state))
        # It ends half a step from where a pulse up takes what the next one down gives back.
        assert ((state - point).abs() <= drawn.up + drawn.down).all()


def test_references_are_symmetry_points_with_an_error():
    chosen = settings("soft-bounds", subtract_symmetry_point=True, reference_std=0.05, up_down_dtod=0.1)
    drawn = devices(chosen, 200, 1000)
    point = symmetry_point(drawn.up, drawn.down, drawn.lower, drawn.upper)
    mean_and_spread(drawn.reference - point, 0.0, 0.05)
    plainly = devices(plain("soft-bounds", reference_std=0.05), 200, 1000)
    mean_and_spread(plainly.reference, 0.0, 0.05)
    assert devices(plain("soft-bounds"), 2, 2).reference is None


def normalised_curve(s, share):
    """NeuroSim's curve from 0 to 1 over the share of all pulses."""
    return -torch.expm1(-s * share) / -torch.expm1(-s)


@pytest.mark.parametrize("label", [0.01, 0.5, 1.75, 2.4, 4.88, 7.0, 9.0, 9.9])
def test_labels_of_nonlinearity_are_the_largest_distance_from_a_straight_line(label):
    s = curvature_of(torch.tensor([label], dtype=torch.float64))
    share = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    # The most curved rise within a few of these; a parabola through the highest three finds the summit.
    fine = torch.linspace(0, min(1.0, 20 / float(s)), 200_001, dtype=torch.float64)
    distance = max(float((normalised_curve(s, x) - x).max()) for x in (share, fine))
    assert NONLINEARITY * distance == pytest.approx(label, rel=1e-6)


def test_without_a_label_the_curve_is_straight():
    drawn = devices(plain("neurosim", nonlinearity_up=0.0, nonlinearity_down=0.0, states=50), 1, 1)
    steps = [float(sent(drawn, n, drawn.lower) - drawn.lower) for n in range(51)]
    assert steps == pytest.approx([1.2 * n / 50 for n in range(51)], abs=1e-4)


def test_neurosim_devices_follow_their_closed_form_in_both_directions():
    chosen = plain("neurosim", states=40, nonlinearity_up=2.4, nonlinearity_down=4.88, w_max=0.7, w_min=-0.5)
    drawn = devices(chosen, 1, 1)
    for n in (1, 7, 20, 40):
        share = torch.tensor(n / 40, dtype=torch.float64)
        for count, label in ((n, 2.4), (-n, 4.88)):
            s = curvature_of(torch.tensor(label))
            risen = 1.2 * float(normalised_curve(s, share))
            start, expected = (drawn.lower, -0.5 + risen) if count > 0 else (drawn.upper, 0.7 - risen)
            assert float(sent(drawn, count, start)) == pytest.approx(expected, abs=2e-6)


def test_labels_spread_from_device_to_device_by_the_same_in_both_directions():
    chosen = plain("neurosim", states=40, nonlinearity_up=4.0, nonlinearity_down=5.0, nonlinearity_dtod=0.3)
    drawn = devices(chosen, 100, 400)
    labels = []
    for slope in (-drawn.gain_up, drawn.gain_down):
        s = -40 * torch.log1p(-slope.double())
        risen = -torch.expm1(-s)
        # Where the curve runs parallel to the line: s exp(-s x) = risen.
        x = torch.log(s / risen) / s
        labels.append(NONLINEARITY * (normalised_curve(s, x) - x))
    mean_and_spread(labels[0], 4.0, 0.3)
    torch.testing.assert_close(labels[1], labels[0] + 1.0, atol=1e-4, rtol=0)


def test_mean_steps_are_those_at_zero_or_in_the_middle():
    assert plain(dw_min=0.003).mean_step == 0.003
    assert plain("neurosim", states=40).mean_step == pytest.approx(1.2 / 40)
    for kind in ("exponential", "power"):
        chosen = plain(kind, w_max=0.9, w_min=-0.5, up_down=0.1)
        middle = torch.full((1, 1, 1), 0.2, dtype=torch.float64)
        drawn = devices(chosen, 1, 1)
        both = (sent(drawn, 1, middle) - sent(drawn, -1, middle)) / 2
        if kind == "power":
            both = both * (1 + 1) / (1 + 0.9)  # The mean step is of pulses without asymmetry.
        assert chosen.mean_step == pytest.approx(float(both), rel=0.02)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"dw_min": 0.0, "cell": "pair", "w_min": 0.0}, "pair of devices"),
        ({"dw_min": 0.0, "update": "mixed-precision"}, "update=mixed-precision has no steps"),
        ({"dw_min": 0.0, "step": "neurosim"}, "neurosim steps follow from `states`"),
        ({"w_min": 0.0}, "w_min must be below 0, or cell=pair"),
        ({"pulses": 63}, "62"),
    ],
)
def test_settings_that_do_not_fit_are_refused(chosen, message):
    with pytest.raises(ValidationError, match=message):
        PulsedConfig(**chosen)


def test_devices_follow_from_the_generator():
    one, again, other = (devices(settings("soft-bounds", reference_std=0.1), 5, 6, seed=s) for s in (1, 1, 2))
    for name, value in one.drawn().items():
        assert torch.equal(value, again.drawn()[name]), name
        assert not torch.equal(value, other.drawn()[name]), name
