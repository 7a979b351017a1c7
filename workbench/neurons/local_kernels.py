"""What local rules ask of a stretch of steps, fused in Numba: slopes, owed sums, and how traces are carried.

Companions of `kernels.py`, with the same conventions; the same in torch is in `lif_reference.py` and `lif_scan.py`.
"""

from __future__ import annotations

import numpy as np

from workbench.neurons.kernels import Array, _kernel, _pass_row, _slope_row


@_kernel
def weigh_by_slope(
    membrane: Array, signal: Array, threshold: float, kind: int, k: float, out: Array, first: int, last: int
) -> None:  # fmt: skip
    """out_t = signal_t psi(u_t - threshold), for samples first..last of `[T, B, N]`."""
    for t in range(membrane.shape[0]):
        for b in range(first, last):
            from_here, here = signal[t, b], out[t, b]
            _slope_row(membrane[t, b], threshold, kind, k, here)
            for n in range(here.size):
                here[n] *= from_here[n]


@_kernel
def owed(signal: Array, decay: Array, out: Array, first: int, last: int) -> None:
    """out_t = signal_t + decay out_{t+1}, for samples first..last of `[T, B, N]`."""
    steps = signal.shape[0]
    silence = np.zeros_like(decay)
    for t in range(steps - 1, -1, -1):
        for b in range(first, last):
            from_here, here = signal[t, b], out[t, b]
            later = out[t + 1, b] if t + 1 < steps else silence
            for n in range(here.size):
                here[n] = from_here[n] + decay[n] * later[n]


@_kernel
def transport(
    membrane: Array, start: Array, decay: Array, threshold: float, hard: bool, cut: bool, kind: int, k: float,
    own: Array, suffix: Array, product: Array, first: int, last: int,
) -> None:  # fmt: skip
    """suffix_t = product of the transitions after step t, product = of all, for samples first..last.

    A transition is decay r'(u_{t-1}) + own psi(u_{t-1}).
    """
    edge, one = membrane.dtype.type(threshold), membrane.dtype.type(1.0)
    psi, through = np.empty_like(decay), np.empty_like(decay)
    for b in range(first, last):
        later = product[b]
        for n in range(later.size):
            later[n] = one
        for t in range(membrane.shape[0] - 1, -1, -1):
            before, here = membrane[t - 1, b] if t > 0 else start[b], suffix[t, b]
            _slope_row(before, threshold, kind, k, psi)
            _pass_row(before, psi, decay, edge, hard, cut, through)
            for n in range(later.size):
                here[n] = later[n]
            for n in range(later.size):
                later[n] = here[n] * (through[n] + own[n] * psi[n])
