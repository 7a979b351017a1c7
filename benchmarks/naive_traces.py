"""OSTTP as its equations read, one time step at a time: what the chunks of the workbench replace.

    e_t = d e_{t-1} + x_t     dW = sum_t (slope_t B y*) e_t     one trace a synapse and sample, `[B, N, in]`

For a feed-forward `lif` network with soft reset and cut reset gradient, whose decay is one number: the trace of all
synapses of an input is then the same, and `presynaptic` holds it once, `[B, in]`. The three forms give one gradient.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.plain_loop import DECAY, SHARPNESS
from benchmarks.workload import LearnerStep
from workbench.backbones.network import Network

Form = Literal["synaptic", "synaptic-in-place", "presynaptic"]
FORMS: tuple[Form, ...] = get_args(Form)


class Traces:
    """The traces of one layer."""

    def __init__(self, form: Form, weight: Tensor, batch: int) -> None:
        self.form = form
        shape = weight.shape if form != "presynaptic" else weight.shape[1:]
        self.trace = weight.new_zeros(batch, *shape)

    def renew(self, activity: Tensor) -> None:
        """Take in the presynaptic activity `[B, in]` of a step."""
        if self.form == "synaptic":
            self.trace = DECAY * self.trace + activity[:, None, :]
        elif self.form == "synaptic-in-place":
            self.trace.mul_(DECAY).add_(activity[:, None, :])
        else:
            self.trace.mul_(DECAY).add_(activity)

    def add_to(self, gradient: Tensor, signal: Tensor) -> None:
        """Add sum_b signal[b] (x) trace[b] to `gradient` `[N, in]`; signal: `[B, N]`."""
        if self.form == "synaptic":
            gradient += (signal[:, :, None] * self.trace).sum(0)
        elif self.form == "synaptic-in-place":
            gradient += torch.einsum("bn,bni->ni", signal, self.trace)
        else:
            gradient.addmm_(signal.T, self.trace)


@torch.no_grad()
def trace_gradients(
    network: Network, feedback: list[Tensor], inputs: Tensor, targets: Tensor, form: Form
) -> list[Tensor]:
    """Return OSTTP's gradient `[N, in]` of each layer.

    inputs: floats `[T, B, N]`. feedback: `[N, C]` for each hidden layer.
    """
    steps, batch = inputs.shape[:2]
    weights = [layer.synapse.weight for layer in network.layers]
    membranes = [inputs.new_zeros(batch, weight.shape[0]) for weight in weights]
    spikes = [torch.zeros_like(membrane) for membrane in membranes[:-1]]
    traces = [Traces(form, weight, batch) for weight in weights]
    gradients = [torch.zeros_like(weight) for weight in weights]
    target = functional.one_hot(targets, network.classes).to(inputs.dtype)
    for t in range(steps):
        activity = inputs[t]
        for layer, weight in enumerate(weights):
            traces[layer].renew(activity)
            current = functional.linear(activity, weight)
            if layer < len(spikes):
                membranes[layer] = DECAY * (membranes[layer] - spikes[layer]) + current
                spikes[layer] = activity = (membranes[layer] >= 1.0).to(inputs.dtype)
                slope = 1.0 / (1.0 + SHARPNESS * (membranes[layer] - 1.0).abs()) ** 2
                signal = slope * (target @ feedback[layer].T)
            else:
                membranes[layer] = DECAY * membranes[layer] + current
                signal = torch.softmax(membranes[layer], dim=1) - target
            traces[layer].add_to(gradients[layer], signal)
    return [gradient / (steps * batch) for gradient in gradients]


class TraceStep:
    """A training step of OSTTP with traces at every time step. Raises AssertionError if its gradient is not the rule's.

    step: our own training step, whose network, feedback, batch and optimiser are used. inputs: the batch as floats.
    """

    def __init__(self, step: LearnerStep, inputs: Tensor, form: Form) -> None:
        self.step, self.inputs, self.form = step, inputs, form
        step.rule.train_step(step.batch)
        for layer, gradient in zip(step.network.layers, self._gradients(), strict=True):
            torch.testing.assert_close(gradient, layer.synapse.weight.grad, rtol=1e-3, atol=1e-6)

    def _gradients(self) -> list[Tensor]:
        step = self.step
        feedback = list(step.rule.state_dict().values())
        return trace_gradients(step.network, feedback, self.inputs, step.batch.targets, self.form)

    def __call__(self) -> None:
        """Compute the gradients and update."""
        for layer, gradient in zip(self.step.network.layers, self._gradients(), strict=True):
            layer.synapse.weight.grad = gradient
        self.step.optimiser.step()
