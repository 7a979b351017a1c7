"""Nothing is lost between the digital accumulator and the devices."""

from __future__ import annotations

from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.hardware.accumulator import Accumulator

numbers = st.floats(-1000, 1000, width=32, allow_subnormal=False)


@given(st.lists(st.integers(-(2**16), 2**16), min_size=1, max_size=40))
def test_what_was_written_and_what_remains_sum_to_what_was_added(changes: list[int]) -> None:
    accumulator = Accumulator(torch.zeros(1, 1), quantum=0.25)
    written = Fraction(0)
    for change in changes:  # Multiples of 2^-10: float32 holds every sum exactly.
        written += Fraction(accumulator.add(torch.full((1, 1), change / 1024)).item())
    remainder = Fraction(accumulator.chi.item())
    assert (written + remainder) / 4 == Fraction(sum(changes), 1024)
    assert abs(remainder) < 1


@given(numbers, numbers)
def test_taking_is_exact_whatever_the_numbers(first: float, second: float) -> None:
    accumulator = Accumulator(torch.zeros(1, 1), quantum=1.0)
    accumulator.collect(torch.full((1, 1), first))
    accumulator.collect(torch.full((1, 1), second))
    before = Fraction(accumulator.chi.item())
    whole = Fraction(accumulator.take().item())
    assert whole.denominator == 1
    assert whole + Fraction(accumulator.chi.item()) == before


def test_small_changes_are_written_once_they_make_a_quantum() -> None:
    accumulator = Accumulator(torch.zeros(1, 2), quantum=1.0)
    taken = [accumulator.add(torch.tensor([[0.375, -0.75]])).tolist() for _ in range(4)]
    assert taken == [[[0.0, 0.0]], [[0.0, -1.0]], [[1.0, -1.0]], [[0.0, -1.0]]]


def test_a_restored_accumulator_goes_on_where_it_stood() -> None:
    changes = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    whole, first = Accumulator(changes[0], 0.3), Accumulator(changes[0], 0.3)
    for change in changes[:3]:
        whole.add(change)
        first.add(change)
    second = Accumulator(changes[0], 0.3)
    second.load_state_dict(first.state_dict())
    for change in changes[3:]:
        assert torch.equal(whole.add(change), second.add(change))
    assert whole.buffer_bytes() == 3 * 4 * 4
