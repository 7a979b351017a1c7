"""Voltage lost along the wires of a tile: a closed form, and the resistor network solved exactly.

Cell (j, i) joins row wire j to column wire i. Rows are driven at column 0, columns are held at zero volt at row 0, and
each wire has a resistance R from one cell to the next, and from its end to the first cell. A weight is the difference
of two conductances, one of which is zero, on two such tiles that are read at once.

    quick       y_i loses c_i sum_j w_ij x_j (1 - (1 - j/n)^2),  c = a (a (0.05 a - 0.2) + 0.5),
                a_i = n R g_max sum_j |w_ij| |x_j|,  n rows, weights and inputs as shares of the largest and of full
                scale (IBM's aihwkit, `rpucuda/rpu_forward_backward_pass.cpp`): column wires alone, and not linear in x
    detailed    Kirchhoff's equations. With J_ji the current through a cell and V_j the drivers' voltages,
                J_ji = G_ji (r_ji - c_ji), while r and c follow from J along each wire. Currents are linear in
                voltages, so a tile is one matrix of effective conductances, whatever is read with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.errors import ConfigurationError
from workbench.hardware.settings import CrossbarConfig
from workbench.hardware.tiles import edges
from workbench.neurons.native import share


def quick_loss(load: Tensor) -> Tensor:
    """Return c for the load a, same shape.

    >>> [round(float(quick_loss(torch.tensor(n * n / 2 * 0.35 * 5e-6))), 3) for n in (512, 256, 128)]
    [0.105, 0.028, 0.007]
    """
    return load * (load * (0.05 * load - 0.2) + 0.5)


def position_share(rows: int, like: Tensor) -> Tensor:
    """Return 1 - (1 - j/n)^2 for the rows j of a tile, `[n]`: what of its loss each row sees, from the sensed end."""
    place = torch.arange(rows, dtype=torch.float64) / rows
    return (1.0 - (1.0 - place) ** 2).to(like)


def transfer(conductance: Tensor, wire_ohm: float) -> Tensor:
    """Return effective conductances `[rows, columns]` of a tile: current at a column's end by voltage at a row's.

    conductance: of the cells, `[rows, columns]`, siemens; wire_ohm: R. Float64. Rows and columns are solved in turn
    until nothing changes by more than 1e-12, which converges for any positive R (block Gauss-Seidel on a positive
    definite matrix). Raises ConfigurationError if the wires lose so much that this takes too long.
    """
    if wire_ohm == 0 or not conductance.numel():
        return conductance.to(torch.float64)
    from workbench.hardware import wire_kernels

    cells = conductance.detach().to("cpu", torch.float64)
    # What flows from a row's end to a column's end is what would flow the other way: solve for the fewer of them.
    turned = cells.shape[1] < cells.shape[0]
    cells = (cells.T if turned else cells).contiguous()
    wire = 1.0 / wire_ohm
    along_rows, along_columns = torch.empty_like(cells), torch.empty_like(cells)
    wire_kernels.pivots(cells.numpy(), wire, along_rows.numpy(), along_columns.numpy())
    found = torch.empty_like(cells)
    arrays = [array.numpy() for array in (cells, along_rows, along_columns)]
    parts = -(-len(cells) // wire_kernels.LANES)
    change = torch.zeros(parts, dtype=torch.float64)
    work = cells.numel() * len(cells)
    share(wire_kernels.solve, parts, work, *arrays, wire, found.numpy(), change.numpy())
    if not bool((change <= wire_kernels.TOLERANCE).all()):
        raise ConfigurationError(
            f"hardware.ir_drop=detailed: wires of {wire_ohm:g} ohm take nearly all of the voltage of cells of "
            f"{float(cells.max()):.3g} siemens on {conductance.shape[0]} rows; lower hardware.wire_ohm, "
            "hardware.g_max_siemens or hardware.rows"
        )
    return (found.T if turned else found).to(conductance.device)


@torch.no_grad()
def effective_weights(weight: Tensor, largest: float, settings: CrossbarConfig) -> Tensor:
    """Return weights `[N, in]` as they act behind the wires of their tiles; the dtype of `weight`.

    largest: weight that `settings.g_max_siemens` holds.
    """
    unit = settings.g_max_siemens / largest
    out = torch.empty_like(weight)
    for first, last in edges(weight.shape[0], settings.columns):
        for begin, end in edges(weight.shape[1], settings.rows):
            cells = weight[first:last, begin:end].T.to(torch.float64) * unit
            found = transfer(cells.clamp(min=0), settings.wire_ohm)
            found -= transfer((-cells).clamp(min=0), settings.wire_ohm)
            out[first:last, begin:end] = (found / unit).T
    return out
