"""Global drift compensation: by hand on small tiles, and what it brings back of an array that drifts."""

from __future__ import annotations

import pytest
import torch

from workbench.hardware.compensation import FLOOR, Compensation
from workbench.hardware.pcm import PCM, PCMConfig
from workbench.hardware.programmed import Generic, GenericConfig
from workbench.hardware.programmed_array import ProgrammedArray

DAY, YEAR = 86400.0, 365.25 * 86400.0


def normals(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gain_of(compensation, reference, now):
    weights, gain = now.clone(), torch.empty_like(now)
    compensation.apply(reference, weights, None, gain)
    torch.testing.assert_close(weights, now * gain, rtol=0, atol=0)
    return gain


@pytest.mark.parametrize("kernels", ["fast", "reference"])
@pytest.mark.parametrize("columns", [1, 2, 4, 100])
@pytest.mark.parametrize("rows", [3, 7, 100])
def test_the_gain_of_a_tile_is_the_ratio_of_its_mean_outputs(monkeypatch, rows, columns, kernels):
    monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
    reference, now = normals(5, 7, dtype=torch.float64), normals(5, 7, seed=1, dtype=torch.float64)
    gain = gain_of(Compensation(5, 7, rows, columns, 1.0), reference, now)
    for unit in range(5):
        for place in range(7):
            of_tile = (
                slice(unit // columns * columns, unit // columns * columns + columns),
                slice(place // rows * rows, place // rows * rows + rows),
            )
            expected = reference[of_tile].abs().mean() / now[of_tile].abs().mean()
            assert gain[unit, place] == pytest.approx(expected.item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (20, 50), (33, 70)])
def test_kernels_equal_torch(monkeypatch, shape, noisy, dtype):
    found = []
    for kernels in ("fast", "reference"):
        monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
        weights, noise = normals(*shape, dtype=dtype), normals(*shape, seed=2, dtype=dtype) if noisy else None
        gain = torch.empty_like(weights)
        Compensation(*shape, 32, 16, 1.0).apply(normals(*shape, seed=3, dtype=dtype), weights, noise, gain)
        found.append((weights, gain) if noise is None else (weights, gain, noise))
    for one, other in zip(*found, strict=True):
        # The sums are in another order, in float64.
        torch.testing.assert_close(one, other, rtol=2e-7 if dtype == torch.float32 else 1e-14, atol=0)


def test_a_dead_tile_is_not_blown_up():
    reference, now = torch.full((2, 2), 0.5), torch.zeros(2, 2)
    assert torch.equal(
        gain_of(Compensation(2, 2, 2, 2, 1.0), reference, now), torch.full((2, 2), 0.5 / FLOOR)
    )
    # Nor is a tile that was never anything.
    assert torch.equal(gain_of(Compensation(2, 2, 2, 2, 1.0), torch.zeros(2, 2), now), torch.ones(2, 2))


def array_of(kind, config, wanted):
    array = ProgrammedArray(wanted, kind(config).device(), config, torch.Generator().manual_seed(1))
    array.program(wanted, torch.ones_like(wanted, dtype=torch.bool), 0.0, torch.Generator().manual_seed(2))
    return array


def later(array, seconds):
    """Read an array that nobody has written to since the start."""
    array.redraw(torch.Generator().manual_seed(3), since=0.0)
    return array.read(seconds)


EQUAL = {"programming_noise": 0.0, "read_noise": 0.0, "drift": 1.0, "nu_mean": 0.05, "nu_spread": 0.0}


@pytest.mark.parametrize("over", ["tile", "column"])
@pytest.mark.parametrize("seconds", [1.0, DAY, YEAR])
def test_compensation_is_exact_where_all_devices_drift_alike(over, seconds):
    wanted = normals(20, 40)
    array = array_of(
        Generic, GenericConfig(**EQUAL, g_min=0.0, compensation=over, rows=16, columns=8), wanted
    )
    torch.testing.assert_close(later(array, seconds), wanted)
    assert array.facts()["compensation"] == pytest.approx(((seconds + 20) / 20) ** 0.05)


def test_without_compensation_weights_are_lost():
    wanted = normals(20, 40)
    array = array_of(Generic, GenericConfig(**EQUAL, g_min=0.0, compensation="off"), wanted)
    torch.testing.assert_close(later(array, DAY), wanted * ((DAY + 20) / 20) ** -0.05)
    assert "compensation" not in array.facts()


@pytest.mark.parametrize("over", ["tile", "column"])
def test_the_mean_of_each_tile_comes_back(over):
    """Exponents differ from device to device: each weight is off, the mean of what is scaled together is not."""
    config = PCMConfig(read_noise=0.0, compensation=over, rows=16, columns=8)
    array = array_of(PCM, config, normals(20, 40))
    verified = array.read(0.0)
    read = later(array, YEAR)
    assert (read - verified).abs().mean() > 0.01
    columns = 1 if over == "column" else 8
    means = Compensation(20, 40, 16, columns, array.largest)
    torch.testing.assert_close(means.sums(read), means.sums(verified), rtol=1e-5, atol=0)


def test_columns_by_themselves_come_closer_than_a_tile():
    apart = {}
    for over in ("tile", "column", "off"):
        array = array_of(PCM, PCMConfig(read_noise=0.0, compensation=over), normals(60, 40))
        apart[over] = float((later(array, YEAR) - array.read(0.0)).abs().mean())
    assert apart["column"] < apart["tile"] < 0.5 * apart["off"]


@pytest.mark.parametrize("reference", ["verified", "exact"])
def test_drift_is_compensated_to_what_was_verified_or_to_what_was_wanted(reference):
    wanted = normals(30, 40).abs()
    config = PCMConfig(read_noise=0.0, drift=1.0, reference=reference, programming_noise=10.0)
    array = array_of(PCM, config, wanted)
    verified = array.read(0.0).abs().mean()
    assert abs(verified - wanted.mean()) > 0.01 * wanted.mean()
    expected = wanted.mean() if reference == "exact" else verified
    torch.testing.assert_close(later(array, DAY).abs().mean(), expected)


def test_a_network_that_learns_reads_what_has_drifted():
    wanted = normals(20, 40)
    array = array_of(Generic, GenericConfig(**EQUAL, g_min=0.0), wanted)
    drifted = wanted * ((DAY + 20) / 20) ** -0.05
    torch.testing.assert_close(array.read(DAY), drifted)
    # What is used from now on is brought back to what it was now, not to what it once was.
    array.redraw(torch.Generator().manual_seed(0), since=DAY)
    torch.testing.assert_close(array.read(YEAR), drifted)
    # And a test leaves training as it was.
    array.redraw(torch.Generator().manual_seed(0))
    torch.testing.assert_close(array.read(DAY), drifted)
    assert array.facts()["compensation"] == 1.0


def test_a_weight_that_is_written_after_a_test_is_written_to_what_is_wanted():
    wanted = normals(20, 40).clamp(-2, 2)
    array = array_of(Generic, GenericConfig(**EQUAL, g_min=0.0, headroom=4.0), wanted)
    later(array, YEAR)
    new = torch.zeros(20, 40, dtype=torch.bool)
    new[3:7, ::3] = True
    array.program(-0.5 * wanted, new, DAY, torch.Generator().manual_seed(0))
    drifted = wanted * ((DAY + 20) / 20) ** -0.05
    torch.testing.assert_close(array.read(DAY), torch.where(new, -0.5 * wanted, drifted))


@pytest.mark.parametrize("update", ["mixed-precision", "program"])
def test_weights_that_are_written_again_and_again_stay_what_is_wanted(update):
    """Hardly anything is to be learned, and drift is corrected as it shows: no factor may build up."""
    wanted = normals(30, 40)
    config = PCMConfig(update=update, granularity=0.01)
    array = array_of(PCM, config, wanted)
    generator = torch.Generator().manual_seed(4)
    for batch in range(1, 101):
        array.redraw(generator)
        now = 32.0 * batch
        asked = wanted + 1e-3 * normals(30, 40, seed=batch)
        array.update(asked, array.read(now), now, generator)
        assert (array.clean - wanted).abs().mean() < 0.2 * wanted.abs().mean()
        assert array.clean.abs().mean() > 0.9 * wanted.abs().mean()
    before = array.clean.abs().mean()
    array.redraw(generator, since=now)
    array.read(now + DAY)
    torch.testing.assert_close(array.clean.abs().mean(), before)
    assert 1.0 < array.facts()["compensation"] < 1.6
