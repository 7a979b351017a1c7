"""Noise that arrays of written and verified devices hold, when they are restless, and that they resume bit for bit."""

from __future__ import annotations

import pytest
import torch
from fixtures.programmed import EVERY, array_of, generator, normals

from workbench.hardware.pcm import PCM
from workbench.hardware.reram_wan import ReRAMWan
from workbench.hardware.sonos import SONOS


def test_noise_of_a_batch_is_held_until_it_is_redrawn():
    array = array_of(normals(8, 9), PCM, read_noise=1.0)
    assert array.restless
    assert array.read_deviation() is None
    array.redraw(generator(1))
    first = array.read(5.0)
    assert torch.equal(array.read(5.0), first)
    assert not torch.equal(first, normals(8, 9))
    array.redraw(generator(2))
    assert not torch.equal(array.read(5.0), first)
    array.redraw(generator(1))
    assert torch.equal(array.read(5.0), first)


def test_noise_of_every_read_is_not_in_what_is_read():
    wanted = normals(8, 9)
    array = array_of(wanted, PCM, read_noise=1.0, read_noise_redrawn="read")
    array.redraw(generator(1))
    assert torch.equal(array.read(5.0), wanted)
    early = array.read_deviation()
    array.read(1e6)
    # It gathers while time passes.
    assert (array.read_deviation() > early).all()


def test_the_deviation_of_a_read_is_compensated_as_the_read_is():
    array = array_of(normals(8, 9), PCM, read_noise=1.0, drift=1.0, read_noise_redrawn="read")
    array.redraw(generator(1), since=0.0)
    read, deviation = array.read(1e6), array.read_deviation()
    weights, plain = array.cells.read(None, 1e6)
    gain = array.facts()["compensation"]
    assert gain > 1.2
    torch.testing.assert_close(read, weights.view(8, 9) * gain)
    torch.testing.assert_close(deviation, plain.view(8, 9) * gain)


def test_noise_that_is_held_is_compensated_as_the_weights_are():
    array = array_of(normals(8, 9), PCM, read_noise=1.0, drift=1.0)
    array.redraw(generator(1), since=0.0)
    read = array.read(1e6)
    deviation = array.cells.read(None, 1e6)[1].view(8, 9)
    gain = array.facts()["compensation"]
    assert gain > 1.2
    torch.testing.assert_close(read - array.clean, deviation * array.draw * gain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings", "restless"),
    [
        (PCM, {}, False),
        (PCM, {"drift": 1.0}, True),
        (PCM, {"read_noise": 1.0}, True),
        # Its deviation grows with time, although what is read does not change.
        (PCM, {"read_noise": 1.0, "read_noise_redrawn": "read"}, True),
        (SONOS, {"read_noise": 1.0}, False),
        (SONOS, {"read_noise": 1.0, "read_noise_redrawn": "batch"}, True),
        (ReRAMWan, {"programming_noise": 1.0}, False),
    ],
)
def test_restless_are_arrays_whose_reads_change_by_themselves(kind, settings, restless):
    array = array_of(normals(8, 9), kind, **settings)
    assert array.restless is restless
    if not restless:
        before = array.read(0.0)
        array.redraw(generator())
        assert torch.equal(array.read(1e6), before)


NOISY = {"programming_noise": 1.0, "read_noise": 1.0, "stuck": 0.05, "wearout": True, "endurance": 5.0}


def lived(array, steps, first=0):
    """Train an array for some batches, with one generator a batch as the chip has one an epoch."""
    shape = array.target.shape
    found = []
    for step in range(first, first + steps):
        drawn, now = generator(100 + step), 300.0 * (step + 1)
        array.redraw(drawn)
        shown = array.read(now)
        array.update(shown + 0.3 * normals(*shape, seed=step), shown, now, drawn)
        reset = normals(*shape, seed=70 + step) > 2
        array.program(torch.zeros(shape), reset, now, drawn)
        found.append(array.read(now))
    return found


@pytest.mark.parametrize("update", ["program", "mixed-precision"])
@pytest.mark.parametrize("kind", EVERY)
def test_a_restored_array_goes_on_bit_for_bit(kind, update):
    timed = {"drift": 1.0} if "drift" in kind.Config.model_fields else {}
    settings = NOISY | timed | {"update": update}
    whole = array_of(normals(10, 12), kind, **settings)
    lived(whole, 3)
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    other = array_of(normals(10, 12), kind, **settings)
    lived(other, 1)
    other.load_state_dict({name: value.clone() for name, value in state.items()})
    for one, two in zip(lived(whole, 3, 3), lived(other, 3, 3), strict=True):
        assert torch.equal(one, two)
    after = other.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, after[name]), name


def test_an_array_that_is_restored_within_a_batch_does_not_measure_its_drift_again():
    whole, other = (
        array_of(normals(10, 12), PCM, drift=1.0, read_noise=1.0, update="program") for _ in range(2)
    )
    shown = lived(whole, 1)[0]
    other.load_state_dict({name: value.clone() for name, value in whole.state_dict().items()})
    for array in (whole, other):
        array.update(shown * 1.5, shown, 300.0, generator())
    assert torch.equal(other.read(300.0), whole.read(300.0))
    # One whose noise was drawn and not yet shown does measure.
    for array in (whole, other):
        array.redraw(generator())
    third = array_of(normals(10, 12), PCM, drift=1.0, read_noise=1.0, update="program")
    third.read(300.0)
    third.load_state_dict({name: value.clone() for name, value in whole.state_dict().items()})
    assert torch.equal(third.read(300.0), whole.read(300.0))


@pytest.mark.parametrize("kind", EVERY)
def test_the_same_seeds_give_the_same_bits(kind):
    one, two = (array_of(normals(10, 12), kind, **NOISY) for _ in range(2))
    for first, second in zip(lived(one, 3), lived(two, 3), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(first, lived(array_of(normals(10, 12, seed=1), kind, **NOISY), 3)[-1])
