"""Listening to training: every step of a batch once, whatever the chunks, and nothing that runs besides."""

import pytest
import torch
from fixtures.small import RULES, batch, network, rule

from workbench.rules.training_activity import TrainingActivity


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_step_is_heard_once_and_nothing_else(name):
    net = network(hidden=(5, 4), recurrent=True)
    heard = {number: [] for number in range(3)}
    ear = TrainingActivity(lambda number, activity: heard[number].append(activity))
    one = batch()
    net(one.inputs)
    ear.begin(net.layers, one.inputs.shape[0])
    assert not ear.complete
    rule(name, net).train_step(one)
    assert ear.complete
    net(batch(seed=8).inputs)  # Not heard, even before `end`.
    passed = net.run(one.inputs)
    for number, outputs in enumerate([*passed.spikes, passed.outputs]):
        torch.testing.assert_close(
            torch.cat([activity.outputs for activity in heard[number]]), outputs.detach()
        )
    ear.end()
    assert not any(layer.listeners for layer in net.layers)


def test_beginning_anew_drops_a_batch_that_broke_off():
    net = network()
    heard = []
    ear = TrainingActivity(lambda number, activity: heard.append(number))
    ear.begin(net.layers, 13)
    ear.begin(net.layers, 13)
    net(batch().inputs)
    assert heard == [0, 1]
    assert ear.complete
