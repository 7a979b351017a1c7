"""A stack of layers: synapse, optional recurrent synapse, cell; the last layer is the readout.

Synapses are ordinary `nn.Linear` modules, so hooks see the presynaptic activity, hardware can replace them, and
Avalanche's plug-ins see parameters. Everything is time-major: `[T, B, N]`.

Shapes speak of units with one current and one output. A cell with P currents and Q outputs a unit (a complex number has
two) has a synapse `[in -> P N]` and an output of `width` Q N, in blocks as in `workbench/neurons/cell.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.neurons import lif_stack
from workbench.neurons.cell import Cell, Parameters
from workbench.neurons.leaky import LeakyIntegrator
from workbench.neurons.lif import LIF
from workbench.neurons.lif_layer import Units
from workbench.neurons.lif_stack import Readout
from workbench.neurons.native import fast_kernels_apply
from workbench.neurons.presynaptic import (
    FEWEST,
    Presynaptic,
    Reader,
    carried_back,
    disturbance,
    presynaptic,
    product,
)
from workbench.neurons.trajectory import Trajectory


@dataclass(frozen=True)
class Activity:
    """What passed through a layer in a stretch of steps, without a graph.

    inputs: `[T, B, in]` presynaptic activity. before: `[T, B, N]` the layer's own outputs one step earlier, which its
    recurrent synapse read, or None without one. outputs: `[T, B, N]`.
    """

    inputs: Tensor
    before: Tensor | None
    outputs: Tensor


class Layer(nn.Module):
    """A synapse `[in -> N]`, an optional recurrent synapse `[N -> N]`, and N units of one cell.

    Raises ValueError for a recurrent synapse between units without memory, or with several currents or outputs.
    `listeners` are called with the layer and its `Activity` after every stretch of steps, in training and evaluation.
    `periphery` and `recurrent_periphery`, if there, say how hardware reads the two synapses, forward and, for errors,
    backward; gradients of weights are those of plain products.
    """

    def __init__(self, inputs: int, units: int, cell: Cell, *, recurrent: bool, bias: bool) -> None:
        super().__init__()
        self.inputs = inputs
        self.units = units
        self.cell = cell
        if recurrent and (cell.state_size == 0 or cell.current_size * cell.output_size > 1):
            raise ValueError(f"units of {type(cell).__name__} cannot have a recurrent synapse")
        self.synapse = _empty_linear(inputs, cell.current_size * units, bias=bias)
        self.recurrent = _empty_linear(units, units, bias=False) if recurrent else None
        self.listeners: list[Callable[[Layer, Activity], None]] = []
        self.periphery: Reader | None = None
        self.recurrent_periphery: Reader | None = None

    @property
    def width(self) -> int:
        """Width of the output: that of what the next synapse reads."""
        return self.cell.output_size * self.units

    def initialise(self, gain: Tensor, recurrent_gain: float, generator: torch.Generator) -> None:
        """Draw weights from N(0, (gain / sqrt(fan-in))^2), gain `[P N]` or scalar; biases are zero."""
        self._draw(_normal(gain, generator), _normal(torch.tensor(recurrent_gain), generator))
        self._initialise_cell(generator)

    def initialise_uniform(self, gain: float, recurrent_gain: float, generator: torch.Generator) -> None:
        """Draw weights from U(-a, a), a = gain sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio); biases are zero."""
        self._draw(_uniform(gain, generator), _uniform(recurrent_gain, generator))
        self._initialise_cell(generator)

    @torch.no_grad()
    def _draw(self, synapse: Callable[[Tensor], Tensor], recurrent: Callable[[Tensor], Tensor]) -> None:
        self.synapse.weight.copy_(synapse(self.synapse.weight))
        if self.synapse.bias is not None:
            self.synapse.bias.zero_()
        if self.recurrent is not None:
            self.recurrent.weight.copy_(recurrent(self.recurrent.weight))

    def _initialise_cell(self, generator: torch.Generator) -> None:
        trained = self.cell.trained()
        for name, value in self.cell.initial_parameters(self.units, generator).items():
            if name in trained:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def cell_parameters(self) -> dict[str, Tensor]:
        """Return the parameters `[N]` that the cell's `step` takes; differentiable in the trained ones."""
        raw = {name: value for name, value in self._own() if value is not None}
        return self.cell.constrain(raw)

    def _own(self) -> Iterator[tuple[str, Tensor | None]]:
        yield from self._parameters.items()
        yield from self._buffers.items()

    def initial_state(self, batch: int, like: Tensor) -> Tensor:
        """Return the state before the first step, `[S, batch, N]`."""
        return self.cell.initial_state(batch, self.units, like)

    def recurrent_weight(self) -> Tensor | None:
        """Return the recurrent matrix `[N, N]` (to, from), or None."""
        return None if self.recurrent is None else self.recurrent.weight

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`[T, B, in]` -> last state `[S, B, N]`, outputs `[T, B, N]`; differentiable.

        inputs: of the dtype of the weights, or uint8. The input product lies outside the time loop.
        """
        if state is None:
            state = self.initial_state(inputs.shape[1], self.synapse.weight)
        parameters, recurrent = self.cell_parameters(), self.recurrent_weight()
        if self._read_by_plain_synapse(inputs):
            weights = (self.synapse.weight, self.synapse.bias)
            last, outputs = self.cell.scan_layer(parameters, state, inputs, *weights, recurrent)
        else:
            currents = self.currents(inputs)
            if self.recurrent_periphery is not None and self.recurrent_periphery.reads_back:
                last, outputs = self._scan_stepwise(parameters, state, currents, self.recurrent_periphery)
            else:
                if self.recurrent_periphery is not None:
                    currents = currents + self._recurrent_disturbance(parameters, state, currents)
                last, outputs = self.cell.scan(parameters, state, currents, recurrent)
        if self.listeners:
            self._tell(inputs, state, outputs)
        return last, outputs

    def currents(self, inputs: Tensor) -> Tensor:
        """Return the synapse's currents `[T, B, N]`, as hardware reads them if it does.

        The product is computed once if `inputs` is one step seen T times (stride 0); hardware reads T times.
        """
        weight, still = self.synapse.weight, len(inputs) > 1 and inputs.stride(0) == 0
        if self.periphery is not None and self._is_bare and not still:
            return product(inputs, weight, self.synapse.bias, self.periphery)
        # A synapse of another kind may draw noise at every step.
        if still and type(self.synapse) is nn.Linear:
            once: Tensor = self.synapse(inputs[0].to(weight.dtype))
            currents = once.expand(len(inputs), -1, -1)
        else:
            currents = self.synapse(inputs.to(weight.dtype))
        if self.periphery is None:
            return currents
        seen, repeats = (inputs[:1], len(inputs)) if still else (inputs, 1)
        return currents + disturbance(seen, weight, self.periphery, repeats)

    @property
    def carries_back_plainly(self) -> bool:
        """Whether errors go back through the synapse as a product with its weights."""
        return self.periphery is None or not self.periphery.reads_back

    def carry_back(self, errors: Tensor) -> Tensor:
        """Return dE/dx `[K, B, in]` for dE/dI `[K, B, N]` at the synapse, as hardware reads it if it does."""
        return carried_back(errors, self.synapse.weight, self.periphery)

    def _currents_of(self, source: Presynaptic) -> Tensor:
        """As `currents`, of what was counted already."""
        activity = source.activity
        still = activity is not None and len(activity) > 1 and activity.stride(0) == 0
        if self.periphery is None or still or not self._is_bare:
            return self.currents(source.numbers())
        return self.periphery(source, self.synapse.weight, self.synapse.bias)

    def _scan_stepwise(
        self, parameters: Parameters, state: Tensor, currents: Tensor, reader: Reader
    ) -> tuple[Tensor, Tensor]:
        """Scan `[T, B, N]` currents, the recurrent synapse read after each step and, as errors come back, before it."""
        weight = self.recurrent_weight()
        assert weight is not None
        before, found = self.cell.output(parameters, state), []
        for current in currents.unbind(0):
            fed_back = product(before[None], weight, None, reader)
            state, outputs = self.cell.scan(parameters, state, current[None] + fed_back)
            before = outputs[0]
            found.append(before)
        return state, torch.stack(found)

    @torch.no_grad()
    def _recurrent_disturbance(self, parameters: Parameters, state: Tensor, currents: Tensor) -> Tensor:
        """Return by how much the recurrent synapse's currents `[T, B, N]` are other than its plain product.

        That depends on the outputs, so the steps are taken one by one; with the arithmetic that the cell then repeats
        for all of them at once, so that it comes to the same outputs to the last bit.
        """
        read, weight = self.recurrent_periphery, self.recurrent_weight()
        assert read is not None
        assert weight is not None
        before = self.cell.output(parameters, state)
        added = torch.empty_like(currents, memory_format=torch.contiguous_format)
        for current, here in zip(currents.unbind(0), added.unbind(0), strict=True):
            source = presynaptic(before[None], weight)
            torch.sub(read(source, weight, None)[0], before @ weight.T, out=here)
            state, outputs = self.cell.scan(parameters, state, (current + here)[None], weight)
            before = outputs[0]
        return added

    @property
    def _is_bare(self) -> bool:
        """Whether the synapse is weights and bias: no other module, no hook on it."""
        hooked = self.synapse._forward_hooks or self.synapse._forward_pre_hooks
        return type(self.synapse) is nn.Linear and not hooked

    @property
    def reads_plainly(self) -> bool:
        """Whether the synapses are weights and bias and nothing else: no other module, no hook, no hardware."""
        return self._is_bare and self.periphery is None and self.recurrent_periphery is None

    def is_plain(self, inputs: Tensor) -> bool:
        """Tell whether a synapse that is nothing but weights reads `inputs`, and nobody listens or has hooks here."""
        watched = self.listeners or self._forward_hooks or self._forward_pre_hooks or self._backward_hooks
        return not watched and self._read_by_plain_synapse(inputs)

    def _read_by_plain_synapse(self, inputs: Tensor) -> bool:
        """Tell whether nothing but weights meets an input that moves."""
        return self.reads_plainly and (len(inputs) == 1 or inputs.stride(0) != 0)

    @torch.no_grad()
    def run(self, source: Presynaptic, state: Tensor) -> Trajectory:
        """As `forward`, without a graph, keeping what local learning needs."""
        parameters, recurrent = self.cell_parameters(), self.recurrent_weight()
        # What is held as bits alone is no view of one step.
        plain = (
            self.reads_plainly if source.activity is None else self._read_by_plain_synapse(source.activity)
        )
        if plain:
            weights = (self.synapse.weight, self.synapse.bias)
            trajectory = self.cell.run_layer(parameters, state, source, *weights, recurrent)
        else:
            currents = self._currents_of(source)
            if self.recurrent_periphery is not None:
                currents = currents + self._recurrent_disturbance(parameters, state, currents)
            trajectory = self.cell.run(parameters, state, currents, recurrent)
        if self.listeners:
            self._tell(source.numbers(), state, trajectory.outputs)
        return trajectory

    def one_step_earlier(self, state: Tensor, outputs: Tensor) -> Tensor | None:
        """Return `outputs` `[T, B, N]` delayed by a step, given the state before; None without recurrent synapse."""
        if self.recurrent is None:
            return None
        return torch.cat([self.cell.output(self.cell_parameters(), state)[None], outputs[:-1]])

    @torch.no_grad()
    def _tell(self, inputs: Tensor, state: Tensor, outputs: Tensor) -> None:
        outputs = outputs.detach()
        inputs = inputs.detach().to(outputs.dtype)
        activity = Activity(inputs, self.one_step_earlier(state.detach(), outputs), outputs)
        for listen in self.listeners:
            listen(self, activity)


@dataclass(frozen=True)
class ForwardPass:
    """What a whole forward pass returned.

    outputs: `[T, B, C]` readout. states: one `[S, B, N]` per layer. spikes: outputs `[T, B, N]` of the hidden layers.
    """

    outputs: Tensor
    states: list[Tensor]
    spikes: list[Tensor]


class Network(nn.Module):
    """Hidden layers and a readout; a learner sees nothing else of a backbone.

    The readout reads the last hidden layer, or all of them side by side if it is that wide.
    """

    def __init__(self, hidden: Sequence[Layer], readout: Layer) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(hidden)
        self.readout = readout
        self.input_bytes = 1
        """Bytes of a number of the input as it is stored: 1 for uint8, the workbench's form of spikes and counts."""
        self.reads_all = len(hidden) > 1 and readout.inputs == sum(layer.width for layer in hidden)

    @property
    def layers(self) -> list[Layer]:
        """All layers from the input to the readout."""
        return [*self.hidden, self.readout]

    @property
    def classes(self) -> int:
        """Width C of the readout."""
        return self.readout.width

    def readout_input(self, spikes: Sequence[Tensor]) -> Tensor:
        """Return what the readout reads, `[T, B, inputs]`, of the hidden layers' outputs `[T, B, N]`."""
        return torch.cat(list(spikes), dim=-1) if self.reads_all else spikes[-1]

    def initial_states(self, batch: int) -> list[Tensor]:
        """Return the states of all layers before the first step."""
        like = self.readout.synapse.weight
        return [layer.initial_state(batch, like) for layer in self.layers]

    def run(self, inputs: Tensor, states: Sequence[Tensor] | None = None) -> ForwardPass:
        """Run `[T, B, inputs]` through all layers; differentiable. `states` hands over from an earlier stretch.

        inputs: of the dtype of the weights, or uint8 as data are stored.
        """
        activity = inputs
        given = states if states is not None else [None] * len(self.layers)
        last, spikes = [], []
        for layer, state in zip(self.hidden, given, strict=False):
            state, activity = layer(activity, state)
            last.append(state)
            spikes.append(activity)
        state, outputs = self.readout(self.readout_input(spikes), given[-1])
        return ForwardPass(outputs, [*last, state], spikes)

    def forward(self, inputs: Tensor) -> Tensor:
        """`[T, B, inputs]` -> readout `[T, B, C]`."""
        hidden, readout = [self._units(layer, inputs) for layer in self.hidden], self.readout
        rows, weight = inputs.shape[0] * inputs.shape[1], readout.synapse.weight
        units = [found for found in hidden if found is not None]
        leaky = (
            type(readout.cell) is LeakyIntegrator and readout.recurrent is None and readout.is_plain(inputs)
        )
        if not leaky or len(units) < len(hidden) or rows < FEWEST or not fast_kernels_apply(weight):
            return self.run(inputs).outputs
        decay, start = readout.cell_parameters()["decay"], readout.initial_state(inputs.shape[1], weight)[0]
        return lif_stack.scan(units, Readout(decay, start, weight, readout.synapse.bias), inputs)

    def _units(self, layer: nn.Module, inputs: Tensor) -> Units | None:
        """Return a hidden layer as `lif_stack` takes it, None if it is not a plain LIF layer that nobody watches."""
        if not isinstance(layer, Layer) or type(layer.cell) is not LIF or not layer.is_plain(inputs):
            return None
        weight, bias = layer.synapse.weight, layer.synapse.bias
        start = layer.initial_state(inputs.shape[1], weight)[0]
        return Units(
            layer.cell, layer.cell_parameters()["decay"], start, weight, bias, layer.recurrent_weight()
        )


@contextmanager
def plainly_read(network: Network) -> Iterator[None]:
    """Let synapses be plain products of the weights in this context: for measurements that are no part of training.

    Hardware would draw noise, and training would go on with other noise than without the measurement.
    """
    kept = [(layer.periphery, layer.recurrent_periphery) for layer in network.layers]
    for layer in network.layers:
        layer.periphery = layer.recurrent_periphery = None
    try:
        yield
    finally:
        for layer, (periphery, recurrent) in zip(network.layers, kept, strict=True):
            layer.periphery, layer.recurrent_periphery = periphery, recurrent


def _normal(gain: Tensor, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return what draws N(0, (gain / sqrt(fan-in))^2) of the shape of a weight."""

    def draw(like: Tensor) -> Tensor:
        weight = torch.randn(like.shape, generator=generator)
        deviation = gain.reshape(-1, 1)
        return torch.div(weight * deviation, like.shape[1] ** 0.5)

    return draw


def _uniform(gain: float, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return what draws U(-a, a), a = gain sqrt(6 / (fan-in + fan-out)), of the shape of a weight."""

    def draw(like: Tensor) -> Tensor:
        edge = gain * (6.0 / sum(like.shape)) ** 0.5
        return torch.empty(like.shape).uniform_(-edge, edge, generator=generator)

    return draw


def _empty_linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """Return a linear synapse to be filled by `initialise`: construction draws nothing from the global generator."""
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)  # type: ignore[no-untyped-call]
    return linear
