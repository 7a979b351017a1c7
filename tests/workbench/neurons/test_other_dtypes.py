"""Numbers that no kernel serves take plain torch, in buffers of their own dtype."""

import pytest
import torch
from fixtures.small import RULES, batch, network, rule


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", RULES)
def test_rules_learn_in_half_precision(name, dtype):
    # Large enough for the buffers that kernels would fill.
    present = batch(steps=60, size=16)
    losses = []
    for kind in (torch.float32, dtype):
        net = network(hidden=(40, 30)).to(kind)
        bound = rule(name, net)
        losses.append(float(bound.train_step(present).loss.detach()))
        assert all(p.grad is None or p.grad.dtype == kind for p in net.parameters())
        assert net.readout.synapse.weight.grad is not None
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
