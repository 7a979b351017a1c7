"""Reads through tiles: against brute force from both sides, worked examples, noise against closed forms."""

import pytest
import torch
from fixtures.tile_loop import FLOAT, UNITS, WIDTH, LoopReader, inputs, periphery, read, weights

from workbench.hardware.settings import CrossbarConfig
from workbench.neurons.presynaptic import Presynaptic, presynaptic

CONVERTERS = {
    "input": {"dac_bits": 3},
    "output": {"adc_bits": 4, "adc_range": 3.0},
    "both": {"dac_bits": 4, "adc_bits": 5, "adc_range": 2.0},
    "largest output": {"adc_bits": 5, "adc_range_rule": "max"},
    "unmanaged": {"dac_bits": 4, "noise_management": False},
    "bounds": {"adc_bits": 5, "adc_range": 0.2, "bound_management": True},
    "bounds, coarse": {"dac_bits": 5, "adc_bits": 4, "adc_range": 0.3, "bound_management": True},
    "wires": {"ir_drop": "quick", "wire_ohm": 2e3, "g_max_siemens": 1e-5},
    "all": {"dac_bits": 5, "adc_bits": 5, "adc_range": 0.4, "bound_management": True}
    | {"ir_drop": "quick", "wire_ohm": 2e3, "g_max_siemens": 1e-5},
}


@pytest.mark.parametrize("tiles", [(256, 256), (5, 4), (13, 2)])
@pytest.mark.parametrize("kind", ["spikes", "counts", "numbers"])
@pytest.mark.parametrize("settings", CONVERTERS.values(), ids=CONVERTERS)
def test_reads_are_those_of_a_loop_over_tiles(settings, kind, tiles):
    config = CrossbarConfig(rows=tiles[0], columns=tiles[1], **settings)
    activity, weight, bias = inputs(kind), weights(), weights(1)[0, :UNITS]
    source = presynaptic(activity, weight)
    expected = LoopReader(config, 1.5)(source, weight, bias)
    torch.testing.assert_close(periphery(config)(source, weight, bias), expected)
    plain = activity.to(FLOAT) @ weight.T + bias
    assert not torch.allclose(expected, plain) or (
        kind == "spikes" and not (config.adc_bits or config.ir_drop != "none")
    )


@pytest.mark.parametrize("tiles", [(256, 256), (5, 4), (2, 9)])
@pytest.mark.parametrize("settings", CONVERTERS.values(), ids=CONVERTERS)
def test_errors_are_read_as_by_a_loop_over_tiles_from_their_columns(settings, tiles):
    config = CrossbarConfig(rows=tiles[0], columns=tiles[1], **settings)
    errors, weight = 1e-4 * inputs("numbers", width=UNITS), weights()
    errors[:, :, :4] *= 0.01
    errors[4, 0, :4] = 0.0
    expected = LoopReader(config, 1.5).back(errors, weight)
    found = periphery(config).back(errors, weight)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-14)
    assert not torch.allclose(found, errors @ weight, rtol=1e-3, atol=0)
    assert not found[2].any(), "no error, no read"


@pytest.mark.parametrize("tiles", [(5, 4), (1, 1), (256, 2), (3, 256)])
@pytest.mark.parametrize("kind", ["spikes", "counts", "numbers"])
def test_splitting_alone_changes_nothing(kind, tiles):
    config = CrossbarConfig(rows=tiles[0], columns=tiles[1], output_noise=1e-300)
    activity, weight = inputs(kind), weights()
    torch.testing.assert_close(read(periphery(config), activity, weight), activity.to(FLOAT) @ weight.T)
    errors = inputs("numbers", width=UNITS)
    torch.testing.assert_close(periphery(config).back(errors, weight), errors @ weight)


@pytest.mark.parametrize("bits", [2, 3, 7, 8, 24])
@pytest.mark.parametrize("batch", [1, 40])
def test_spikes_pass_drivers_of_any_resolution_exactly(bits, batch):
    spikes, weight = inputs("spikes", batch=batch), weights(dtype=torch.float32)
    coarse = periphery(CrossbarConfig(dac_bits=bits, output_noise=1e-30, noise_management=False))
    exact = periphery(CrossbarConfig(dac_bits=0, output_noise=1e-30))
    assert torch.equal(read(coarse, spikes, weight), read(exact, spikes, weight))


def test_kernels_equal_the_reference_without_noise_and_with_it(monkeypatch):
    config = CrossbarConfig(rows=5, columns=4, output_noise=0.1, **CONVERTERS["all"])
    deviation = 0.05 * weights(seed=3).abs()
    every = [inputs("spikes"), inputs("counts"), inputs("numbers")]
    fast = [read(periphery(config, deviation=deviation), activity, weights()) for activity in every]
    back = periphery(config, deviation=deviation).back(inputs("numbers", width=UNITS), weights())
    monkeypatch.setenv("WORKBENCH_KERNELS", "reference")
    for activity, found in zip(every, fast, strict=True):
        plain = read(periphery(config, deviation=deviation), activity, weights())
        torch.testing.assert_close(plain, found)
    plain = periphery(config, deviation=deviation).back(inputs("numbers", width=UNITS), weights())
    torch.testing.assert_close(plain, back)


def one_read(settings, x, w, largest=1.0):
    """Return what a single output makes of the vector x with weights w."""
    weight, activity = torch.tensor([w], dtype=FLOAT), torch.tensor([[x]], dtype=FLOAT)
    return float(read(periphery(CrossbarConfig(**settings), largest), activity, weight))


def test_noise_management_uses_the_whole_range_of_the_drivers():
    # Levels of 3 bits: thirds of full scale, which is 0.3 with management and 1 without.
    assert one_read({"dac_bits": 3}, [0.3, 0.14], [1.0, 1.0]) == pytest.approx(0.3 + 0.1)
    managed = {"dac_bits": 3, "noise_management": False}
    assert one_read(managed, [0.3, 0.14], [1.0, 1.0]) == pytest.approx(1 / 3)
    assert one_read(managed, [3.0, 0.0], [1.0, 1.0]) == pytest.approx(1.0), "beyond the drivers' range"


def test_range_and_levels_of_the_output_by_value():
    # 4 bits: seven levels of either sign, up to 2 full inputs at the largest weight, which is 0.5: steps of 1 / 7.
    fixed = {"adc_bits": 4, "adc_range": 2.0}
    assert one_read(fixed, [1.0, 1.0], [0.5, 0.1], 0.5) == pytest.approx(4 / 7)
    assert one_read(fixed, [1.0] * 4, [0.5] * 4, 0.5) == pytest.approx(1.0), "clipped"
    assert one_read(fixed, [0.2, 0.2], [0.5, 0.1], 0.5) == pytest.approx(0.2 * 4 / 7), (
        "in units of full scale"
    )
    # The largest output that three inputs can make is 1.5: steps of 1.5 / 7.
    whole = {"adc_bits": 4, "adc_range_rule": "max"}
    assert one_read(whole, [1.0] * 3, [0.5, 0.5, 0.1], 0.5) == pytest.approx(5 * 1.5 / 7)


def test_bound_management_halves_the_input_until_the_output_is_told_apart():
    clipped = {"adc_bits": 5, "adc_range": 1.0}
    settings = clipped | {"bound_management": True}
    x, w = [1.0] * 3, [1.0, 1.0, 0.9]
    assert one_read(clipped, x, w) == pytest.approx(1.0)
    # 2.9 clips, 1.45 clips, 0.725 is 10.875 of 15 levels: 11, times 4.
    assert one_read(settings, x, w) == pytest.approx(4 * 11 / 15)
    # Analogue inputs of 4 bits are not halved twice, which would leave less than four levels of seven.
    analogue = settings | {"dac_bits": 4}
    assert one_read(analogue, [0.999] * 3, w) == pytest.approx(2 * 0.999)


def test_bound_management_is_up_to_each_tile():
    config = CrossbarConfig(adc_bits=5, adc_range=1.0, bound_management=True, columns=1)
    weight = torch.tensor([[1.0, 1.0], [0.4, 0.5]], dtype=FLOAT)
    ones = torch.ones(1, 1, 2, dtype=FLOAT)
    # The first tile reads half the input twice; the second, on its own, needs not.
    found = read(periphery(config, 1.0), ones, weight).flatten().tolist()
    assert found == pytest.approx([4 * 8 / 15, 14 / 15])
    together = CrossbarConfig(adc_bits=5, adc_range=1.0, bound_management=True)
    found = read(periphery(together, 1.0), ones, weight).flatten().tolist()
    assert found == pytest.approx([4 * 8 / 15, 4 * 3 / 15])


def assert_normal(samples, mean, variance):
    """Mean and variance of samples `[n, ...]` lie within five of their standard errors."""
    count = len(samples)
    assert bool(((samples.mean(0) - mean).abs() < 5 * (variance / count).sqrt()).all())
    assert bool((samples.var(0) / variance - 1).abs().max() < 5 * (2 / count) ** 0.5)


@pytest.mark.parametrize("tiles", [(256, 256), (5, 4)])
@pytest.mark.parametrize("side", ["forward", "backward"])
def test_noise_of_outputs_and_of_single_reads_has_the_spread_of_its_formula(side, tiles):
    generator = torch.Generator().manual_seed(8)
    units, width, count = 4, 7, 50_000
    weight, deviation = weights(units, width), 0.1 + weights(units, width, seed=3).abs() / 3
    config = CrossbarConfig(rows=tiles[0], columns=tiles[1] // 2, output_noise=0.2)
    reader = periphery(config, largest=1.5, deviation=deviation)
    lines, most = (width, config.rows) if side == "forward" else (units, config.columns)
    x = torch.rand(lines, generator=generator, dtype=FLOAT) - 0.5
    many = x.expand(count, 1, -1).contiguous()
    found = read(reader, many, weight) if side == "forward" else reader.back(many, weight)
    matrix, spread = (weight, deviation) if side == "forward" else (weight.T, deviation.T)
    # Each tile's output noise is in units of its own full scale.
    scales = torch.stack([part.abs().max() for part in x.split(most)])
    variance = (scales * 1.5 * 0.2).square().sum() + spread.square() @ x.square()
    assert_normal(found[:, 0], matrix @ x, variance)


def test_noise_of_single_reads_alone_leaves_silent_inputs_alone():
    reader = periphery(CrossbarConfig(), deviation=torch.full((UNITS, WIDTH), 0.3, dtype=FLOAT))
    found = read(reader, inputs("spikes"), weights())
    assert not found[2].any()
    assert bool((found[3] != 0).any())


def test_tiles_are_clocked_forward_and_not_read_for_no_error():
    reader = periphery(CrossbarConfig(output_noise=0.1, rows=4, columns=3))
    assert bool((read(reader, torch.zeros(2, 3, WIDTH, dtype=torch.uint8), weights()) != 0).all())
    errors = torch.zeros(2, 3, UNITS, dtype=FLOAT)
    assert not reader.back(errors, weights()).any()
    errors[1, 2, 4] = 1e-6
    found = reader.back(errors, weights())
    assert not found[0].any()
    assert not found[1, :2].any()
    assert float((found[1, 2] - errors[1, 2] @ weights()).abs().max()) < 10 * 0.1 * 1.5 * 1e-6


def test_an_input_that_stands_still_is_read_anew_at_every_step():
    still, weight = inputs("still", steps=5), weights()
    config = CrossbarConfig(rows=5, dac_bits=5, adc_bits=5, adc_range=0.4, bound_management=True)
    once = presynaptic(still[:1], weight)
    found = periphery(config)(once, weight, None, 5)
    torch.testing.assert_close(found, LoopReader(config, 1.5)(presynaptic(still, weight), weight, None))
    noisy = periphery(CrossbarConfig(output_noise=0.1))(once, weight, None, 5)
    assert len({tuple(step.flatten().tolist()) for step in noisy}) == 5


@pytest.mark.parametrize("drop", ["quick", "detailed"])
def test_loss_along_wires_goes_to_nothing_with_their_resistance(drop):
    numbers, errors, weight = inputs("numbers"), inputs("numbers", width=UNITS), weights()
    lost = []
    for ohm in (1.0, 10.0, 100.0, 1000.0):
        reader = periphery(CrossbarConfig(ir_drop=drop, wire_ohm=ohm, g_max_siemens=1e-5))
        lost.append(float((read(reader, numbers, weight) - numbers @ weight.T).norm()))
        lost.append(float((reader.back(errors, weight) - errors @ weight).norm()))
    forward, backward = lost[::2], lost[1::2]
    for found, whole in ((forward, numbers @ weight.T), (backward, errors @ weight)):
        assert found == sorted(found)
        assert 0 < found[0] < 1e-3 * float(whole.norm()) < found[-1]


@pytest.mark.parametrize("drop", ["quick", "detailed"])
def test_loss_along_wires_grows_with_the_tile(drop):
    config = CrossbarConfig(ir_drop=drop, wire_ohm=5.0, g_max_siemens=1e-5)
    shares = []
    for size in (4, 16, 64):
        ones, weight = torch.ones(1, 1, size, dtype=FLOAT), torch.ones(4, size, dtype=FLOAT)
        found = read(periphery(config, largest=1.0), ones, weight)
        shares.append(1 - float(found.mean()) / size)
    assert shares == sorted(shares)
    assert shares[0] > 0


def test_a_source_of_bits_alone_is_read_as_what_it_was():
    spikes, weight = inputs("spikes", batch=8), weights()
    source = presynaptic(spikes, weight)
    bits = source.spikes_as_bits()
    assert isinstance(bits, Presynaptic)
    assert bits.activity is None
    config = CrossbarConfig(rows=5, adc_bits=5)
    assert torch.equal(periphery(config)(bits, weight, None), periphery(config)(source, weight, None))
