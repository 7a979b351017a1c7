"""One time step of one layer in one call: forward, and the trace recursions with their gradient, for few samples.

Weights and gradients lie as the parameters do, `[N, in]`; equations and shapes in `stepwise.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.neurons.kernels import Array, _inline, _kernel, _pass_row, _slope_row


@_inline
def _present(row: Array, columns: Array) -> int:
    """Write the places of what is not zero to `columns`; returns how many there are."""
    count = 0
    for j in range(row.size):
        if row[j] != 0:
            columns[count] = j
            count += 1
    return count


@_inline
def _current(weight: Array, row: Array, columns: Array, count: int, unit: int) -> Any:
    """Return what one unit receives from the inputs that are not zero."""
    total = weight.dtype.type(0)
    for i in range(count):
        total += weight[unit, columns[i]] * row[columns[i]]
    return total


@_kernel
def fire(
    inputs: Array,
    weight: Array,
    decay: Array,
    threshold: float,
    hard: bool,
    state: Array,
    before: Array,
    spikes: Array,
    columns: Array,
) -> None:
    """A step of leaky integrate-and-fire units: state `[B, N]` moves on, `before` becomes what it was."""
    edge = weight.dtype.type(threshold)
    zero, one = weight.dtype.type(0), weight.dtype.type(1)
    for b in range(state.shape[0]):
        count = _present(inputs[b], columns)
        for n in range(state.shape[1]):
            u = state[b, n]
            before[b, n] = u
            kept = (zero if hard else u - edge) if u >= edge else u
            u = decay[n] * kept + _current(weight, inputs[b], columns, count, n)
            state[b, n] = u
            spikes[b, n] = one if u >= edge else zero


@_kernel
def integrate(
    inputs: Array, weight: Array, decay: Array, state: Array, before: Array, columns: Array
) -> None:
    """A step of leaky integrators."""
    for b in range(state.shape[0]):
        count = _present(inputs[b], columns)
        for n in range(state.shape[1]):
            before[b, n] = state[b, n]
            state[b, n] = decay[n] * state[b, n] + _current(weight, inputs[b], columns, count, n)


@_kernel
def slopes(
    state: Array,
    before: Array,
    decay: Array,
    threshold: float,
    hard: bool,
    cut: bool,
    kind: int,
    k: float,
    psi: Array,
    transition: Array,
) -> None:
    """Psi = dy/du at the state, transition = decay r'(u) at the state before; all `[B, N]`."""
    edge = state.dtype.type(threshold)
    earlier = np.empty(state.shape[1], state.dtype)
    for b in range(state.shape[0]):
        _slope_row(before[b], threshold, kind, k, earlier)
        _pass_row(before[b], earlier, decay, edge, hard, cut, transition[b])
        _slope_row(state[b], threshold, kind, k, psi[b])


@_inline
def _learn(
    e: Array, now: Any, psi: Any, through: Any, leak: Any, f: Array, filtered: bool, fresh: bool, total: Array
) -> None:
    """Move the filtered trace on and add one unit's gradient, or write it there if that is fresh."""
    if filtered:
        for j in range(e.size):
            f[j] = leak * f[j] + psi * e[j]
    direct = now * psi
    if fresh:
        for j in range(e.size):
            total[j] = direct * e[j]
    elif direct != 0:
        for j in range(e.size):
            total[j] += direct * e[j]
    if filtered:
        for j in range(e.size):
            total[j] += through * f[j]


@_kernel
def presynaptic(
    inputs: Array,
    decays: Array,
    group: Array,
    trace: Array,
    now: Array,
    psi: Array,
    through: Array,
    leak: float,
    filtered: Array,
    fresh: bool,
    gradient: Array,
) -> None:
    """A = d a + x; gradient += now psi a; with `filtered` `[B, N, in]`: f = leak f + psi a, gradient += through f.

    inputs `[B, in]`, decays `[D]`, group `[N]`, trace a `[D, B, in]`; now, psi, through `[B, N]`. filtered is `[0, N,
    in]` if no signal comes through the readout's leak. fresh: what lies in the gradient is nothing to be added to.
    """
    rate = gradient.dtype.type(leak)
    for d in range(trace.shape[0]):
        for b in range(trace.shape[1]):
            a, row = trace[d, b], inputs[b]
            for j in range(a.size):
                a[j] = decays[d] * a[j] + row[j]
    seen = filtered.shape[0] > 0
    for b in range(trace.shape[1]):
        for n in range(group.size):
            a = trace[group[n], b]
            f = filtered[b, n] if seen else a
            _learn(a, now[b, n], psi[b, n], through[b, n], rate, f, seen, fresh and b == 0, gradient[n])


@_kernel
def synaptic(
    inputs: Array,
    transition: Array,
    trace: Array,
    now: Array,
    psi: Array,
    through: Array,
    leak: float,
    filtered: Array,
    fresh: bool,
    gradient: Array,
) -> None:
    """As `presynaptic` with a trace for every synapse: e = transition e + x, `[B, N, in]`."""
    rate = gradient.dtype.type(leak)
    seen = filtered.shape[0] > 0
    for b in range(trace.shape[0]):
        row = inputs[b]
        for n in range(trace.shape[1]):
            e, carried = trace[b, n], transition[b, n]
            for j in range(e.size):
                e[j] = carried * e[j] + row[j]
            f = filtered[b, n] if seen else e
            _learn(e, now[b, n], psi[b, n], through[b, n], rate, f, seen, fresh and b == 0, gradient[n])
