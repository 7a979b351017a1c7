"""SLTT: BPTT where nothing is remembered, BPTT with every temporal path cut, SLTT-K and flat memory."""

import pytest
import torch
from fixtures.small import STEPS, batch, gradients, network, rule

from workbench.plugin import SequenceBatch
from workbench.rules.loss import sequence_loss


def learned(net, given, **settings):
    rule("sltt", net, **settings).train_step(given)
    return gradients(net)


def cut_in_time(net, given):
    """Return autograd's gradients when every state and recurrent output is detached between steps."""
    states = net.initial_states(given.inputs.shape[1])
    before = [None] * len(net.layers)
    outputs = []
    for inputs in given.inputs.double().unbind(0):
        activity, spikes = inputs, []
        for index, layer in enumerate(net.layers):
            if layer is net.readout:
                activity = net.readout_input(spikes)
            current = layer.synapse(activity)
            parameters = layer.cell_parameters()
            if layer.recurrent is not None:
                if before[index] is None:
                    before[index] = layer.cell.output(parameters, states[index]).detach()
                current = current + layer.recurrent(before[index])
            state, activity = layer.cell.step(parameters, states[index], current)
            states[index], before[index] = state.detach(), activity.detach()
            spikes.append(activity)
        outputs.append(activity)
    sequence_loss(torch.stack(outputs), given, "step").backward()
    return gradients(net)


def assert_same(found, expected, tolerance=1e-10):
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("chunk", [1, 4, STEPS])
@pytest.mark.parametrize(("hidden", "reads"), [((5,), "last"), ((5, 4), "last"), ((5, 4), "all")])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("learned_decay", [False, True])
def test_equals_bptt_with_the_temporal_paths_cut(chunk, hidden, reads, reset, recurrent, learned_decay):
    net = network(
        hidden=hidden,
        readout_reads=reads,
        reset=reset,
        reset_gradient="keep",
        recurrent=recurrent,
        bias=True,
        learn_decay=learned_decay,
        learn_readout_decay=learned_decay,
    )
    expected = cut_in_time(net, batch())
    assert any(value.abs().max() > 0 for value in expected.values())
    assert_same(learned(net, batch(), chunk=chunk), expected)


def test_equals_bptt_where_nothing_is_remembered():
    net = network(hidden=(5, 4), decay=1e-12, readout_decay=0.0, reset="soft")
    given = batch()
    sequence_loss(net(given.inputs.double()), given, "step").backward()
    expected = gradients(net)
    assert all(value.abs().max() > 0 for value in expected.values())
    assert_same(learned(net, given), expected, 1e-9)


def test_differs_from_bptt_where_much_is_remembered():
    net = network(hidden=(5,), decay=0.95)
    sequence_loss(net(batch().inputs.double()), batch(), "step").backward()
    exact = gradients(net)["hidden.0.synapse.weight"]
    found = learned(net, batch())["hidden.0.synapse.weight"]
    assert (found - exact).norm() > 0.1 * exact.norm()


def test_random_steps_add_up_to_all_of_them():
    """With K = 1 every step is drawn in turn often enough; the rescaled mean is the gradient of SLTT."""
    net = network(hidden=(5,))
    expected = learned(net, batch())
    bound = rule("sltt", net, steps=4, rescale=True)
    drawn = 600
    sums = None
    for _ in range(drawn):
        bound.train_step(batch())
        found = gradients(net)
        sums = found if sums is None else {name: sums[name] + found[name] for name in found}
    for name, value in expected.items():
        mean = sums[name] / drawn
        assert (mean - value).norm() < 0.1 * value.norm(), name


def test_without_rescaling_gradients_shrink_by_the_share_of_steps():
    net = network(hidden=(5,))
    kept = learned(net, batch(), steps=4, rescale=False)
    rescaled = learned(net, batch(), steps=4, rescale=True)
    for name, value in kept.items():
        torch.testing.assert_close(rescaled[name] * 4 / STEPS, value)
    everything = learned(net, batch(), steps=STEPS)
    assert_same(everything, learned(net, batch()))


def test_the_steps_drawn_go_on_after_a_resume():
    net = network()
    first = rule("sltt", net, steps=3)
    first.train_step(batch())
    gradients(net)
    state = first.state_dict()
    first.train_step(batch())
    expected = gradients(net)
    second = rule("sltt", net, steps=3)
    second.load_state_dict(state)
    second.train_step(batch())
    assert_same(gradients(net), expected)


def test_only_scored_steps_teach():
    net = network()
    given = batch()
    scored = torch.zeros(given.inputs.shape[:2], dtype=torch.bool)
    scored[-1] = True
    masked = SequenceBatch(given.inputs, given.targets, None, scored)
    expected = cut_in_time(net, masked)
    assert_same(learned(net, masked), expected)


def test_memory_does_not_depend_on_the_steps():
    net = network(hidden=(5, 4))
    bound = rule("sltt", net, chunk=5)
    assert bound.memory(50, 3) == bound.memory(500, 3)
    peaks = []
    for steps in (20, 40):
        bound.train_step(batch(steps))
        peaks.append(bound.live_memory())
    assert peaks[0] == peaks[1]
