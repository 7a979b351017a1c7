"""A constant current, handed over with stride 0 over time, costs one input product and gives the same numbers."""

from __future__ import annotations

import pytest
import torch
from fixtures import small

from workbench.plugin import SequenceBatch


@pytest.mark.parametrize("rule", ["bptt", "osttp"])
def test_gradients_are_those_of_the_repeated_input(rule: str) -> None:
    image = torch.rand(small.BATCH, small.INPUTS, generator=torch.Generator().manual_seed(0)).double()
    constant = image.expand(7, -1, -1)
    targets = torch.tensor([0, 1, 2])
    found = []
    for inputs in (constant, constant.contiguous()):
        net = small.network(recurrent=True, bias=True)
        result = small.rule(rule, net).train_step(SequenceBatch(inputs, targets))
        found.append((result.loss.detach(), result.logits.detach(), small.gradients(net)))
    (loss, logits, gradients), (wanted_loss, wanted_logits, wanted) = found
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(logits, wanted_logits, rtol=1e-12, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-10, atol=1e-14)


def test_the_product_is_computed_once() -> None:
    layer = small.network().layers[0]
    rows = []
    layer.synapse.register_forward_hook(lambda module, inputs, output: rows.append(inputs[0].shape))
    image = torch.rand(small.BATCH, small.INPUTS, dtype=torch.float64)
    layer(image.expand(7, -1, -1))
    layer(image.expand(7, -1, -1).contiguous())
    assert rows == [(small.BATCH, small.INPUTS), (7, small.BATCH, small.INPUTS)]


def test_a_synapse_of_another_kind_sees_every_step() -> None:
    class Noisy(torch.nn.Linear):
        pass

    layer = small.network().layers[0]
    layer.synapse.__class__ = Noisy
    rows = []
    layer.synapse.register_forward_hook(lambda module, inputs, output: rows.append(inputs[0].shape))
    layer(torch.rand(small.BATCH, small.INPUTS, dtype=torch.float64).expand(7, -1, -1))
    assert rows == [(7, small.BATCH, small.INPUTS)]
