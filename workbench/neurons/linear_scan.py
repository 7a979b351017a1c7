"""A linear recurrence over time in log2(T) passes: z_t = a z_{t-1} + v_t with a the same at every step.

After pass k every z_t holds the last 2^k values, weighted by powers of `a`; the next pass adds what lies as far back
again, times a^(2^k) (Hillis and Steele 1986). Powers that underflow are zero, which is what they count for.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor


def linear_scan(factor: Tensor, values: Tensor) -> Tensor:
    """Return z `[T, ...]`, z_t = factor z_{t-1} + values_t from z_{-1} = 0; real or complex, without a graph.

    `factor` has the shape of one step, or one that broadcasts to it. `values` is overwritten and returned.
    """
    if len(values) > 1 and bool((factor.abs() > 1).any()):
        # Powers would overflow where the recurrence itself stays finite.
        return _step_by_step(factor, values)
    reach = 1
    while reach < len(values):
        values[reach:] += factor * values[:-reach]
        factor, reach = factor * factor, 2 * reach
    return values


def _step_by_step(factor: Tensor, values: Tensor) -> Tensor:
    for before, here in pairwise(values.unbind(0)):
        here += factor * before
    return values
