"""Splitting into tiles, and what each tile reads: events where they lie, dense inputs, the same in either form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.hardware import tile_kernels
from workbench.hardware.tiles import Inputs, Rows, Spikes, edges
from workbench.neurons.presynaptic import Presynaptic, presynaptic

STEPS, BATCH, WIDTH = 12, 4, 37
LIKE = torch.empty(0, dtype=torch.float64)


def activity(kind):
    """Return `[T, B, in]` of at most an eighth of events: spikes, counts, or numbers."""
    generator = torch.Generator().manual_seed(5)
    spikes = torch.rand(STEPS, BATCH, WIDTH, generator=generator) < 0.1
    if kind == "spikes":
        return spikes.to(torch.uint8)
    if kind == "counts":
        return spikes * torch.randint(1, 5, spikes.shape, generator=generator, dtype=torch.uint8)
    return torch.randn(spikes.shape, generator=generator, dtype=LIKE.dtype)


def both_forms(kind, rows):
    """Return the inputs of tiles as they come, and as plain numbers that nobody counted."""
    values = activity(kind)
    plain = Presynaptic(values.shape, values, None, LIKE)
    return Inputs(presynaptic(values, LIKE), rows), Inputs(plain, rows)


@given(st.integers(0, 500), st.integers(1, 80))
def test_stretches_follow_one_another_and_are_full_but_the_last(size, most):
    found = edges(size, most)
    assert [i for first, last in found for i in range(first, last)] == list(range(size))
    lengths = [last - first for first, last in found]
    assert all(length == most for length in lengths[:-1])
    assert all(0 < length <= most for length in lengths)


@pytest.mark.parametrize("rows", [8, 37, 64])
@pytest.mark.parametrize("kind", ["spikes", "counts", "numbers"])
def test_events_and_numbers_drive_a_tile_alike(kind, rows):
    counted, plain = both_forms(kind, rows)
    expected = Spikes if kind != "numbers" else Rows
    matrix = torch.randn(WIDTH, 5, generator=torch.Generator().manual_seed(2), dtype=LIKE.dtype)
    assert len(counted) == len(plain) == STEPS * BATCH
    for first, last in ((0, 48), (3, 19), (40, 48)):
        pairs = list(zip(counted.drive(first, last), plain.drive(first, last), strict=True))
        assert len(pairs) == len(edges(WIDTH, rows))
        for tile, ((begin, end), (one, other)) in enumerate(zip(counted.edges, pairs, strict=True)):
            assert isinstance(one, expected), tile
            assert len(one) == len(other) == last - first
            assert one.binary == other.binary == (kind == "spikes")
            vectors = activity(kind).flatten(0, 1)[first:last, begin:end].to(LIKE.dtype)
            chosen = torch.tensor([0, last - first - 1, 4])
            for drive in (one, other):
                assert torch.equal(drive.rows(chosen), vectors[chosen])
                assert torch.equal(drive.peaks(), vectors.abs().amax(1))
                torch.testing.assert_close(drive.product(matrix), vectors @ matrix[begin:end])


@pytest.mark.parametrize("kind", ["counts", "numbers"])
def test_a_function_of_inputs_takes_the_scale_of_its_read(kind):
    counted, plain = both_forms(kind, 8)
    scale = torch.arange(1.0, 48.0, dtype=LIKE.dtype)
    every = torch.arange(47)
    for one, other in zip(counted.drive(0, 47), plain.drive(0, 47), strict=True):
        before = other.rows(every)
        for drive in (one, other):
            scaled = drive.mapped(lambda x, s: x.square() / s, scale)
            assert torch.equal(scaled.rows(every), before.square() / scale[:, None])
            assert torch.equal(drive.mapped(lambda x, s: -x, None).rows(every), -before)
            assert torch.equal(drive.rows(every), before), "the drive itself stays as it is"


def test_a_function_leaves_spikes_alone():
    for form in both_forms("spikes", 16):
        for drive in form.drive(0, 48):
            assert drive.mapped(lambda x, s: x * 7.0, None) is drive


def test_a_few_spikes_that_nobody_counts_are_spikes_all_the_same():
    values = activity("spikes")[:1]
    source = presynaptic(values, LIKE)
    assert source.bits is None
    assert all(drive.binary for drive in Inputs(source, 8).drive(0, BATCH))


def test_without_kernels_inputs_are_numbers(monkeypatch):
    counted, _ = both_forms("counts", 16)
    monkeypatch.setenv("WORKBENCH_KERNELS", "reference")
    reference, _ = both_forms("counts", 16)
    matrix = torch.randn(WIDTH, 5, generator=torch.Generator().manual_seed(2), dtype=LIKE.dtype)
    for one, other in zip(counted.drive(0, 48), reference.drive(0, 48), strict=True):
        assert isinstance(other, Rows)
        torch.testing.assert_close(one.product(matrix), other.product(matrix))


def events():
    """Return offsets, columns, values of a few rows, among them an empty one, and the same as a matrix."""
    generator = np.random.default_rng(3)
    matrix = generator.integers(1, 9, (7, 23)) * (generator.random((7, 23)) < 0.3)
    matrix[2] = 0
    rows, columns = np.nonzero(matrix)
    offsets = np.searchsorted(rows, np.arange(8))
    return offsets, columns.astype(np.int32), matrix[rows, columns].astype(np.float64), matrix


def test_events_are_split_where_tiles_end():
    offsets, columns, _, matrix = events()
    borders = np.array([0, 5, 10, 20, 23])
    begins = np.empty((5, 7), np.int64)
    tile_kernels.split(offsets, columns, borders, begins)
    for row in range(7):
        for tile in range(4):
            found = columns[begins[tile, row] : begins[tile + 1, row]]
            place = np.flatnonzero(matrix[row])
            assert found.tolist() == place[(place >= borders[tile]) & (place < borders[tile + 1])].tolist()


@pytest.mark.parametrize("binary", [False, True])
def test_the_kernels_of_events_are_the_dense_products(binary):
    offsets, columns, values, matrix = events()
    if binary:
        values, matrix = values[:0], (matrix > 0).astype(np.float64)
    weights = np.random.default_rng(4).standard_normal((23, 6))
    out, largest = np.full((7, 6), np.nan), np.full(7, np.nan)
    tile_kernels.product(offsets[:-1], offsets[1:], columns, values, weights, out, 0, 7)
    tile_kernels.peaks(offsets[:-1], offsets[1:], values, largest)
    np.testing.assert_allclose(out, matrix @ weights, atol=1e-13)
    assert largest.tolist() == matrix.max(1).tolist()
