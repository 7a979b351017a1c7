"""Kernels of devices that are written and verified against the same functions in torch."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.hardware.accumulator import Accumulator
from workbench.hardware.pcm import PCM
from workbench.hardware.pcm_hermes import Hermes
from workbench.hardware.programmed_array import ProgrammedArray
from workbench.hardware.programmed_cells import at, put
from workbench.hardware.reram_cmo import ReRAMCMO
from workbench.hardware.reram_wan import ReRAMWan
from workbench.hardware.sonos import SONOS

DAY = 86400.0
FULL = {"stuck": 0.1, "wearout": True, "endurance": 3.0, "endurance_spread": 0.5}


def normals(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def array_of(kind, dtype=torch.float32, shape=(20, 30), **settings):
    config = kind.Config(**settings)
    wanted = normals(*shape, dtype=dtype)
    array = ProgrammedArray(wanted, kind(config).device(), config, torch.Generator().manual_seed(1))
    array.program(wanted, torch.ones_like(wanted, dtype=torch.bool), 0.0, torch.Generator().manual_seed(2))
    return array


def history(kind, dtype, **settings):
    """Write an array again and again, some weights or all, and return its whole state."""
    array = array_of(kind, dtype, **settings)
    generator = torch.Generator().manual_seed(3)
    for step in range(6):
        now = 50.0 * step
        array.redraw(generator)
        shown = array.read(now).clone()
        change = 0.2 * normals(20, 30, seed=10 + step, dtype=dtype)
        if step % 2:
            change[:, ::3] = 0.0
        array.update(shown + change, shown, now, generator)
        array.program(shown, normals(20, 30, seed=30 + step) > 1.5, now, generator)
    array.redraw(generator, since=300.0)
    array.read(1e6)
    return {name: value.clone() for name, value in array.state_dict().items()}


@pytest.mark.parametrize("update", ["program", "mixed-precision"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("faults", [{}, FULL], ids=["whole", "faulty"])
@pytest.mark.parametrize("kind", [ReRAMWan, SONOS, ReRAMCMO])
def test_kernels_that_move_numbers_are_torch_to_the_last_bit(monkeypatch, kind, faults, dtype, update):
    found = {}
    for kernels in ("fast", "reference"):
        monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
        found[kernels] = history(kind, dtype, update=update, **faults)
    assert found["fast"].keys() == found["reference"].keys()
    for name, value in found["fast"].items():
        assert torch.equal(value.nan_to_num(9.0), found["reference"][name].nan_to_num(9.0)), name
    assert found["fast"]["wear/writes"].max() > 1


@pytest.mark.parametrize("kind", [PCM, Hermes])
def test_a_compensated_history_is_torch_but_for_rounding(monkeypatch, kind):
    found = {}
    for kernels in ("fast", "reference"):
        monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
        found[kernels] = history(kind, torch.float32, update="program", rows=8, columns=8)
    for name, value in found["fast"].items():
        torch.testing.assert_close(value, found["reference"][name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found["fast"]["gain"], torch.ones(20, 30), atol=0.01)


@pytest.mark.parametrize("kind", [PCM, Hermes])
@pytest.mark.parametrize("now", [0.0, 1.0, DAY, 1e9])
@pytest.mark.parametrize("some", [False, True])
def test_the_kernel_of_drift_is_torch_but_for_rounding(monkeypatch, kind, now, some):
    # More weights than a strip of the kernel has, and a last strip that is shorter.
    array = array_of(kind, shape=(90, 70), stuck=0.05)
    array.program(normals(90, 70, seed=5), normals(90, 70) > 1, 0.4 * now, torch.Generator().manual_seed(0))
    places = (normals(90 * 70, seed=6) > -0.5).nonzero().squeeze(1) if some else None
    found = {}
    for kernels in ("fast", "reference"):
        monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
        found[kernels] = array.cells.read(places, now)
    weights, deviation = found["fast"]
    exact = {name: value.double() for name, value in array.cells.tensors().items()}
    scale = float(weights.abs().max())
    torch.testing.assert_close(weights, found["reference"][0], rtol=1e-6, atol=1e-6 * scale)
    torch.testing.assert_close(deviation, found["reference"][1], rtol=2e-6, atol=1e-9 * scale)
    assert (deviation > 0).any()
    # The law itself, in float64.
    device = array.device
    seconds = (now - exact["written"]).clamp(min=0)
    g = (exact["level"] * array.cells.per_weight + device.g_min) * (
        (seconds + device.drift.t_0) / device.drift.t_0
    ) ** -exact["course"]
    true = (g[: device.sharing].sum(0) - g[device.sharing :].sum(0)) / array.cells.per_weight
    torch.testing.assert_close(weights, at(true, places).float(), rtol=1e-6, atol=1e-6 * scale)


def test_the_kernel_of_drift_serves_any_number_of_threads():
    array = array_of(PCM, shape=(300, 200))
    found = []
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            found.append(array.cells.read(None, DAY))
        finally:
            torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_laws_that_one_logarithm_does_not_serve_are_read_in_torch(monkeypatch):
    array = array_of(PCM, read_seconds=0.5)
    weights, deviation = array.cells.read(None, DAY)
    monkeypatch.setenv("WORKBENCH_KERNELS", "reference")
    expected = array.cells.read(None, DAY)
    assert torch.equal(weights, expected[0])
    assert torch.equal(deviation, expected[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quanta_are_taken_as_the_accumulator_takes_them(monkeypatch, dtype):
    chi, shown = 2 * normals(20, 30, dtype=dtype), normals(20, 30, seed=1, dtype=dtype)
    chi[0, :4] = torch.tensor([1.0, -1.0, 0.999999, math.nan])
    found = {}
    for kernels in ("fast", "reference"):
        monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
        array = array_of(ReRAMWan, dtype)
        accumulator = Accumulator(shown, 0.3)
        accumulator.chi.copy_(chi)
        places, wanted = array._take(accumulator, shown)
        found[kernels] = places.double(), wanted.double(), accumulator.chi.flatten().double()
    for one, other in zip(*found.values(), strict=True):
        assert torch.equal(one.nan_to_num(9.0), other.nan_to_num(9.0))
    assert {0, 1, 3} <= set(found["fast"][0].long().tolist())
    assert 2 not in found["fast"][0]


def test_what_is_no_number_is_seen(monkeypatch):
    """A learner that diverged must not be hidden by its devices."""
    for kernels in ("fast", "reference"):
        monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
        array = array_of(ReRAMWan, read_noise=0.0, update="program")
        shown = array.read(0.0)
        wanted = shown.clone()
        wanted[3, 4] = math.nan
        array.update(wanted, shown, 0.0, torch.Generator().manual_seed(0))
        assert array.read(0.0).isnan().nonzero().tolist() == [[3, 4]]


def test_places():
    whole = torch.arange(12.0).view(3, 4)
    some = torch.tensor([1, 7])
    assert at(whole, some).tolist() == [1, 7]
    assert at(torch.stack([whole, whole + 100]), some).tolist() == [[1, 7], [101, 107]]
    assert at(whole, None).data_ptr() == whole.data_ptr()
    put(whole, some, torch.tensor([-1.0, -7.0]))
    assert whole.flatten().tolist() == [0, -1, 2, 3, 4, 5, 6, -7, 8, 9, 10, 11]
    put(whole, None, torch.zeros(12))
    assert not whole.any()
