"""The two forms in which a layer's eligibility traces are carried from chunk to chunk.

    synaptic      e_end = (prod a) e_start + sum_t (prod of later a) b_t x_t       `[S, B, in, N]`
    presynaptic   the same for D distinct constant decays, b = 1                   `[D, B, in]`

Synaptic traces serve transitions that depend on the data or differ in every unit; a presynaptic trace is shared by all
units of one decay. What x_t adds is added by events where the activity is sparse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.backbones.network import Layer
from workbench.neurons.native import buffer, fast_kernels_apply, share
from workbench.neurons.presynaptic import Gradient, Presynaptic
from workbench.neurons.trajectory import Transport


def distinct(decay: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct values `[D]` of decays `[N]`, and each unit's place among them `[N]`."""
    decays, group = torch.unique(decay.detach(), return_inverse=True)
    return decays, group


@dataclass
class PresynapticTrace:
    """Traces `[D, B, in]` of one synapse for D distinct decays; `group` `[N]` tells each unit's."""

    decays: Tensor
    group: Tensor
    trace: Tensor

    @staticmethod
    def zero(groups: tuple[Tensor, Tensor], source: Presynaptic) -> PresynapticTrace:
        """Return an empty trace of what a synapse reads, for units in groups of one decay (see `distinct`)."""
        decays, group = groups
        return PresynapticTrace(decays, group, source.like.new_zeros(decays.numel(), *source.shape[1:]))

    def credit(self, owed: Tensor, total: Gradient) -> None:
        """Add sum_b owed[b, n] e[group(n), b, :] to the gradient, for `owed` `[1, B, N]`."""
        if self.decays.numel() == 1:
            total.add_outer(owed[0], self.trace[0])
            return
        result = owed.new_empty(owed.shape[2], self.trace.shape[2])
        by_unit = owed[0].T
        for index, trace in enumerate(self.trace):
            members = (self.group == index).nonzero()[:, 0]
            result[members] = by_unit[members] @ trace
        total.add_by_unit(result)

    def advance(self, source: Presynaptic) -> None:
        """Carry the traces over what the synapse read, `[K, B, in]`."""
        steps = source.shape[0]
        if steps == 1:
            self.trace.mul_(self.decays[:, None, None]).add_(source.rows())
            return
        exponents = torch.arange(steps, -1, -1, device=self.trace.device)
        powers = self.decays[:, None] ** exponents
        self.trace.mul_(powers[:, :1, None])
        if source.events is None:
            self.trace += (powers[:, 1:] @ source.rows().view(steps, -1)).view_as(self.trace)
            return
        from workbench.rules import trace_kernels

        events = source.events
        arrays = (powers[:, 1:].contiguous().numpy(), self.trace.numpy())
        work = events.columns.size * len(self.decays)
        share(
            trace_kernels.add_powers,
            source.shape[1],
            work,
            events.offsets,
            events.columns,
            events.values,
            *arrays,
        )


@dataclass
class SynapticTrace:
    """Traces `[S, B, in, P N]` of one synapse; zero, and not yet in memory, until the first `carry`.

    holomorphic: state and currents are Re and Im of complex numbers in pairs, dz/dI_im = i dz/dI_re, and the traces are
    those of the real currents alone, `[S, B, in, N]`.
    """

    rows: int
    holomorphic: bool = False
    trace: Tensor | None = None

    @staticmethod
    def empty(layer: Layer) -> SynapticTrace:
        """Return a trace of the layer."""
        holomorphic = layer.cell.holomorphic
        rows = layer.units if holomorphic else layer.cell.current_size * layer.units
        return SynapticTrace(rows, holomorphic)

    def credit(self, owed: Tensor, total: Gradient) -> None:
        """Add sum_{s,b} owed[s, b, n] e[s, b, :, n] to the gradient, for `owed` `[S, B, N]`."""
        assert self.trace is not None
        owed = self._owed(owed)
        if fast_kernels_apply(self.trace):
            from workbench.rules import trace_kernels

            self._by_kernel(trace_kernels.credit, (owed,), total)
        else:
            self._add_to(total, torch.einsum("qsbn,sbjn->qjn", owed, self.trace))

    def carry(self, owed: Tensor, transport: Transport, source: Presynaptic, total: Gradient) -> None:
        """Add the credit under `owed` `[S, B, N]` to the gradient and carry the traces over the chunk."""
        states, batch = transport.product.shape[0], source.shape[1]
        if self.trace is None:
            self.trace = buffer(source.like, states, batch, source.shape[2], self.rows).zero_()
        elif fast_kernels_apply(self.trace):
            from workbench.rules import trace_kernels

            arrays = (self._owed(owed), self._tiled(transport.product))
            self._by_kernel(trace_kernels.credit_and_decay, arrays, total)
        else:
            self.credit(owed, total)
            self.trace = torch.einsum("rsbn,sbjn->rbjn", self._tiled(transport.product), self.trace)
        self._add(transport.drive[..., : self.rows], source)

    def _owed(self, owed: Tensor) -> Tensor:
        """Return `owed` `[S, B, N]` as `[Q, S, B, rows]`; Q is 2, real and imaginary currents, if holomorphic."""
        if self.holomorphic:
            turned = torch.stack([owed[1::2], -owed[0::2]], dim=1).reshape(owed.shape)
            return torch.stack([owed, turned])
        return self._tiled(owed)[None]

    def _tiled(self, values: Tensor) -> Tensor:
        """Return `[..., N]` once for each of the P blocks of currents."""
        blocks = self.rows // values.shape[-1]
        return values if blocks == 1 else values.repeat(*[1] * (values.dim() - 1), blocks)

    def _by_kernel(self, kernel: Callable[..., None], factors: tuple[Tensor, ...], total: Gradient) -> None:
        """Run a kernel of credit over the units; factors: owed `[Q, S, B, N]` and what else it takes."""
        assert self.trace is not None
        gradient = factors[0].new_zeros(len(factors[0]), self.trace.shape[2], self.rows)
        arrays = (array.contiguous().numpy() for array in (self.trace, *factors, gradient))
        share(kernel, self.rows, self.trace.numel(), *arrays)
        self._add_to(total, gradient)

    def _add_to(self, total: Gradient, gradient: Tensor) -> None:
        """Add `[Q, in, N]`, block q of the currents being units q N to (q + 1) N."""
        total.add_by_input(gradient[0] if len(gradient) == 1 else torch.cat(list(gradient), dim=-1))

    def _add(self, drive: Tensor, source: Presynaptic) -> None:
        """Add what the activity leaves: drive `[K, S, B, rows]`."""
        assert self.trace is not None
        events = source.events
        if events is not None:
            from workbench.rules import trace_kernels

            arrays = (drive.contiguous().numpy(), self.trace.numpy())
            work = events.columns.size * self.rows
            share(
                trace_kernels.add_events,
                source.shape[1],
                work,
                events.offsets,
                events.columns,
                events.values,
                *arrays,
            )
            return
        by_input = source.rows().view(source.shape).permute(1, 2, 0)
        for state, fresh in zip(self.trace, drive.unbind(1), strict=True):
            torch.baddbmm(state, by_input, fresh.transpose(0, 1), out=state)
