"""The scan by doubling equals the recurrence written out, and leaky integrators equal their Numba kernels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.neurons import lif_reference, lif_scan, native
from workbench.neurons.linear_scan import linear_scan

DECAYS = (0.0, 1e-200, 0.5, 0.95, 1.0 - 1e-9, 1.0)


def written_out(factor: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    value, out = torch.zeros_like(values[0]), []
    for current in values:
        value = factor * value + current
        out.append(value)
    return torch.stack(out)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(steps=st.integers(1, 70), seed=st.integers(0, 99), complex_numbers=st.booleans())
def test_it_is_the_recurrence(steps: int, seed: int, complex_numbers: bool) -> None:
    values, factor = drawn(steps, 2, 3, seed=seed), drawn(3, seed=seed + 1).tanh()
    if complex_numbers:
        values, factor = torch.complex(values, values.flip(-1)), torch.complex(factor, factor.flip(0)) / 2
    torch.testing.assert_close(
        linear_scan(factor, values.clone()), written_out(factor, values), rtol=1e-12, atol=1e-13
    )


def test_growth_that_stays_finite_is_computed() -> None:
    values = torch.zeros(600, 1, 2, dtype=torch.float64)
    values[590:] = 1.0
    factor = torch.tensor([20.0, -0.5], dtype=torch.float64)
    assert torch.equal(linear_scan(factor, values.clone()), written_out(factor, values))


@pytest.mark.parametrize("steps", [1, 2, 3, 25, 300])
def test_leaky_integrators_equal_the_kernels(steps: int) -> None:
    decay = torch.tensor(DECAYS, dtype=torch.float64)
    shape = (3, len(DECAYS))
    currents, start, signal = drawn(steps, *shape), drawn(*shape, seed=1), drawn(steps, *shape, seed=2)
    assert native.fast_kernels_apply(currents)
    kept = currents.clone(), signal.clone()
    out = lif_scan.leaky_forward(decay, start, currents)
    torch.testing.assert_close(
        lif_reference.leaky_forward(decay, start, currents), out, rtol=1e-12, atol=1e-12
    )
    ours = lif_reference.leaky_adjoint(decay, start, out, signal)
    kernels = lif_scan.leaky_adjoint(decay, start, out, signal)
    for mine, theirs in zip(ours, kernels, strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12 * scale)
    assert torch.equal(currents, kept[0])
    assert torch.equal(signal, kept[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_scan_keeps_the_dtype(dtype: torch.dtype) -> None:
    assert linear_scan(torch.full((2,), 0.9, dtype=dtype), torch.ones(5, 1, 2, dtype=dtype)).dtype == dtype
