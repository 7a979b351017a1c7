"""Devices that are changed by pulses against IBM's aihwkit, where it is installed (extra `aihwkit`).

Without spread and noise both make the same steps, up to aihwkit's 32 bits; with them, the same distributions.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

pytest.importorskip("aihwkit")

from aihwkit.simulator.configs import SingleRPUConfig, UnitCellRPUConfig
from aihwkit.simulator.configs import devices as theirs
from aihwkit.simulator.parameters import UpdateParameters
from aihwkit.simulator.presets import compounds
from aihwkit.simulator.presets import devices as presets
from aihwkit.simulator.tiles.analog import AnalogTile
from fixtures.statistics import SIGMA, assert_alike, errors

from workbench.hardware import pulsed
from workbench.hardware.array import Wear
from workbench.hardware.pulse_trains import Trains
from workbench.hardware.pulsed_cells import Cells
from workbench.hardware.pulsed_devices import draw_devices

PRESETS = {
    pulsed.ReRamES: presets.ReRamESPresetDevice,
    pulsed.ReRamSB: presets.ReRamSBPresetDevice,
    pulsed.ReRamOM: presets.ReRamArrayOMPresetDevice,
    pulsed.ReRamHfO2: presets.ReRamArrayHfO2PresetDevice,
    pulsed.Capacitor: presets.CapacitorPresetDevice,
    pulsed.ECRAM: presets.EcRamPresetDevice,
    pulsed.ECRAMMO: presets.EcRamMOPresetDevice,
    pulsed.PCMPair: presets.PCMPresetDevice,
    pulsed.Idealised: presets.IdealizedPresetDevice,
    pulsed.GokmenVlasov: presets.GokmenVlasovPresetDevice,
}
STEPS = {
    theirs.ConstantStepDevice: "constant",
    theirs.LinearStepDevice: "linear",
    theirs.SoftBoundsReferenceDevice: "soft-bounds",
    theirs.ExpStepDevice: "exponential",
    theirs.PowStepDevice: "power",
}
SAME = (
    "dw_min", "dw_min_dtod", "dw_min_std", "dw_min_std_add", "dw_min_std_slope", "up_down", "up_down_dtod", "w_max",
    "w_min", "w_max_dtod", "w_min_dtod", "lifetime", "lifetime_dtod", "gamma_up", "gamma_down", "gamma_up_dtod",
    "gamma_down_dtod", "a", "b", "subtract_symmetry_point", "reference_std",
)  # fmt: skip
RENAMED = {
    "mult_noise": "multiplicative_noise",
    "dw_min_dtod_log_normal": "dw_min_log_normal",
    "write_noise_std": "write_noise",
    "A_up": "a_up",
    "A_down": "a_down",
    "corrupt_devices_prob": "stuck",
}
IDLE = {"dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
"""No spread of devices and no noise of pulses."""
KINDS = {
    "constant": theirs.ConstantStepDevice(dw_min=0.02, up_down=0.2, **IDLE),
    "linear": theirs.LinearStepDevice(
        dw_min=0.02, gamma_up=0.5, gamma_down=0.2, gamma_up_dtod=0, gamma_down_dtod=0, **IDLE
    ),
    "linear, even noise": theirs.LinearStepDevice(
        dw_min=0.02, gamma_up=0.9, gamma_down=0.2, gamma_up_dtod=0, gamma_down_dtod=0, mult_noise=False, **IDLE
    ),
    "soft bounds": theirs.SoftBoundsReferenceDevice(dw_min=0.05, up_down=-0.3, mult_noise=True, **IDLE),
    "soft bounds, even noise": theirs.SoftBoundsReferenceDevice(dw_min=0.05, **IDLE),
    "soft bounds, reference": theirs.SoftBoundsReferenceDevice(
        dw_min=0.05, up_down=0.4, subtract_symmetry_point=True, **IDLE
    ),
    "exponential": theirs.ExpStepDevice(dw_min=0.02, up_down=0.1, **IDLE),
    "exponential, growing noise": theirs.ExpStepDevice(
        dw_min=0.02, A_up=-1.0, A_down=-0.2, gamma_up=3, gamma_down=2, a=-0.5, b=-0.3,
        dw_min_std_add=0.02, dw_min_std_slope=0.05, **IDLE,
    ),
}  # fmt: skip


def mirrored(device) -> dict[str, object]:
    """Return our settings for one of aihwkit's devices."""
    names = {**dict(zip(SAME, SAME, strict=True)), **RENAMED}
    settings = {ours: getattr(device, name) for name, ours in names.items() if hasattr(device, name)}
    if settings.get("stuck"):
        settings["stuck_range"] = device.corrupt_devices_range
    step = next(name for kind, name in STEPS.items() if isinstance(device, kind))
    if step == "power":
        settings |= {"gamma_up": device.pow_gamma, "gamma_down": device.pow_gamma}
    return {"step": step, **settings}


def settings_of(device):
    return pulsed.Pulsed.Config(**mirrored(device))


def tile(device, shape, **update):
    """Return a tile of aihwkit whose update with x = -1 and d = 1 is one pulse up on every device."""
    once = {"desired_bl": 1, "update_bl_management": False, "update_management": False, **update}
    kind = UnitCellRPUConfig if hasattr(device, "unit_cell_devices") else SingleRPUConfig
    made = AnalogTile(*shape, kind(device=device, update=UpdateParameters(**once)))
    made.set_learning_rate(1.0)
    return made


def cells(settings, shape, seed=1):
    """Return our cells, and a generator for what happens to them."""
    generator = torch.Generator().manual_seed(seed)
    like = torch.zeros(shape)
    devices = 2 if settings.cell == "pair" else 1
    return Cells(settings, Wear((devices, *shape), settings, generator, like), 0, generator, like), generator


def started(device, weights: Tensor):
    """Return aihwkit's tile and our cells, both holding `weights`."""
    their_tile = tile(device, weights.shape)
    their_tile.set_weights(weights)
    own, generator = cells(settings_of(device), weights.shape)
    own.set(weights, torch.ones_like(weights, dtype=torch.bool), generator)
    return their_tile, own, generator


def pulse(their_tile, own: Cells, generator, direction: int) -> tuple[Tensor, Tensor]:
    """Send one pulse to all devices of both; return what they then read."""
    rows, inputs = their_tile.out_size, their_tile.in_size
    their_tile.update(-torch.ones(1, inputs), direction * torch.ones(1, rows))
    own.pulse(torch.full((rows, inputs), direction, dtype=torch.int32), generator)
    return their_tile.get_weights()[0], own.read()


@pytest.mark.parametrize("ours", PRESETS, ids=lambda kind: kind.__name__)
def test_presets_have_the_same_constants(ours):
    device = PRESETS[ours]()
    settings = ours.Config()
    for name, value in mirrored(device).items():
        assert getattr(settings, name) == value, name
    if ours is pulsed.PCMPair:
        cell = compounds.PCMPresetUnitCell()
        assert (settings.reset, settings.reset_dtod) == (device.reset, device.reset_dtod)
        found = (settings.refresh_every, settings.refresh_upper, settings.refresh_lower)
        assert found == (cell.refresh_every, cell.refresh_upper_thres, cell.refresh_lower_thres)


def test_generic_devices_have_the_same_defaults():
    settings = pulsed.Pulsed.Config()
    device = theirs.PulsedDevice()
    assert all(getattr(settings, name) == getattr(device, name) for name in SAME if hasattr(device, name))


DRAWN = {
    "max_bound": "upper", "min_bound": "lower", "dwmin_up": "up", "dwmin_down": "down", "slope_up": "gain_up",
    "slope_down": "gain_down", "reference": "reference",
}  # fmt: skip
"""What is drawn for each device: aihwkit's name and ours."""


@pytest.mark.parametrize("ours", PRESETS, ids=lambda kind: kind.__name__)
def test_devices_of_presets_are_drawn_alike(ours):
    shape = (200, 400)
    hidden = tile(PRESETS[ours](), shape).get_hidden_parameters()
    settings = ours.Config(cell="single", w_min=-1e-9) if ours is pulsed.PCMPair else ours.Config()
    drawn = draw_devices(settings, (1, *shape), torch.Generator().manual_seed(2), torch.zeros(shape)).drawn()
    compared = 0
    for their_name, name in DRAWN.items():
        if their_name in hidden and name in drawn:
            if ours is pulsed.PCMPair and name == "lower":
                continue
            assert_alike(drawn[name][0], hidden[their_name], their_name)
            compared += 1
    assert_alike((drawn["up"] - drawn["down"])[0], hidden["dwmin_up"] - hidden["dwmin_down"], "asymmetry")
    assert compared >= 3


def test_lifetimes_are_drawn_alike():
    """Of short ones: 32 bits have few numbers near 1 - 1e-6."""
    shape = (200, 400)
    there = tile(replace(presets.CapacitorPresetDevice(), lifetime=40.0), shape).get_hidden_parameters()
    settings = pulsed.Capacitor.Config(lifetime=40.0)
    here = draw_devices(settings, (1, *shape), torch.Generator().manual_seed(2), torch.zeros(shape)).drawn()
    assert_alike(here["decay"][0], there["decay_scales"], "decay")


@pytest.mark.parametrize("kind", KINDS)
def test_noiseless_pulses_take_devices_along_the_same_way(kind):
    """Sixty pulses up from five weights, and ninety down; float32 there, float64 here."""
    weights = torch.tensor([[-0.5, -0.2, 0.0, 0.3, 0.55]])
    their_tile, own, generator = started(KINDS[kind], weights)
    moved = 0.0
    for direction in [1] * 60 + [-1] * 90:
        before = own.read().clone()
        there, here = pulse(their_tile, own, generator, direction)
        torch.testing.assert_close(here.float(), there, rtol=0, atol=3e-6)
        moved += float((here - before).abs().sum())
    assert moved > 3


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_noisy_pulses_have_the_same_distribution_at_every_weight(kind, direction):
    device = replace(KINDS[kind], dw_min_std=0.4)
    levels = torch.tensor([-0.3, -0.1, 0.0, 0.2, 0.35])
    weights = levels[:, None].repeat(1, 20_000)
    there, here = pulse(*started(device, weights), direction)
    for level, one, other in zip(levels.tolist(), here - weights, there - weights, strict=True):
        assert_alike(one, other, f"changes from {level}")


def test_power_steps_are_the_same_function_of_the_weight():
    """Aihwkit spreads one exponent over devices, the workbench two: compared without spread."""
    device = theirs.PowStepDevice(dw_min=0.05, pow_gamma=1.7, pow_gamma_dtod=0.0, **IDLE)
    their_tile, own, generator = started(device, torch.tensor([[-0.5, 0.0, 0.4]]))
    for direction in [1] * 20 + [-1] * 20:
        there, here = pulse(their_tile, own, generator, direction)
        torch.testing.assert_close(here.float(), there, rtol=0, atol=3e-6)


def test_what_a_read_differs_from_the_device_has_the_same_size():
    device = replace(KINDS["soft bounds"], write_noise_std=1.5)
    weights = torch.full((10, 4000), 0.1)
    their_tile, own, generator = started(device, weights)
    there, here = pulse(their_tile, own, generator, 1)
    hidden = their_tile.get_hidden_parameters()["persistent_weights"]
    assert_alike(here - own.state[0], there - hidden, "write noise")
    torch.testing.assert_close(own.state[0].float(), hidden)


def test_charge_leaks_alike():
    device = replace(KINDS["linear"], lifetime=20.0)
    weights = torch.linspace(-0.5, 0.5, 8)[None]
    their_tile, own, generator = started(device, weights)
    for _ in range(15):
        their_tile.decay_weights(1.0)
        own.finish_update(generator)
    torch.testing.assert_close(own.read().float(), their_tile.get_weights()[0])
    assert float(own.read().abs().max()) < 0.25


def test_pairs_go_the_same_way_between_refreshes():
    quiet = {**IDLE, "dw_min_std_add": 0.0, "dw_min_std_slope": 0.0}
    device = replace(presets.PCMPresetDevice(), **quiet)
    cell = compounds.PCMPresetUnitCell(unit_cell_devices=[device, device], refresh_every=0)
    weights = torch.tensor([[-0.8, -0.1, 0.0, 0.4, 1.1]])
    their_tile = tile(cell, weights.shape)
    their_tile.set_weights(weights)
    own, generator = cells(pulsed.PCMPair.Config(**quiet, refresh_every=0), weights.shape)
    own.set(weights, torch.ones_like(weights, dtype=torch.bool), generator)
    for direction in [1] * 5 + [-1] * 12 + [1] * 9:
        there, here = pulse(their_tile, own, generator, direction)
        torch.testing.assert_close(here.float(), there, rtol=0, atol=3e-6)


INPUTS, ERRORS = torch.tensor([1.0, 0.5, -0.25, 0.0]), torch.tensor([0.8, -0.4, 0.1])
UPDATES = 4000


@pytest.mark.parametrize("steps", [0.4, 3.3, 24.0])
def test_trains_of_pulses_have_the_same_distribution(steps):
    """Updates by d x^T of which the largest asks for `steps` pulses; devices that all make the same step."""
    unit = 1e-4
    device = theirs.ConstantStepDevice(dw_min=unit, w_max=1e3, w_min=-1e3, **IDLE)
    rate = steps * unit / 0.8
    management = {"desired_bl": 31, "update_bl_management": True, "update_management": True}
    their_tile = tile(device, (3, 4), **management)
    their_tile.set_learning_rate(rate)
    their_tile.set_weights(torch.zeros(3, 4))
    seen = [torch.zeros(3, 4)]
    for _ in range(UPDATES):
        their_tile.update(INPUTS[None], ERRORS[None])
        seen.append(their_tile.get_weights()[0].clone())
    there = torch.stack(seen).double().diff(dim=0).div(unit).round()
    change = -rate * torch.outer(ERRORS, INPUTS).double()
    trains, generator = Trains(settings_of(device)), torch.Generator().manual_seed(4)
    here = torch.stack([trains.draw(change, 1e-12, 1 / unit, generator) for _ in range(UPDATES)]).double()
    for row in range(3):
        for column in range(3):
            name = f"pulses of device {row}, {column}"
            assert_alike(here[:, row, column], there[:, row, column], name)
            error = errors(here[:, row, column])[0]
            assert math.isclose(
                float(here[:, row, column].mean()), float(change[row, column] / unit), abs_tol=SIGMA * error
            )
    assert not here[:, :, 3].any()
    assert not there[:, :, 3].any()
    # Devices of a row share the row's train.
    assert_alike(here[:, 0, 0] * here[:, 0, 1], there[:, 0, 0] * there[:, 0, 1], "products within a row")
    assert_alike(here[:, 0, 0] * here[:, 1, 0], there[:, 0, 0] * there[:, 1, 0], "products within a column")
    assert trains.outer_products == UPDATES


def test_trains_that_are_too_short_cut_both_sides_here_and_the_errors_there():
    """A change of 62 steps; hardware.md names this difference."""
    unit, most, updates = 1e-4, 31, 1500
    errors_of = torch.tensor([1.0, -0.5, 0.25])
    device = theirs.ConstantStepDevice(dw_min=unit, w_max=1e3, w_min=-1e3, **IDLE)
    their_tile = tile(device, (3, 4), desired_bl=most, update_bl_management=True, update_management=True)
    their_tile.set_learning_rate(2 * most * unit)
    their_tile.set_weights(torch.zeros(3, 4))
    trains, generator = Trains(settings_of(device)), torch.Generator().manual_seed(4)
    change = -2 * most * unit * torch.outer(errors_of, INPUTS).double()
    here = torch.zeros(3, 4)
    for _ in range(updates):
        their_tile.update(INPUTS[None], errors_of[None])
        here += trains.draw(change, 1e-12, 1 / unit, generator)
    there = their_tile.get_weights()[0] / unit

    def cut(side: Tensor, factor: float) -> Tensor:
        return (side * factor).clamp(-1, 1)

    both = -most * torch.outer(cut(errors_of, 2**0.5), cut(INPUTS, 2**0.5))
    one = -most * torch.outer(cut(errors_of, 2.0), INPUTS)
    # Of most binomial draws with chance p the variance is below most / 4.
    allowed = SIGMA * math.sqrt(most / 4 / updates)
    torch.testing.assert_close(here / updates, both, rtol=0, atol=allowed)
    torch.testing.assert_close(there / updates, one, rtol=0, atol=allowed)
