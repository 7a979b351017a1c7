"""The analytic memory cost against what one real training step holds."""

import pytest
import torch
from fixtures.backbones import build
from fixtures.small import batch, network, rule
from torch import nn

from workbench.cost.measure import SavedTensors, measured_cost, storage_bytes
from workbench.optimisers import build_optimiser
from workbench.plugin import MemoryCost

SETTINGS = {
    "plain": {},
    "recurrent": {"recurrent": True},
    "hard": {"reset": "hard", "reset_gradient": "keep"},
    "learned": {"learn_decay": True, "learn_readout_decay": True},
    "bias": {"bias": True, "decay": 0.9},
    "two layers": {"hidden": (20, 12), "readout_reads": "last"},
    "side by side": {"hidden": (20, 12), "readout_reads": "all"},
    "all": {"recurrent": True, "reset": "hard", "learn_decay": True, "bias": True, "hidden": (20, 12)},
}
OTHERS = {
    "lif below lif": {"name": "lif", "hidden": (20, 12), "readout_reads": "last"},
    "snu": {"name": "snu"},
    "snu feed-forward": {"name": "snu", "recurrent": False, "learn_decay": True, "learn_readout_decay": True}
    | {"readout_decay": 0.9},
    "ssnu side by side": {
        "name": "ssnu",
        "hidden": (20, 12),
        "readout_reads": "all",
        "learn_threshold": False,
    },
    "lru": {"name": "lru"},
    "lru derived": {"name": "lru", "hidden": (20, 12), "normalisation": "derived", "nonlinearity": "tanh"},
    "lru linear": {"name": "lru", "nonlinearity": "identity", "bias": False, "readout_decay": 0.8},
}
INPUTS, CLASSES = 30, 6


def cost_of_a_step(name, steps, size, setting, **settings):
    """Return the formula's and the measured cost of one training step with its optimiser."""
    if setting in OTHERS:
        net = build(inputs=INPUTS, outputs=CLASSES, **({"hidden": (24,)} | OTHERS[setting])).float()
    else:
        net = network(INPUTS, CLASSES, **({"hidden": (24,)} | SETTINGS[setting])).float()
    peak = MemoryCost()

    def note_gradients():
        nonlocal peak
        held = storage_bytes(p.grad for p in net.parameters() if p.grad is not None)
        peak += MemoryCost(gradients=held - peak.gradients)

    def apply():
        note_gradients()
        optimiser.step()
        optimiser.zero_grad()

    bound = rule(name, net, apply=apply, **settings)
    optimiser = build_optimiser(bound.config, bound.parameter_groups())
    saved = SavedTensors([*net.parameters(), *net.buffers()])
    with saved.watching():
        result = bound.forward(batch(steps, size, INPUTS, CLASSES))
    peak += MemoryCost(activations=saved.take()) + bound.live_memory()
    if result.loss.requires_grad:
        result.loss.backward()
    if settings.get("update") != "step":
        apply()
    return bound.memory(steps, size), measured_cost(bound, net, optimiser, [], peak, 0)


def assert_close(formula, measured):
    """Hold each category and the total to 5 %, and small categories to a few numbers."""
    for category, expected in (formula.by_category() | {"total": formula.total}).items():
        found = (measured.by_category() | {"total": measured.total})[category]
        assert found == pytest.approx(expected, rel=0.05, abs=64), category


@pytest.mark.parametrize(("steps", "size"), [(10, 1), (40, 4), (100, 8), (25, 16)])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bptt", {"loss": "sum"}),
        ("bptt", {"loss": "step", "optimiser": "sgd"}),
        ("osttp", {"chunk": 25}),
        ("osttp", {"chunk": 7, "optimiser": "sgd", "momentum": 0.9}),
        ("osttp", {"update": "step"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_formula_and_measurement_agree(name, settings, setting, steps, size):
    formula, measured = cost_of_a_step(name, steps, size, setting, **settings)
    assert measured.activations > 0
    assert measured.gradients > 0
    assert_close(formula, measured)


@pytest.mark.parametrize(("steps", "size"), [(10, 1), (40, 4)])
@pytest.mark.parametrize("setting", OTHERS)
@pytest.mark.parametrize(
    ("name", "settings"),
    [("bptt", {}), ("osttp", {"chunk": 7}), ("eprop", {"chunk": 7}), ("osttp", {"update": "step"})],
)
def test_formula_and_measurement_agree_for_other_backbones(name, settings, setting, steps, size):
    assert_close(*cost_of_a_step(name, steps, size, setting, **settings))


def test_total_is_the_sum_and_costs_add_up():
    one, two = MemoryCost(parameters=1, traces=2), MemoryCost(traces=3, replay=4)
    assert (one + two).by_category()["traces"] == 5
    assert (one + two).total == one.total + two.total == 10


def test_saved_tensors_counts_storages_once_and_leaves_known_ones_out():
    weight = nn.Parameter(torch.ones(10, 10))
    inputs = torch.ones(5, 10)
    saved = SavedTensors([weight])
    with saved.watching():
        total = (inputs @ weight).exp().sum()
    # The inputs (for the weight's gradient) and the exponential's own result; the weight is known.
    assert saved.take() == 4 * (5 * 10 + 5 * 10)
    total.backward()
    assert saved.take() == 4 * (5 * 10 + 5 * 10)
    assert saved.take() == 0


def test_saved_tensors_tells_the_peak_of_graphs_that_come_and_go():
    weight = nn.Parameter(torch.ones(10))
    saved = SavedTensors([weight])
    with saved.watching():
        for _ in range(5):
            weight.exp().sum().backward()
    assert saved.take() == 4 * 10
    with saved.watching():
        kept = [weight.exp().sum() for _ in range(5)]
    assert saved.take() == 5 * 4 * 10
    assert len(kept) == 5
