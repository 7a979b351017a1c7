"""How far a rule's gradients are from exact ones, followed while it learns."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.backbones.network import Network, plainly_read
from workbench.plugin import Rule, SequenceBatch
from workbench.rules.loss import LossName, sequence_loss


def exact_gradients(rule: Rule, batch: SequenceBatch) -> dict[str, Tensor]:
    """Return the gradients of back-propagation through time by parameter name, under the loss that the rule descends.

    That is the loss of every step, unless the rule has a setting `loss` that says otherwise. On hardware: of the
    weights as they are read now, without converters, wires and noise of single reads. Leaves `.grad` and the layers'
    listeners alone.
    """
    network = rule.network
    kind: LossName = getattr(rule.config, "loss", "step")
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    listeners = [layer.listeners for layer in network.layers]
    for layer in network.layers:
        layer.listeners = []
    try:
        with torch.enable_grad(), plainly_read(network):
            loss = sequence_loss(network(batch.inputs), batch, kind, rule.config.reduction)
            found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    finally:
        for layer, kept in zip(network.layers, listeners, strict=True):
            layer.listeners = kept
    return dict(zip(named, found, strict=True))


def alignment(network: Network, exact: dict[str, Tensor]) -> dict[str, float]:
    """Return the cosine between the gradients in `.grad` and exact ones, by layer: `hidden_0`, ..., `readout`.

    A layer in which one of the two vanishes is left out: it has no direction.
    """
    found: dict[str, float] = {}
    for index, layer in enumerate(network.layers):
        name = "readout" if layer is network.readout else f"hidden_{index}"
        prefix = "readout." if layer is network.readout else f"hidden.{index}."
        parts = [
            (torch.zeros_like(value) if p.grad is None else p.grad, value)
            for (key, p), value in ((item, exact[prefix + item[0]]) for item in layer.named_parameters())
        ]
        mine = torch.cat([gradient.flatten() for gradient, _ in parts]).double()
        true = torch.cat([value.flatten() for _, value in parts]).double()
        size = float(mine.norm() * true.norm())
        if size > 0:
            found[name] = float(mine @ true) / size
    return found


class GradientDiagnosis:
    """Compares a rule's gradients with exact ones at every n-th training step."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.steps = 0
        self._sums: dict[str, list[float]] = {}

    def compare(self, rule: Rule, batch: SequenceBatch) -> None:
        """Count a training step whose gradients stand in `.grad`, and compare them if it is an n-th one."""
        if self.steps % self.every == 0:
            for name, cosine in alignment(rule.network, exact_gradients(rule, batch)).items():
                self._sums.setdefault(name, []).append(cosine)
        self.steps += 1

    def take(self) -> dict[str, float]:
        """Return `gradient_cosine/<layer>` averaged over the comparisons since the last call."""
        means = {f"gradient_cosine/{name}": sum(v) / len(v) for name, v in self._sums.items()}
        self._sums = {}
        return means
