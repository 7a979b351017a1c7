"""OSTTP: locality, exactness of its traces through the whole pass, updates within a sequence, flat memory."""

import itertools

import pytest
import torch
from fixtures.small import BATCH, CLASSES, STEPS, batch, gradients, network, rule
from torch.nn import functional

from workbench.backbones.lif import LIFBackbone, LIFConfig
from workbench.cost.measure import SavedTensors
from workbench.errors import PluginError
from workbench.plugin import SequenceBatch
from workbench.rules.online import OnlinePass, Signal

HIDDEN = ("hidden.0.synapse.weight", "hidden.1.synapse.weight")
SETTINGS = [
    dict(
        zip(
            ("reset", "reset_gradient", "recurrent", "learn_decay", "bias", "decay_values"),
            values,
            strict=True,
        )
    )
    for values in itertools.product(
        ("soft", "hard"), ("cut", "keep"), (False, True), (False, True), (False, True), (2, 5)
    )
]


def learned(net, given, **settings):
    """Return the gradients of one step of OSTTP."""
    rule("osttp", net, **settings).train_step(given)
    return gradients(net)


def assert_same(found, expected, tolerance):
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


# Locality.


def test_hidden_gradients_come_from_the_target_alone_and_not_through_the_readout():
    net = network(hidden=(5, 4))
    given = batch()
    first = learned(net, given)
    with torch.no_grad():
        net.readout.synapse.weight.mul_(-3.0).add_(0.1)
    other_readout = learned(net, given)
    other_target = learned(net, SequenceBatch(given.inputs, (given.targets + 1) % CLASSES))
    for name in HIDDEN:
        assert torch.equal(first[name], other_readout[name]), name
        assert not torch.allclose(other_readout[name], other_target[name]), name
    assert not torch.allclose(first["readout.synapse.weight"], other_readout["readout.synapse.weight"])


def test_lower_layers_do_not_hear_of_upper_ones():
    """No error is carried between layers: the first layer's gradient ignores the second layer's weights."""
    net = network(hidden=(5, 4))
    first = learned(net, batch())
    with torch.no_grad():
        net.layers[1].synapse.weight.add_(0.3)
    second = learned(net, batch())
    assert torch.equal(first[HIDDEN[0]], second[HIDDEN[0]])
    assert not torch.allclose(first[HIDDEN[1]], second[HIDDEN[1]])


@pytest.mark.parametrize("chunk", [1, 4, STEPS])
@pytest.mark.parametrize("masked", [False, True])
def test_readout_takes_the_gradient_of_the_step_loss(masked, chunk):
    net = network(bias=True, learn_readout_decay=True)
    given = batch(classes=2)
    mask = (torch.arange(CLASSES) < 2).expand(BATCH, -1) if masked else None
    given = SequenceBatch(given.inputs, given.targets, mask)
    result = rule("osttp", net, chunk=chunk).train_step(given)
    found = gradients(net)
    outputs = net(given.inputs)
    if mask is not None:
        outputs = outputs.masked_fill(~mask, -1e30)
    loss = functional.cross_entropy(outputs.flatten(0, 1), given.targets.repeat(STEPS))
    loss.backward()
    expected = gradients(net)
    torch.testing.assert_close(result.loss, loss.detach(), rtol=1e-10, atol=1e-12)
    readout = {name: value for name, value in expected.items() if name.startswith("readout")}
    assert len(readout) == 3
    assert_same({name: found[name] for name in readout}, readout, 1e-9)


def test_class_mask_keeps_other_classes_out():
    net = network(bias=True)
    mask = (torch.arange(CLASSES) < 2).expand(BATCH, -1)
    given = SequenceBatch(batch(classes=2).inputs, batch(classes=2).targets, mask)
    result = rule("osttp", net).train_step(given)
    readout = gradients(net)["readout.synapse.weight"]
    assert torch.isfinite(result.loss)
    assert result.logits.argmax(1).max() < 2
    assert readout[2:].abs().max() == 0
    assert readout[:2].abs().max() > 0


def test_no_graph_is_built():
    net = network(recurrent=True, learn_decay=True)
    bound = rule("osttp", net, chunk=4)
    saved = SavedTensors(net.parameters())
    with saved.watching():
        result = bound.forward(batch())
    # Autograd sees nothing but the map from stored to constrained decays, one number a unit.
    assert saved.take() == 5 * 8
    assert not result.loss.requires_grad
    assert not result.logits.requires_grad
    assert not any(p.grad.requires_grad for p in net.parameters() if p.grad is not None)
    fixed = network(recurrent=True)
    with saved.watching():
        rule("osttp", fixed).forward(batch())
    assert saved.take() == 0


def test_feedback_comes_from_its_own_stream_and_is_balanced():
    matrices = [rule("osttp", network(), seed=seed).state_dict()["feedback.0"] for seed in (0, 0, 1)]
    assert torch.equal(matrices[0], matrices[1])
    assert not torch.allclose(matrices[0], matrices[2])
    assert matrices[0].sum(1).abs().max() < 1e-6
    plain = rule("osttp", network(), feedback="plain").state_dict()["feedback.0"]
    assert plain.sum(1).abs().max() > 1e-3


# Exactness of the pass.


def true_signals(net, given):
    """Return autograd's gradients by parameter and the true dE/dy `[T, B, N]` of each hidden layer."""
    activity, outputs = given.inputs.double(), []
    for layer in net.layers:
        if layer is net.readout:
            activity = net.readout_input(outputs)
        _, activity = layer(activity)
        activity.retain_grad()
        outputs.append(activity)
    loss = functional.cross_entropy(activity.flatten(0, 1), given.targets.repeat(STEPS))
    loss.backward()
    return gradients(net), [output.grad for output in outputs[:-1]]


class InOrder:
    """A learning signal that hands out given values, stretch by stretch."""

    def __init__(self, values):
        self.values = values
        self.step = 0

    def __call__(self, chunk):
        first, self.step = self.step, self.step + chunk.error.shape[0]
        return [Signal(now=value[first : self.step]) for value in self.values]


@pytest.mark.parametrize("chunk", [1, 7, STEPS])
@pytest.mark.parametrize(("hidden", "reads"), [((5,), "last"), ((5, 4), "last"), ((5, 4), "all")])
@pytest.mark.parametrize(
    "setting", [s for s in SETTINGS if not s["recurrent"]], ids=lambda s: "-".join(map(str, s.values()))
)
def test_with_the_true_signal_the_pass_gives_the_gradient_of_bptt(setting, hidden, reads, chunk):
    net = network(hidden=hidden, readout_reads=reads, learn_readout_decay=setting["learn_decay"], **setting)
    expected, signals = true_signals(net, batch())
    OnlinePass(net, InOrder(signals)).learn(batch(), chunk)
    assert all(value.abs().max() > 0 for value in expected.values())
    assert_same(gradients(net), expected, 1e-8)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_gradient_does_not_depend_on_the_chunk(setting):
    net = network(hidden=(5, 4), learn_readout_decay=setting["learn_decay"], **setting)
    expected = learned(net, batch(), chunk=STEPS)
    assert set(expected) == {name for name, _ in net.named_parameters()}
    for chunk in (1, 4, STEPS + 5):
        assert_same(learned(net, batch(), chunk=chunk), expected, 1e-10)


@pytest.mark.parametrize("update", ["sequence", "step"])
@pytest.mark.parametrize(("steps", "size"), [(1, 3), (7, 1), (1, 1)])
def test_one_step_and_one_sequence(steps, size, update):
    net = network(recurrent=True, hidden=(5, 4))
    found = []
    bound = rule("osttp", net, apply=lambda: found.append(gradients(net)), update=update)
    result = bound.train_step(batch(steps, size))
    found.append(gradients(net))
    assert torch.isfinite(result.loss)
    assert result.logits.shape == (size, CLASSES)
    assert all(torch.isfinite(value).all() for each in found for value in each.values())
    assert found[0][HIDDEN[0]].abs().max() > 0


# Updates within the sequence.


class Counting(torch.optim.SGD):
    """SGD that counts its steps."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        return super().step(closure)


def change(update, lr):
    """Return the weights' change by one sequence, and the number of updates."""
    net = network(hidden=(5, 4), bias=True)
    before = torch.cat([p.detach().flatten().clone() for p in net.parameters()])
    optimiser = Counting(net.parameters(), lr)

    def apply():
        optimiser.step()
        optimiser.zero_grad()

    rule("osttp", net, apply=apply, update=update).train_step(batch())
    if update == "sequence":
        apply()
    return torch.cat([p.detach().flatten() for p in net.parameters()]) - before, optimiser.steps


def test_step_updates_tend_to_the_sequence_update_as_the_rate_falls():
    distances = []
    for lr in (1e-3, 1e-4, 1e-5):
        (fine, many), (whole, one) = change("step", lr), change("sequence", lr)
        assert (many, one) == (STEPS, 1)
        distances.append(float((fine - whole).norm() / whole.norm()))
    assert distances[0] < 0.1
    # Linear in the rate: a tenth of the rate, a tenth of the distance.
    assert distances[0] / distances[1] == pytest.approx(10, rel=0.15)
    assert distances[1] / distances[2] == pytest.approx(10, rel=0.15)
    assert distances[2] > 0


def test_step_updates_need_somebody_who_updates():
    with pytest.raises(PluginError, match="update=step"):
        rule("osttp", network(), update="step").forward(batch())


# Memory.


@pytest.mark.parametrize("update", ["sequence", "step"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_peak_memory_does_not_grow_with_the_sequence(recurrent, update):
    measured, formula = [], []
    for steps in (100, 200, 400, 800) if update == "sequence" else (50, 100, 200):
        net = network(recurrent=recurrent, reset="hard" if recurrent else "soft")
        bound = rule("osttp", net, apply=net.zero_grad, update=update)
        bound.train_step(batch(steps))
        measured.append(bound.live_memory().total)
        formula.append(bound.memory(steps, BATCH).total)
    assert measured[0] > 0
    assert len(set(measured)) == len(set(formula)) == 1


def test_peak_memory_of_bptt_grows_linearly_with_the_sequence():
    measured, formula = [], []
    for steps in (100, 200, 400, 800):
        net = LIFBackbone(LIFConfig(hidden=(5,))).build(6, CLASSES, torch.Generator().manual_seed(0))
        bound = rule("bptt", net)
        saved = SavedTensors([*net.parameters(), *net.buffers()])
        with saved.watching():
            bound.forward(batch(steps))
        measured.append(saved.take())
        formula.append(bound.memory(steps, BATCH).activations)
    for sizes in (measured, formula):
        growth = [later - earlier for earlier, later in itertools.pairwise(sizes)]
        assert growth[0] > 0
        assert growth[1:] == [2 * growth[0], 4 * growth[0]]
