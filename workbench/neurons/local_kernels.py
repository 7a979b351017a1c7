"""What local rules ask of a stretch of steps, fused in Numba: slopes, owed sums, and how traces are carried.

Companions of `kernels.py`, with the same conventions; the same in torch is in `lif_reference.py` and `lif_scan.py`.
"""

from __future__ import annotations

import numpy as np

from workbench.neurons.kernels import Array, _kernel, _pass_row, _repeated, _row, _slope_row


@_kernel
def weigh_by_slope(
    membrane: Array, signal: Array, threshold: float, kind: int, k: float, out: Array, first: int, last: int
) -> None:  # fmt: skip
    """out_t = signal_t psi(u_t - threshold), for samples first..last of `[T, B, N]`."""
    psi = np.empty_like(_row(membrane[0], first, last))
    for t in range(membrane.shape[0]):
        _slope_row(_row(membrane[t], first, last), threshold, kind, k, psi)
        from_here, here = _row(signal[t], first, last), _row(out[t], first, last)
        for n in range(psi.size):
            here[n] = psi[n] * from_here[n]


@_kernel
def owed(signal: Array, decay: Array, out: Array, first: int, last: int) -> None:
    """out_t = signal_t + decay out_{t+1}, for samples first..last of `[T, B, N]`."""
    rate = _repeated(decay, last - first)
    later = np.zeros_like(rate)
    for t in range(signal.shape[0] - 1, -1, -1):
        from_here, here = _row(signal[t], first, last), _row(out[t], first, last)
        for n in range(rate.size):
            here[n] = from_here[n] + rate[n] * later[n]
        later = here


@_kernel
def transport(
    membrane: Array, start: Array, decay: Array, threshold: float, hard: bool, cut: bool, kind: int, k: float,
    own: Array, suffix: Array, product: Array, first: int, last: int,
) -> None:  # fmt: skip
    """suffix_t = product of the transitions after step t, product = of all, for samples first..last.

    A transition is decay r'(u_{t-1}) + own psi(u_{t-1}).
    """
    edge = membrane.dtype.type(threshold)
    one = membrane.dtype.type(1.0)
    rate, weight = _repeated(decay, last - first), _repeated(own, last - first)
    psi, through = np.empty_like(rate), np.empty_like(rate)
    later = np.full_like(rate, one)
    for t in range(membrane.shape[0] - 1, -1, -1):
        before = _row(membrane[t - 1], first, last) if t > 0 else _row(start, first, last)
        here = _row(suffix[t], first, last)
        here[:] = later
        _slope_row(before, threshold, kind, k, psi)
        _pass_row(before, psi, rate, edge, hard, cut, through)
        for n in range(rate.size):
            later[n] = here[n] * (through[n] + weight[n] * psi[n])
    _row(product, first, last)[:] = later
