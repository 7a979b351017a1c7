"""The chip between learners and devices: exact devices change no learner by a bit, noisy ones are reproducible."""

import pytest
import torch
from fixtures import small
from fixtures.arrays import PlainArray

from learners.dormancy import Dormancy
from learners.ewc import EWC
from learners.hypernet import Hypernet
from learners.replay import Replay
from workbench.hardware.chip import Chip, matrices
from workbench.hardware.settings import CrossbarConfig
from workbench.randomness import RandomStreams


def chip(settings=None, **device):
    """Return what puts a network on plain devices."""
    settings = settings or CrossbarConfig()
    return lambda net, streams: Chip(
        net, streams, settings, lambda weights, generator: PlainArray(weights, generator, settings, **device)
    )


def learned(made):
    """Train both tasks; returns every accuracy and the network's state."""
    found = [made.evaluate_tasks().accuracies]
    for task in range(2):
        made.train_task(task)
        found.append(made.evaluate_tasks(task).accuracies)
    return found, {name: value.clone() for name, value in made.network.state_dict().items()}


def assert_equal(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name, value in one[1].items():
        assert torch.equal(value, other[1][name]), name


@pytest.mark.parametrize("update", ["sequence", "step"])
@pytest.mark.parametrize("rule", ["bptt", "sltt", "ottt", "ostl", "eprop", "osttp"])
def test_exact_devices_are_the_float_learner_bit_for_bit(rule, update):
    if rule == "bptt" and update == "step":
        pytest.skip("learns from whole sequences")
    settings = {} if update == "sequence" else {"update": update}
    alone = learned(small.trainer(rule, settings=settings))
    assert_equal(learned(small.trainer(rule, settings=settings, chip=chip())), alone)


@pytest.mark.parametrize("modifier", [Replay, EWC, Dormancy, Hypernet])
def test_exact_devices_change_no_modifier(modifier):
    def trainer(**options):
        return small.trainer("bptt", modifiers=[modifier(modifier.Config())], **options)

    assert_equal(learned(trainer(chip=chip())), learned(trainer()))


def test_every_changed_weight_is_a_write():
    made = small.trainer("osttp", chip=chip())
    shown = [stored.shown.clone() for stored in made.chip.stored]
    changes = [torch.zeros_like(value, dtype=torch.int32) for value in shown]
    update = made.chip.update

    def watched():
        update()
        for stored, before, count in zip(made.chip.stored, shown, changes, strict=True):
            count += (stored.parameter != before).to(torch.int32)
            before.copy_(stored.parameter.detach())

    made.chip.update = watched
    made.train_task(0)
    for stored, count in zip(made.chip.stored, changes, strict=True):
        assert torch.equal(stored.array.wear.writes[0], count)
        assert count.sum() > 0
    report = made.chip.report(made.work.samples)
    counts = torch.cat([count.flatten() for count in changes]).double()
    assert report["writes"]["total"] == counts.sum()
    assert report["writes"]["max"] == counts.max()
    assert report["writes"]["per_sample"] == counts.sum() / made.work.samples
    assert report["writes"]["written"] == (counts > 0).double().mean()
    assert report["updates"] == made.work.updates
    assert report["devices"] == report["weights"] == len(counts)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
def test_the_percentile_is_the_nearest_rank(share):
    from workbench.hardware.chip import _percentile

    values = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0, 10.0], dtype=torch.float64)
    expected = {0.5: 5.0, 0.9: 9.0, 0.99: 10.0, 1.0: 10.0}
    assert _percentile(values, share) == expected[share]


def test_noise_is_held_for_a_batch_and_differs_from_test_to_test():
    made = small.trainer("bptt", chip=chip(noise=0.05))
    stored = made.chip.stored[0]
    before = stored.parameter.detach().clone()
    with made.chip.tested("one"):
        one = stored.parameter.detach().clone()
    assert torch.equal(stored.parameter, before)
    with made.chip.tested("two"):
        assert not torch.equal(stored.parameter, one)
    with made.chip.tested("one"):
        assert torch.equal(stored.parameter, one)
    made.chip.before_batch(8)
    assert not torch.equal(stored.parameter, before)
    assert torch.equal(stored.parameter, stored.shown)


def test_a_rule_learns_from_what_is_read_and_the_devices_take_the_change():
    made = small.trainer("bptt", settings={"optimiser": "sgd"}, chip=chip(noise=0.05))
    stored = made.chip.stored[0]
    held, shown = stored.array.weights.clone(), stored.shown.clone()
    with torch.no_grad():
        stored.parameter += 0.25
    made.chip.update()
    torch.testing.assert_close(stored.array.weights, held + 0.25)
    torch.testing.assert_close(stored.parameter.detach(), shown + 0.25)


def test_noisy_runs_repeat_and_leave_the_other_streams_alone():
    one, again = (learned(small.trainer("osttp", chip=chip(noise=0.02))) for _ in range(2))
    assert_equal(one, again)
    # Noise of nothing draws numbers too, and the learner is the one without a chip.
    still = learned(small.trainer("osttp", chip=chip(drift=1e-30)))
    assert_equal(still, learned(small.trainer("osttp")))


def test_time_passes_with_sequences_and_tasks_and_tests_read_later():
    settings = CrossbarConfig(sequence_seconds=0.5, task_seconds=100.0, t_read=50.0)
    made = small.trainer("bptt", epochs=1, chip=chip(settings, drift=1e-3))
    stored = made.chip.stored[0]
    made.train_task(0)
    now = 0.5 * len(made.stream.tasks[0].train) + 100.0
    assert made.chip.now == now
    weights = stored.array.weights
    with made.chip.tested("later"):
        torch.testing.assert_close(stored.parameter.detach(), weights * (1 - 1e-3 * (now + 50.0)))
    assert made.chip.report(1)["seconds"] == now


def test_stuck_devices_keep_their_weight():
    settings = CrossbarConfig(stuck=0.3)
    made = small.trainer("bptt", chip=chip(settings))
    first = made.chip.stored[0]
    stuck, before = first.array.wear.stuck[0], first.array.weights.clone()
    made.train_task(0)
    assert torch.equal(first.array.weights[stuck], before[stuck])
    assert bool((first.array.weights[~stuck] != before[~stuck]).any())
    assert 0.15 < stuck.double().mean() < 0.45
    assert made.chip.report(1)["stuck"] == sum(int(s.array.wear.stuck.sum()) for s in made.chip.stored)


def test_devices_wear_out_when_asked():
    settings = CrossbarConfig(wearout=True, endurance=3)
    made = small.trainer("bptt", chip=chip(settings))
    made.train_task(0)
    writes = torch.cat([stored.array.wear.writes.flatten() for stored in made.chip.stored])
    assert int(writes.max()) == 3
    report = made.chip.report(1)
    assert report["worn_out"] == int((writes >= 3).sum()) > 0
    still = [stored.array.weights.clone() for stored in made.chip.stored]
    worn = [stored.array.wear.writes[0] >= 3 for stored in made.chip.stored]
    made.train_task(1)
    for stored, before, gone in zip(made.chip.stored, still, worn, strict=True):
        assert torch.equal(stored.array.weights[gone], before[gone])
    assert int(torch.cat([s.array.wear.writes.flatten() for s in made.chip.stored]).max()) == 3


def test_endurance_spreads_log_normally():
    from workbench.hardware.array import Wear

    settings = CrossbarConfig(wearout=True, endurance=1e5, endurance_spread=0.3)
    wear = Wear((2, 300, 400), settings, torch.Generator().manual_seed(0), torch.empty(0))
    logarithms = wear.limit.double().log()
    count = logarithms.numel()
    assert abs(logarithms.mean() - torch.tensor(1e5).log()) < 5 * 0.3 / count**0.5
    assert abs(logarithms.std() - 0.3) < 5 * 0.3 / (2 * count) ** 0.5


@pytest.mark.parametrize("backbone", ["lif", "recurrent"])
def test_all_synapses_are_on_the_chip_and_nothing_else(backbone):
    net = small.network(recurrent=backbone == "recurrent", bias=True)
    names = [name for name, _ in matrices(net)]
    expected = ["hidden.0.synapse.weight", "readout.synapse.weight"]
    if backbone == "recurrent":
        expected.insert(1, "hidden.0.recurrent.weight")
    assert names == expected


def test_state_brings_back_clock_counts_and_devices():
    settings = CrossbarConfig(stuck=0.1, wearout=True, endurance=50)
    made = small.trainer("osttp", chip=chip(settings, noise=0.01))
    made.train_task(0)
    state = {name: value.clone() for name, value in made.chip.state_dict().items()}
    fresh = small.trainer("osttp", chip=chip(settings, noise=0.01), seed=5)
    fresh.network.load_state_dict(made.network.state_dict())
    fresh.chip.load_state_dict(state)
    assert fresh.chip.now == made.chip.now
    assert fresh.chip.updates == made.chip.updates
    for one, other in zip(fresh.chip.stored, made.chip.stored, strict=True):
        assert torch.equal(one.shown, other.shown)
        assert torch.equal(one.array.weights, other.array.weights)
        assert torch.equal(one.array.wear.writes, other.array.wear.writes)
        assert torch.equal(one.array.wear.stuck, other.array.wear.stuck)
        assert torch.equal(one.array.wear.limit, other.array.wear.limit)


def test_putting_a_network_on_the_chip_is_no_cost_of_learning():
    net = small.network().float()
    made = chip()(net, RandomStreams(0))
    assert made.report(0)["writes"]["total"] == 0
