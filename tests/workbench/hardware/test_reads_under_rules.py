"""Every rule on every backbone reads through tiles, forward and where it carries errors through weights; no way around.

Readers that multiply by matrices of their own tell what is read: a parameter that met an input or an error otherwise
than through its reader would leave other numbers.
"""

import pytest
import torch
from fixtures import backbones, small
from fixtures.tile_loop import LoopReader

from workbench.hardware.chip import Chip
from workbench.hardware.exact import ExactArray
from workbench.hardware.periphery import Periphery
from workbench.hardware.settings import CrossbarConfig
from workbench.neurons.presynaptic import back_to_activity, currents
from workbench.randomness import RandomStreams
from workbench.rules.loss import decision, sequence_loss
from workbench.rules.stepwise import StepwisePass

SYMMETRIC = {"eprop": {"feedback": "symmetric"}}
NETWORKS = {
    "lif": {"name": "lif", "hidden": (5, 4), "readout_reads": "last"},
    "lif, all read": {"name": "lif", "hidden": (5, 4), "readout_reads": "all"},
    "lif, recurrent": {"name": "lif", "hidden": (5,), "recurrent": True, "bias": True},
    "snu, recurrent": {"name": "snu", "hidden": (5,), "recurrent": True},
    "ssnu, recurrent": {"name": "ssnu", "hidden": (4, 5), "recurrent": True, "readout_reads": "all"},
    "lru": {"name": "lru", "hidden": (4,)},
}
RULES = tuple(small.RULES)


def built(name):
    return backbones.build(**NETWORKS[name])


class Substitute:
    """Reads a matrix of its own forward, another one backward, and notes how many vectors it read back."""

    reads_back = True

    def __init__(self, forward, backward):
        self.forward, self.backward, self.read_back = forward, backward, 0

    def __call__(self, source, weight, bias, repeats=1):
        return currents(source, self.forward, bias).repeat(repeats, 1, 1)

    def back(self, errors, weight):
        self.read_back += errors.shape[0] * errors.shape[1]
        return back_to_activity(errors, self.backward)


def synapses(net):
    """Yield each synaptic parameter by name, with what sets its reader."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    for layer in net.layers:
        yield names[id(layer.synapse.weight)], layer.synapse.weight, (layer, "periphery")
        if layer.recurrent is not None:
            yield names[id(layer.recurrent.weight)], layer.recurrent.weight, (layer, "recurrent_periphery")


def read_by(net, make):
    """Put a reader `make(weight)` before every synapse; returns them by parameter."""
    found = {}
    for name, weight, place in synapses(net):
        found[name] = make(weight.detach())
        setattr(*place, found[name])
    return found


def other(weight, seed=0):
    """Return a matrix of the same shape that is not far from the weights."""
    generator = torch.Generator().manual_seed(seed)
    return weight + 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)


def learned(name, net, **settings):
    """Return the result of a training step, and the gradients."""
    rule = small.rule(name, net, apply=lambda: None, **(SYMMETRIC.get(name, {}) | settings))
    result = rule.train_step(small.batch())
    return result, small.gradients(net), rule


@pytest.mark.parametrize("name", NETWORKS)
def test_every_forward_pass_is_a_read(name):
    plain, read = built(name), built(name)
    readers = read_by(read, lambda weight: Substitute(other(weight), weight))
    with torch.no_grad():
        for key, weight, _ in synapses(plain):
            weight.copy_(readers[key].forward)
    batch = small.batch()
    for run in (
        lambda net: net(batch.inputs),
        lambda net: net.run(batch.inputs).outputs,
        lambda net: net.run(batch.inputs[:1].expand(6, -1, -1)).outputs,
        lambda net: net.run(batch.inputs, net.initial_states(small.BATCH)).outputs,
    ):
        torch.testing.assert_close(run(read), run(plain))
    for rule in RULES:
        ways = [{}] if rule == "bptt" else [{"chunk": 4}, {"update": "step"}]
        for settings in [*ways, {"steps": 3}] if rule == "sltt" else ways:
            torch.testing.assert_close(
                learned(rule, read, **settings)[0].logits, learned(rule, plain, **settings)[0].logits
            )


class Fed(torch.autograd.Function):
    """A product whose errors come back through another matrix."""

    @staticmethod
    def forward(ctx, x, weight, back):
        ctx.save_for_backward(x, back)
        return x @ weight.T

    @staticmethod
    def backward(ctx, gradient):
        x, back = ctx.saved_tensors
        return gradient @ back, gradient.T @ x, None


def step_by_step(net, readers, batch):
    """Return the gradients of a loop over steps and layers in plain torch, errors going back as the readers have it."""
    backs = {id(weight): readers[name].backward for name, weight, _ in synapses(net)}

    def feed(synapse, x):
        out = Fed.apply(x, synapse.weight, backs[id(synapse.weight)])
        return out if synapse.bias is None else out + synapse.bias

    parameters = [layer.cell_parameters() for layer in net.layers]
    states = net.initial_states(batch.size)
    before = [layer.cell.output(p, s) for layer, p, s in zip(net.layers, parameters, states, strict=True)]
    outputs = []
    for inputs in batch.inputs.to(net.readout.synapse.weight.dtype):
        activity, hidden = inputs, []
        for index, layer in enumerate(net.layers):
            if layer is net.readout and net.reads_all:
                activity = torch.cat(hidden, dim=-1)
            current = feed(layer.synapse, activity)
            if layer.recurrent is not None:
                current = current + feed(layer.recurrent, before[index])
            states[index], activity = layer.cell.step(parameters[index], states[index], current)
            before[index] = activity
            hidden.append(activity)
        outputs.append(activity)
    sequence_loss(torch.stack(outputs), batch, "sum").backward()
    return small.gradients(net)


@pytest.mark.parametrize("name", NETWORKS)
def test_bptt_carries_all_errors_through_its_readers_layers_and_time_alike(name):
    net = built(name)
    readers = read_by(net, lambda weight: Substitute(weight, other(weight)))
    _, found, _ = learned("bptt", net)
    expected = step_by_step(net, readers, small.batch())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)
    _, plain, _ = learned("bptt", built(name))
    hidden = [key for key in plain if key.startswith("hidden.0")]
    assert all(not torch.allclose(found[key], plain[key], rtol=1e-3) for key in hidden)
    assert torch.allclose(found["readout.synapse.weight"], plain["readout.synapse.weight"])


@pytest.mark.parametrize("rule", ["sltt", "ottt", "ostl", "eprop", "osttp"])
@pytest.mark.parametrize("name", ["lif", "lru", "lif, recurrent"])
def test_local_rules_meet_a_reader_once_for_each_layer_on_the_way_down(rule, name):
    plain, read = built(name), built(name)
    read_by(read, lambda weight: Substitute(weight, 2.0 * weight))
    _, once, _ = learned(rule, plain)
    _, doubled, _ = learned(rule, read)
    for key, value in once.items():
        index = len(plain.hidden) if key.startswith("readout") else int(key.split(".")[1])
        crossed = 0 if rule == "osttp" else len(plain.hidden) - index
        torch.testing.assert_close(doubled[key], 2.0**crossed * value, msg=key)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_the_matrices_that_are_read_back_are_those_whose_cost_is_counted(rule, name):
    net = built(name)
    readers = read_by(net, lambda weight: Substitute(weight, weight))
    _, _, made = learned(rule, net)
    times = made.transposed(small.STEPS, small.BATCH).times
    assert {key for key, reader in readers.items() if reader.read_back} == set(times)
    for key, count in times.items():
        # No error goes back before the first step, so that a recurrent synapse is read once less.
        first = small.BATCH if "recurrent" in key else 0
        assert readers[key].read_back == count * small.BATCH - first


def test_steps_that_are_not_learned_from_are_not_read_back():
    net = built("lif")
    readers = read_by(net, lambda weight: Substitute(weight, weight))
    _, _, rule = learned("sltt", net, steps=3)
    assert readers["readout.synapse.weight"].read_back == 3 * small.BATCH
    assert rule.transposed(small.STEPS, small.BATCH).times["readout.synapse.weight"] == 3


COARSE = {"rows": 3, "columns": 3, "dac_bits": 5, "adc_bits": 6, "adc_range": 0.7, "bound_management": True}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_gradients_through_coarse_tiles_are_those_of_a_loop_over_tiles(rule, name):
    settings, found = CrossbarConfig(**COARSE), []
    for kind in ("tiles", "loop"):
        net = built(name)
        if kind == "tiles":
            Chip(net, RandomStreams(0), settings, lambda w, g: ExactArray(w, g, settings))
            assert all(isinstance(getattr(*place), Periphery) for _, _, place in synapses(net))
        else:
            read_by(net, lambda weight: LoopReader(settings, 2.0 * float(weight.abs().max())))
        result, gradients, _ = learned(rule, net)
        found.append({**gradients, "loss": result.loss.detach(), "logits": result.logits.detach()})
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], msg=key)
    _, plain, _ = learned(rule, built(name))
    assert any(not torch.allclose(value, found[0][key], rtol=1e-3) for key, value in plain.items())


@pytest.mark.parametrize("reads", ["last", "all"])
def test_where_nothing_is_remembered_sltt_is_bptt_through_coarse_tiles_too(reads):
    settings, found = CrossbarConfig(**COARSE), []
    options = {"hidden": (5, 4), "decay": 1e-12, "readout_decay": 0.0, "readout_reads": reads}
    for rule in ("sltt", "bptt"):
        net = small.network(**options)
        Chip(net, RandomStreams(0), settings, lambda w, g: ExactArray(w, g, settings))
        found.append(learned(rule, net, **({"loss": "step"} if rule == "bptt" else {}))[1])
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-6, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", ["bptt", "sltt", "eprop"])
def test_exact_reads_back_are_plain_products(rule, name):
    """Forward coarse, backward exact: as with a reader that is coarse forward alone."""
    settings = CrossbarConfig(backward_reads="exact", **COARSE)
    net, loop = built(name), built(name)
    Chip(net, RandomStreams(0), settings, lambda w, g: ExactArray(w, g, settings))

    def half(weight):
        reader = LoopReader(settings, 2.0 * float(weight.abs().max()))
        reader.back = back_to_activity
        return reader

    read_by(loop, half)
    _, found, _ = learned(rule, net)
    for key, value in learned(rule, loop)[1].items():
        torch.testing.assert_close(found[key], value, msg=key)


def on_chip(net, **settings):
    config = CrossbarConfig(**settings)
    Chip(net, RandomStreams(0), config, lambda w, g: ExactArray(w, g, config))
    return net


def test_exact_reads_take_every_fast_path_and_disturbed_ones_none(monkeypatch):
    taken = []

    def noted(owner, name):
        inner = getattr(owner, name)

        def watch(*args, **kwargs):
            taken.append(name)
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, name, watch)

    from workbench.neurons import lif_stack
    from workbench.neurons.lif import LIF

    noted(lif_stack, "scan")
    noted(LIF, "scan_layer")
    noted(LIF, "run_layer")
    noted(StepwisePass, "learn")
    batch = small.batch()
    for net, expected in (
        (on_chip(small.network()), {"scan", "scan_layer", "run_layer", "learn"}),
        (on_chip(small.network(), adc_bits=8), set()),
    ):
        taken.clear()
        net(batch.inputs)
        net.run(batch.inputs)
        learned("ottt", net)
        learned("ottt", net, update="step")
        assert set(taken) == expected


def test_a_hook_on_a_synapse_hides_no_read():
    settings = CrossbarConfig(**COARSE)
    hooked, bare = built("lif"), built("lif")
    for net in (hooked, bare):
        Chip(net, RandomStreams(0), settings, lambda w, g: ExactArray(w, g, settings))
    seen = []
    for layer in hooked.layers:
        layer.synapse.register_forward_hook(lambda module, inputs, output: seen.append(output))
    batch = small.batch()
    for net in (hooked, bare):
        sequence_loss(net(batch.inputs), batch, "sum").backward()
    assert len(seen) == 3
    expected = small.gradients(bare)
    for key, value in small.gradients(hooked).items():
        torch.testing.assert_close(value, expected[key], msg=key)


def test_decisions_of_a_test_are_those_of_what_is_read():
    net, batch = on_chip(built("lif"), **COARSE), small.batch()
    loop = built("lif")
    read_by(loop, lambda weight: LoopReader(CrossbarConfig(**COARSE), 2.0 * float(weight.abs().max())))
    with torch.no_grad():
        found, expected = (decision(each.run(batch.inputs).outputs) for each in (net, loop))
    torch.testing.assert_close(found, expected)
