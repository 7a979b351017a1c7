"""Noise off and infinite bits: every rule on every backbone is the float learner, bit for bit, whatever the devices."""

import pytest
import torch
from fixtures import backbones, small

from workbench.hardware import pulsed
from workbench.hardware.chip import Chip
from workbench.hardware.exact import ExactArray
from workbench.hardware.pcm import PCM
from workbench.hardware.pcm_hermes import Hermes
from workbench.hardware.programmed import Generic
from workbench.hardware.quantised import Quantised
from workbench.hardware.reram_cmo import ReRAMCMO
from workbench.hardware.reram_milo import ReRAMMilo
from workbench.hardware.reram_wan import ReRAMWan
from workbench.hardware.settings import CrossbarConfig
from workbench.hardware.sonos import SONOS
from workbench.optimisers import build_optimiser
from workbench.plugin import Hardware
from workbench.randomness import RandomStreams


class Exact(Hardware):
    """Devices without a fault."""

    Config = CrossbarConfig

    def attach(self, network, streams):
        def make(weights, generator):
            return ExactArray(weights, generator, self.config)

        return Chip(network, streams, self.config, make)


EXACT = {
    "programming_noise": 0.0,
    "read_noise": 0.0,
    "drift": 0.0,
    "compensation": "off",
    "update": "program",
    # Tiles alone are no disturbance, and time none without drift.
    "rows": 3,
    "columns": 2,
    "sequence_seconds": 1e3,
    # Room for weights to grow: a range is what devices have and numbers have not.
    "headroom": 100.0,
}
PULSED = {"dw_min": 0.0, "dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0}
PULSED |= {"w_max_dtod": 0.0, "w_min_dtod": 0.0}
MADE = {
    "exact": (Exact, {}),
    "pcm": (PCM, {}),
    "pcm-hermes": (Hermes, {}),
    "reram-wan": (ReRAMWan, {}),
    "reram-cmo": (ReRAMCMO, {}),
    "reram-milo": (ReRAMMilo, {}),
    "sonos": (SONOS, {}),
    "programmed": (Generic, {}),
    "quantised": (Quantised, {"bits": 0}),
    "pulsed": (pulsed.Pulsed, PULSED | {"update": "stochastic"}),
    "pulsed, deterministic": (pulsed.Pulsed, PULSED | {"update": "deterministic"}),
    "idealised": (pulsed.Idealised, PULSED | {"update": "stochastic-rounding"}),
    "gokmen-vlasov": (pulsed.GokmenVlasov, PULSED | {"update": "stochastic"}),
}
NETWORKS = {
    # The first takes every fused path: a stack of layers, steps in one call.
    "lif": {"hidden": (5, 4)},
    "lif, recurrent": {"hidden": (5,), "recurrent": True, "bias": True},
    "snu": {"hidden": (4, 3), "recurrent": (False, True)},
    "ssnu": {"hidden": (4,), "recurrent": True},
    "lru": {"hidden": (4,)},
}
TRIED_EVERYWHERE = ("exact", "pcm", "quantised", "pulsed")
UPDATES = [(rule, update) for rule in small.RULES for update in ("sequence", "step")]
UPDATES.remove(("bptt", "step"))


def hardware(name):
    """Return the devices, all imperfections off."""
    kind, own = MADE[name]
    known = kind.Config.model_fields
    return kind(kind.Config(**({key: value for key, value in EXACT.items() if key in known} | own)))


def trained(rule, backbone, update, devices=None):
    """Return losses, decisions and weights of two batches, learned in the order of the trainer's events."""
    net = backbones.build(backbone.partition(",")[0], **NETWORKS[backbone]).float()
    chip = None if devices is None else devices.attach(net, RandomStreams(1))

    def apply():
        optimiser.step()
        if chip is not None:
            chip.update()
        optimiser.zero_grad()

    settings = {} if rule == "bptt" else {"update": update}
    made = small.rule(rule, net, apply=apply, lr=0.01, **settings)
    optimiser = build_optimiser(made.config, made.parameter_groups())
    found = []
    for seed in range(2):
        if chip is not None:
            chip.begin(f"task-0/epoch-{seed}")
            chip.before_batch(small.BATCH)
        # Rows enough for products by events, or steps that take no time.
        batch = small.batch(steps=12 if update == "sequence" else 4, seed=seed)
        result = made.train_step(batch)
        if update == "sequence":
            apply()
        found += [result.loss.detach(), result.logits.detach()]
        with torch.no_grad():
            if chip is None:
                found.append(net.run(batch.inputs).outputs)
            else:
                with chip.tested(f"{seed}"):
                    found.append(net.run(batch.inputs).outputs)
    return [*found, *(value.clone() for value in net.state_dict().values())]


def assert_equal(one, other, name):
    assert len(one) == len(other)
    for position, (left, right) in enumerate(zip(one, other, strict=True)):
        assert torch.equal(left, right), f"{name}: number {position} of what was found differs"


@pytest.mark.parametrize("backbone", NETWORKS)
@pytest.mark.parametrize(("rule", "update"), UPDATES)
def test_every_rule_on_every_backbone_is_the_float_learner(rule, update, backbone):
    alone = trained(rule, backbone, update)
    assert all(bool(value.isfinite().all()) for value in alone)
    for name in TRIED_EVERYWHERE:
        assert_equal(trained(rule, backbone, update, hardware(name)), alone, name)


@pytest.mark.parametrize("update", ["sequence", "step"])
@pytest.mark.parametrize("name", [name for name in MADE if name not in TRIED_EVERYWHERE])
def test_every_preset_without_its_imperfections_is_the_float_learner(name, update):
    assert_equal(trained("osttp", "lif", update, hardware(name)), trained("osttp", "lif", update), name)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("pcm", "programming_noise", 1.0),
        ("pcm", "read_noise", 1.0),
        ("pcm", "drift", 1.0),
        ("pcm", "update", "mixed-precision"),
        ("quantised", "bits", 6),
        ("pulsed", "dw_min", 0.001),
        ("pulsed", "dw_min_dtod", 0.1),
        ("pulsed", "up_down", 0.1),
        ("exact", "adc_bits", 8),
        ("exact", "output_noise", 1e-3),
        ("exact", "ir_drop", "detailed"),
        ("exact", "stuck", 0.1),
    ],
)
def test_each_imperfection_alone_would_show(name, setting, value):
    devices = hardware(name)
    flawed = type(devices)(devices.config.model_copy(update={setting: value}))
    found, alone = trained("osttp", "lif", "sequence", flawed), trained("osttp", "lif", "sequence")
    assert any(not torch.equal(one, other) for one, other in zip(found, alone, strict=True))
