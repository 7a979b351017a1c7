"""Wires: the quick model by its numbers, the detailed one against Kirchhoff's equations solved at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigurationError
from workbench.hardware.ir_drop import effective_weights, position_share, quick_loss, transfer
from workbench.hardware.settings import CrossbarConfig

FLOAT = torch.float64


def cells(rows, columns, seed=0, empty=0.2):
    """Return conductances of up to 200 microsiemens, a share of them zero."""
    generator = torch.Generator().manual_seed(seed)
    found = 2e-4 * torch.rand(rows, columns, generator=generator, dtype=FLOAT)
    return found * (torch.rand(rows, columns, generator=generator) >= empty)


def kirchhoff(conductance, wire_ohm):
    """Return the currents at the columns' ends for one volt at each row alone, from all nodes' equations at once.

    Nodes: r[j, i] on row j and c[j, i] on column i. Drivers hold the row ends before i = 0, sensing amplifiers the
    column ends before j = 0.
    """
    rows, columns = conductance.shape
    count, wire = rows * columns, 1.0 / wire_ohm
    system = torch.zeros(2 * count, 2 * count, dtype=FLOAT)
    drive = torch.zeros(2 * count, rows, dtype=FLOAT)

    def join(one, other, g):
        for here, there in ((one, other), (other, one)):
            system[here, here] += g
            system[here, there] -= g

    for j in range(rows):
        for i in range(columns):
            on_row, on_column = j * columns + i, count + j * columns + i
            join(on_row, on_column, float(conductance[j, i]))
            if i + 1 < columns:
                join(on_row, on_row + 1, wire)
            if j + 1 < rows:
                join(on_column, on_column + columns, wire)
        system[j * columns, j * columns] += wire
        drive[j * columns, j] = wire
    for i in range(columns):
        system[count + i, count + i] += wire
    voltages = torch.linalg.solve(system, drive)
    return wire * voltages[count : count + columns].T


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (8, 8), (5, 11), (17, 6)])
@pytest.mark.parametrize("ohm", [0.35, 100.0, 5000.0])
def test_the_network_of_resistors_obeys_kirchhoff(size, ohm):
    conductance = cells(*size)
    torch.testing.assert_close(transfer(conductance, ohm), kirchhoff(conductance, ohm), rtol=1e-9, atol=1e-16)


def test_one_cell_is_in_series_with_its_two_wires():
    found = transfer(torch.full((1, 1), 1e-4, dtype=FLOAT), 250.0)
    assert float(found) == pytest.approx(1.0 / (1e4 + 2 * 250.0), rel=1e-12)


def test_a_tile_read_from_its_columns_is_the_transposed_one():
    conductance = cells(6, 10)
    torch.testing.assert_close(
        transfer(conductance.T, 300.0), transfer(conductance, 300.0).T, rtol=1e-9, atol=0
    )


def test_currents_of_several_rows_add_up():
    conductance = cells(7, 4)
    volts = torch.tensor([0.2, 0, 0.1, -0.2, 0.05, 0, 0.2], dtype=FLOAT)
    torch.testing.assert_close(volts @ transfer(conductance, 80.0), volts @ kirchhoff(conductance, 80.0))


def test_without_resistance_nothing_is_lost_and_a_small_one_loses_in_proportion():
    conductance = cells(12, 9, empty=0.0)
    assert torch.equal(transfer(conductance, 0.0), conductance)
    lost = [(conductance - transfer(conductance, ohm)).sum() for ohm in (1e-4, 1e-3, 1e-2)]
    assert 0 < lost[0] < 1e-6 * conductance.sum()
    assert float(lost[1] / lost[0]) == pytest.approx(10, rel=1e-3)
    assert float(lost[2] / lost[1]) == pytest.approx(10, rel=1e-3)


def test_loss_grows_with_the_tile_and_with_the_wire():
    shares = []
    for size in (4, 8, 16, 32):
        conductance = torch.full((size, size), 1e-4, dtype=FLOAT)
        by_ohm = [float(1 - transfer(conductance, ohm).sum() / conductance.sum()) for ohm in (1.0, 3.0, 10.0)]
        assert by_ohm == sorted(by_ohm)
        shares.append(by_ohm[0])
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


def test_cells_far_from_drivers_and_amplifiers_lose_most():
    found = transfer(torch.full((9, 9), 1e-4, dtype=FLOAT), 20.0)
    assert bool((found.diff(dim=0) < 0).all())
    assert bool((found.diff(dim=1) < 0).all())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_a_tile_without_cells_has_no_currents(shape):
    assert transfer(torch.zeros(shape, dtype=FLOAT), 1.0).shape == shape


def test_wires_that_take_everything_are_refused_with_what_to_change():
    with pytest.raises(ConfigurationError, match=r"1e\+07 ohm.*lower hardware\.wire_ohm"):
        transfer(torch.full((16, 16), 1.0, dtype=FLOAT), 1e7)


def test_weights_act_through_two_tiles_of_either_sign():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(11, 13, generator=generator, dtype=FLOAT)
    settings = CrossbarConfig(
        ir_drop="detailed", rows=6, columns=4, wire_ohm=40.0, g_max_siemens=2e-4, headroom=1.0
    )
    largest = 2.5
    found = effective_weights(weight, largest, settings)
    unit = 2e-4 / largest
    for first in range(0, 11, 4):
        for begin in range(0, 13, 6):
            tile = weight[first : first + 4, begin : begin + 6].T * unit
            expected = kirchhoff(tile.clamp(min=0), 40.0) - kirchhoff((-tile).clamp(min=0), 40.0)
            here = found[first : first + 4, begin : begin + 6].T * unit
            torch.testing.assert_close(here, expected, rtol=1e-9, atol=1e-16)
    assert effective_weights(weight.float(), largest, settings).dtype == torch.float32


@pytest.mark.parametrize(("size", "loss"), [(512, 0.105), (256, 0.028), (128, 0.007)])
def test_the_quick_model_loses_what_is_cited_at_half_of_full_load(size, loss):
    # n R g_max times half of n full inputs at the largest weight, with aihwkit's 0.35 ohm and 5 microsiemens.
    config = CrossbarConfig()
    load = size * config.wire_ohm * config.g_max_siemens * size / 2
    assert round(float(quick_loss(torch.tensor(load))), 3) == loss


@given(st.floats(0.0, 1.0))
def test_the_quick_model_is_the_cubic_that_is_cited(load):
    expected = 0.05 * load**3 - 0.2 * load**2 + 0.5 * load
    assert float(quick_loss(torch.tensor(load, dtype=FLOAT))) == pytest.approx(expected, rel=1e-12)


def test_a_row_sees_its_share_of_the_loss_by_its_place():
    assert position_share(4, torch.empty(0, dtype=FLOAT)).tolist() == [0.0, 1 - 0.75**2, 0.75, 1 - 0.25**2]
