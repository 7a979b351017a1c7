"""Bits and events: round trips, products and gradients against dense ones, additions counted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.neurons import event_kernels, events, native, presynaptic
from workbench.neurons.presynaptic import FEWEST, MOST

WIDTHS = (1, 63, 64, 65, 130, 700)
KINDS = (torch.uint8, torch.float32, torch.float64)


def drawn(rows: int, inputs: int, density: float, kind: torch.dtype, highest: int, seed: int) -> Tensor:
    """Return whole numbers up to `highest`, each not zero with a chance of `density`."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(1, highest + 1, (rows, inputs), generator=generator)
    return (values * (torch.rand(rows, inputs, generator=generator) < density)).to(kind)


activity = st.builds(
    drawn,
    st.integers(1, 9),
    st.sampled_from(WIDTHS),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from(KINDS),
    st.sampled_from([1, 5]),
    st.integers(0, 99),
)


@settings(max_examples=60, deadline=None)
@given(rows=activity)
def test_bits_and_events_give_back_what_they_were_made_of(rows):
    like = torch.empty(0, dtype=torch.float64)
    bits = events.bits_of(rows)
    assert bits.binary == bool(((rows == 0) | (rows == 1)).all())
    assert bits.density == pytest.approx(float((rows != 0).double().mean()))
    found = events.events_of(bits, rows, like)
    again = np.zeros(rows.shape)
    for r in range(len(rows)):
        here = slice(found.offsets[r], found.offsets[r + 1])
        assert (np.diff(found.columns[here]) > 0).all()
        again[r, found.columns[here]] = found.values[here] if found.values.size else 1
    assert torch.equal(torch.from_numpy(again), rows.double())
    if bits.binary:
        assert torch.equal(events.dense(bits, like), rows.double())
        assert torch.equal(events.dense(bits.rows(1, len(rows)), like), rows[1:].double())


@settings(max_examples=40, deadline=None)
@given(rows=activity)
def test_transposed_events_are_those_of_the_transpose(rows):
    like = torch.empty(0, dtype=torch.float32)
    turned = events.transposed(events.events_of(events.bits_of(rows), rows, like))
    other = rows.T.contiguous()
    expected = events.events_of(events.bits_of(other), other, like)
    for name in ("offsets", "columns", "values"):
        assert np.array_equal(getattr(turned, name), getattr(expected, name))


@settings(max_examples=60, deadline=None)
@given(
    rows=activity,
    units=st.sampled_from([1, 20, 37]),
    double=st.booleans(),
    block=st.sampled_from([1, 60, 1 << 17]),
)
def test_product_and_gradient_equal_the_dense_ones(rows, units, double, block):
    kind, tolerance = (torch.float64, 1e-12) if double else (torch.float32, 1e-5)
    generator = torch.Generator().manual_seed(1)
    weight, bias = (
        torch.randn(rows.shape[1], units, generator=generator),
        torch.randn(units, generator=generator),
    )
    error = torch.randn(len(rows), units, generator=generator).to(kind)
    weight, bias = weight.to(kind), bias.to(kind)
    found = events.events_of(events.bits_of(rows), rows, weight)
    out, total = torch.empty(len(rows), units, dtype=kind), torch.ones_like(weight)
    events.add_product(found, weight, bias, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_BLOCK", block)
        events.add_gradient(found, error, total)
    exact = rows.double()
    scale = max(1.0, float(exact.sum(1).max()), float(exact.sum(0).max()))
    torch.testing.assert_close(
        out.double(), exact @ weight.double() + bias.double(), rtol=tolerance, atol=tolerance * scale
    )
    torch.testing.assert_close(
        total.double(), exact.T @ error.double() + 1, rtol=tolerance, atol=tolerance * scale
    )


class Counted:
    """A number that counts how often it is added to another."""

    additions = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def __add__(self, other: "Counted") -> "Counted":
        Counted.additions += 1
        return Counted(self.value + other.value)


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_a_product_is_one_addition_for_each_event_and_unit(density, monkeypatch):
    rows, units = drawn(7, 65, density, torch.uint8, 1, 0), 5
    found = events.events_of(events.bits_of(rows), rows, torch.empty(0))
    monkeypatch.setattr(event_kernels, "add_rows", event_kernels.add_rows.py_func)
    matrix, out = np.vectorize(Counted, otypes=[object]), np.empty((7, units), object)
    start = matrix(np.zeros(units))
    Counted.additions = 0
    event_kernels.product.py_func(
        found.offsets, found.columns, found.values, matrix(np.ones((65, units))), start, out, 0, 7
    )
    assert Counted.additions == found.columns.size * units == int(rows.sum()) * units
    assert [value.value for value in out[:, 0]] == rows.sum(1).tolist()


def test_products_are_dense_above_the_threshold_and_where_rows_are_few():
    like = torch.empty(0)
    sparse = torch.zeros(FEWEST, 1, 64, dtype=torch.uint8)
    sparse[:, :, : int(64 * MOST)] = 1
    denser = sparse.clone()
    denser[0, 0, -1] = 1
    assert presynaptic.presynaptic(sparse, like).events is not None
    assert presynaptic.presynaptic(denser, like).events is None
    assert presynaptic.presynaptic(sparse[1:], like).events is None


@pytest.mark.parametrize("kernels", ["fast", "reference"])
@pytest.mark.parametrize("highest", [1, 5])
@pytest.mark.parametrize("density", [0.02, 0.6])
def test_the_product_and_its_gradients_equal_plain_torch(density, highest, kernels, monkeypatch):
    monkeypatch.setenv("WORKBENCH_KERNELS", kernels)
    rows = drawn(40, 65, density, torch.float64, highest, 3).view(10, 4, 65).requires_grad_()
    generator = torch.Generator().manual_seed(2)
    weight, bias, signal = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((9, 65), (9,), (10, 4, 9))
    )
    leaves = [rows, weight.requires_grad_(), bias.requires_grad_()]
    found = presynaptic.product(*leaves)
    expected = torch.nn.functional.linear(*leaves)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    by_found = torch.autograd.grad((found * signal).sum(), leaves)
    for mine, theirs in zip(by_found, torch.autograd.grad((expected * signal).sum(), leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 5), (300, 500), (1, 1 << 15)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_buffers_begin_at_a_line_of_the_cache(shape, kind):
    found = native.buffer(torch.empty(0, dtype=kind), *shape)
    assert found.shape == shape
    assert found.dtype == kind
    assert found.is_contiguous()
    assert found.data_ptr() % 64 == 0


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("parts", "numbers"), [(1, 1 << 20), (2, 1 << 20), (10, 1 << 20), (10, 5)])
def test_slices_cover_every_part_once(threads, parts, numbers):
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        native.share(lambda first, last: seen.extend(range(first, last)), parts, numbers)
    finally:
        torch.set_num_threads(before)
    assert sorted(seen) == list(range(parts))
