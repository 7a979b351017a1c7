"""One synapse behind its tiles: what is written is read, gradients, wires from both sides; a network behind tiles."""

import copy

import pytest
import torch
from fixtures import small
from fixtures.arrays import PlainArray
from fixtures.tile_loop import FLOAT, UNITS, WIDTH, LoopReader, inputs, periphery, read, weights

from workbench.backbones.network import plainly_read
from workbench.hardware.chip import Chip
from workbench.hardware.exact import ExactArray
from workbench.hardware.ir_drop import effective_weights
from workbench.hardware.periphery import Periphery, install
from workbench.hardware.settings import CrossbarConfig
from workbench.neurons.presynaptic import disturbance, product
from workbench.randomness import RandomStreams


def test_detailed_wires_act_from_both_sides_as_one_reciprocal_network():
    config = CrossbarConfig(rows=5, columns=4, ir_drop="detailed", wire_ohm=300.0, g_max_siemens=1e-4)
    weight, errors = weights(), inputs("numbers", width=UNITS)
    acting = effective_weights(weight, 1.5, config)
    reader = periphery(config)
    numbers = inputs("numbers")
    torch.testing.assert_close(read(reader, numbers, weight), numbers @ acting.T)
    torch.testing.assert_close(reader.back(errors, weight), errors @ acting)
    # The tile of which rows are columns, its transposed weights solved for themselves.
    turned = config.model_copy(update={"rows": 4, "columns": 5})
    torch.testing.assert_close(effective_weights(weight.T, 1.5, turned).T, acting, rtol=1e-9, atol=0)


def test_written_weights_are_read_however_they_were_written():
    config = CrossbarConfig(ir_drop="detailed", wire_ohm=300.0, rows=5)
    weight, numbers, errors = weights(), inputs("numbers"), inputs("numbers", width=UNITS)
    reader = periphery(config)

    def both():
        return read(reader, numbers, weight), reader.back(errors, weight)

    def fresh():
        return read(periphery(config), numbers, weight), periphery(config).back(errors, weight)

    both()
    for write in (lambda: weight.mul_(0.5), lambda: weight.data.add_(0.1)):
        write()
        for found, expected in zip(both(), fresh(), strict=True):
            assert torch.equal(found, expected)


def test_noise_of_single_reads_follows_the_devices_when_weights_are_read_anew():
    spread = [torch.zeros(UNITS, WIDTH, dtype=FLOAT)]
    generator = torch.Generator().manual_seed(0)
    reader = Periphery(CrossbarConfig(), 1.0, lambda: generator, lambda: spread[0])
    weight, numbers = weights(), inputs("numbers")
    torch.testing.assert_close(read(reader, numbers, weight), numbers @ weight.T)
    spread[0] = torch.ones_like(spread[0])
    weight.copy_(weight.clone())
    assert not torch.allclose(read(reader, numbers, weight), numbers @ weight.T)


def test_gradients_of_weights_and_bias_are_those_of_the_plain_product():
    config = CrossbarConfig(dac_bits=3, adc_bits=3, output_noise=0.1)
    found = []
    for reader in (None, periphery(config)):
        weight, bias = weights().requires_grad_(), weights(1)[0, :UNITS].clone().requires_grad_()
        activity = inputs("numbers").requires_grad_()
        out = product(activity, weight, bias, reader)
        out.backward(inputs("numbers", width=UNITS, seed=7))
        found.append((weight.grad, bias.grad, activity.grad))
    (w, b, x), (read_w, read_b, read_x) = found
    assert torch.equal(read_w, w)
    assert torch.equal(read_b, b)
    assert not torch.allclose(read_x, x)


@pytest.mark.parametrize("back", ["tiles", "exact"])
def test_errors_at_inputs_are_read_or_exact_as_asked(back):
    config = CrossbarConfig(dac_bits=3, adc_bits=4, backward_reads=back)
    errors = inputs("numbers", width=UNITS, seed=7)
    expected = errors @ weights() if back == "exact" else LoopReader(config, 1.5).back(errors, weights())
    assert not torch.allclose(errors @ weights(), LoopReader(config, 1.5).back(errors, weights()))
    activity = inputs("numbers").requires_grad_()
    product(activity, weights(), None, periphery(config)).backward(errors)
    torch.testing.assert_close(activity.grad, expected)
    activity.grad = None
    # What a synapse of another kind computes, and what reads add to it.
    whole = activity @ weights().T + disturbance(activity, weights(), periphery(config))
    whole.backward(errors)
    torch.testing.assert_close(activity.grad, expected)
    torch.testing.assert_close(whole, read(periphery(config), inputs("numbers"), weights()))


def test_an_input_that_stands_still_gets_the_errors_of_all_steps():
    config = CrossbarConfig(dac_bits=3, adc_bits=4)
    errors = inputs("numbers", width=UNITS, seed=7)
    once = inputs("numbers")[:1].clone().requires_grad_()
    whole = (once @ weights().T).expand(9, -1, -1) + disturbance(once, weights(), periphery(config), 9)
    whole.backward(errors)
    expected = LoopReader(config, 1.5).back(errors, weights()).sum(0, keepdim=True)
    torch.testing.assert_close(once.grad, expected)


def installed(settings, net=None, **device):
    """Return a network on plain devices and its chip."""
    net = net or small.network(hidden=(5, 4), recurrent=True)
    made = Chip(net, RandomStreams(0), settings, lambda w, g: PlainArray(w, g, settings, **device))
    return net, made


def test_reads_that_are_exact_leave_the_network_as_it_is():
    net, _ = installed(CrossbarConfig(wire_ohm=0.0, ir_drop="detailed", columns=2, adc_range=0.1), noise=0.1)
    assert all(layer.periphery is layer.recurrent_periphery is None for layer in net.layers)
    assert all(layer.reads_plainly and layer.carries_back_plainly for layer in net.layers)


@pytest.mark.parametrize(
    "settings",
    [{"dac_bits": 7}, {"adc_bits": 8}, {"output_noise": 0.1}, {"ir_drop": "quick"}, {"ir_drop": "detailed"}],
    ids=str,
)
def test_every_disturbance_puts_all_synapses_behind_tiles(settings):
    config = CrossbarConfig(headroom=3.0, **settings)
    net = small.network(hidden=(5, 4), recurrent=True)
    largest = [p.detach().abs().max() for name, p in net.named_parameters() if name.endswith("weight")]
    installed(config, net)
    found = [net.hidden[0].periphery, net.hidden[0].recurrent_periphery]
    found += [net.hidden[1].periphery, net.hidden[1].recurrent_periphery, net.readout.periphery]
    assert [reader.largest for reader in found] == pytest.approx([3 * float(value) for value in largest])
    assert net.readout.recurrent_periphery is None
    assert not any(layer.reads_plainly for layer in net.layers)


def test_noise_of_single_reads_alone_is_a_disturbance():
    class Flickering(ExactArray):
        def read_deviation(self):
            return torch.full_like(self.weights, 0.01)

    net, config = small.network(), CrossbarConfig()
    arrays = [Flickering(p.detach(), torch.Generator(), config) for p in (net.hidden[0].synapse.weight,)]
    arrays.append(ExactArray(net.readout.synapse.weight.detach(), torch.Generator(), config))
    install(net, config, arrays, torch.Generator)
    assert net.hidden[0].periphery is not None
    assert net.readout.periphery is None


def test_a_copy_of_the_network_copies_no_devices():
    net, chip = installed(CrossbarConfig(output_noise=0.1))
    twin = copy.deepcopy(net)
    assert twin.hidden[0].periphery is not net.hidden[0].periphery
    before = chip.generator.get_state()
    twin.run(small.batch().inputs)
    assert not torch.equal(chip.generator.get_state(), before), "it draws where the network itself would draw"


def test_measurements_read_plainly_and_draw_nothing():
    net, chip = installed(CrossbarConfig(output_noise=0.1))
    batch, alone = small.batch(), small.network(hidden=(5, 4), recurrent=True)
    before, kept = chip.generator.get_state(), [layer.periphery for layer in net.layers]
    with plainly_read(net):
        assert torch.equal(net.run(batch.inputs).outputs, alone.run(batch.inputs).outputs)
    assert torch.equal(chip.generator.get_state(), before)
    assert [layer.periphery for layer in net.layers] == kept
