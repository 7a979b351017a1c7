"""Fused scans of linear recurrent units in Numba; equations in `lru.py`, the reference in torch in `lru_scan.py`.

A kernel walks samples first..last; complex numbers lie in blocks, `[..., :N]` real and `[..., N:]` imaginary.
"""

from __future__ import annotations

from workbench.neurons.kernels import Array, _inline, _kernel


@_inline
def _turn_row(re: Array, im: Array, x_re: Array, x_im: Array, out_re: Array, out_im: Array) -> None:
    """Add lambda x to `out`."""
    for n in range(re.size):
        out_re[n] += re[n] * x_re[n] - im[n] * x_im[n]
    for n in range(re.size):
        out_im[n] += im[n] * x_re[n] + re[n] * x_im[n]


@_kernel
def forward(
    currents: Array, re: Array, im: Array, scale: Array, start: Array, out: Array, first: int, last: int
) -> None:
    """z_t = lambda z_{t-1} + scale I_t; `out` `[T, B, 2 N]`."""
    units = re.size
    for t in range(currents.shape[0]):
        for b in range(first, last):
            here, current = out[t, b], currents[t, b]
            for n in range(units):
                here[n] = scale[n] * current[n]
            for n in range(units):
                here[units + n] = scale[n] * current[units + n]
            if t > 0:
                before = out[t - 1, b]
                _turn_row(re, im, before[:units], before[units:], here[:units], here[units:])
            else:
                _turn_row(re, im, start[0, b], start[1, b], here[:units], here[units:])


@_inline
def _add_by_eigenvalue(
    g_re: Array, g_im: Array, z_re: Array, z_im: Array, by_re: Array, by_im: Array
) -> None:  # fmt: skip
    """Add one step's gradient of lambda, conj(z_{t-1}) g_t."""
    for n in range(by_re.size):
        by_re[n] += z_re[n] * g_re[n] + z_im[n] * g_im[n]
    for n in range(by_im.size):
        by_im[n] += z_re[n] * g_im[n] - z_im[n] * g_re[n]


@_kernel
def adjoint(
    out: Array, start: Array, signal: Array, final: Array, re: Array, im: Array, gradient: Array, by_start: Array,
    by_re: Array, by_im: Array, by_dot: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Reverse scan g_t = L_t + conj(lambda) g_{t+1}; `gradient` `[T, B, 2 N]` becomes g, not yet times the scale.

    final `[2, B, N]` adds to the last step. by_re, by_im `[B, N]` become the gradients of lambda, by_dot `[B, N]` the
    sum over time of g_t . z_t, from which that of the scale follows.
    """
    steps, units = out.shape[0], re.size
    back = -im
    for b in range(first, last):
        by_re[b, :] = 0
        by_im[b, :] = 0
        by_dot[b, :] = 0
        for t in range(steps - 1, -1, -1):
            g, by_output, here = gradient[t, b], signal[t, b], out[t, b]
            g_re, g_im = g[:units], g[units:]
            for n in range(2 * units):
                g[n] = by_output[n]
            if t == steps - 1:
                g_re += final[0, b]
                g_im += final[1, b]
            else:
                later = gradient[t + 1, b]
                _turn_row(re, back, later[:units], later[units:], g_re, g_im)
            if t > 0:
                before = out[t - 1, b]
                _add_by_eigenvalue(g_re, g_im, before[:units], before[units:], by_re[b], by_im[b])
            else:
                _add_by_eigenvalue(g_re, g_im, start[0, b], start[1, b], by_re[b], by_im[b])
            dot = by_dot[b]
            for n in range(units):
                dot[n] += g_re[n] * here[n] + g_im[n] * here[units + n]
        by_start[0, b, :] = 0
        by_start[1, b, :] = 0
        g = gradient[0, b]
        _turn_row(re, back, g[:units], g[units:], by_start[0, b], by_start[1, b])
