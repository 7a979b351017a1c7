"""Checks of hardware: every rule and backbone learns on it, and parameters hold what is read."""

from __future__ import annotations

from dataclasses import replace

import torch

from workbench.backbones.network import Network
from workbench.checks.steps import variants
from workbench.checks.subject import (
    Bench,
    Subject,
    expect,
    global_generators_untouched,
    small_batch,
)
from workbench.checks.whole_runs import resume
from workbench.errors import PluginError
from workbench.hardware.settings import CrossbarConfig
from workbench.plugin import Backbone, Rule

LEARNER = "osttp+replay"
"""A local rule and a modifier that has state: what whole runs are made with."""
TILES = {
    "rows": 8,
    "columns": 8,
    "dac_bits": 7,
    "adc_bits": 8,
    "output_noise": 0.04,
    "ir_drop": "quick",
}
"""Tiles that the matrices of the small networks have to be cut for, and what stands between them and the units."""


def every_rule(subject: Subject) -> str:
    """Three steps of every installed rule leave finite weights."""
    tried = []
    for name in subject.registry.names("learner"):
        try:
            rule = subject.registry.load("learner", name)
        except PluginError:
            continue  # Broken or ambiguous: not this hardware's fault.
        if issubclass(rule, Rule):
            found = Subject.find(name, subject.registry)
            settings = subject.hardware_settings
            _learn(replace(found, hardware=subject.hardware, hardware_settings=settings), f"rule {name}")
            tried.append(name)
    return ", ".join(tried)


def every_backbone(subject: Subject) -> str:
    """The same on every installed backbone, recurrent or not, one hidden layer or two."""
    tried = []
    plain = replace(subject, modifier_names=(), modifier_classes=())
    for name in subject.registry.names("backbone"):
        try:
            plugin = subject.registry.load("backbone", name)
        except PluginError:
            continue
        assert issubclass(plugin, Backbone)
        for label, network in variants(name, plugin):
            _learn(plain, f"backbone {label}", network)
            tried.append(label)
    return ", ".join(tried) or "none is registered"


def behind_tiles(subject: Subject) -> str:
    """Rules, backbones and a resumed run get along with tiles, converters, noise of outputs, and wires."""
    assert subject.hardware is not None
    if not issubclass(subject.hardware.Config, CrossbarConfig):
        return "no tiles: settings that do not derive from CrossbarConfig"
    tiled = replace(subject, hardware_settings=TILES)
    every_rule(tiled)
    every_backbone(tiled)
    resume(tiled)
    return ", ".join(f"{key}={value}" for key, value in TILES.items())


def parameters_show_what_is_read(subject: Subject) -> str:
    """After a batch and a test, parameters hold what the devices were last read as; a test leaves training alone."""
    bench = Bench(replace(subject, modifier_names=(), modifier_classes=()))
    if bench.chip is None:
        return "no chip: parameters are the weights"
    bench.learn(small_batch())
    before = bench.weights()
    with bench.chip.tested("check"):
        expect(
            all(bool(torch.isfinite(p).all()) for p in bench.network.parameters()),
            "a test reads finite weights",
        )
    expect(
        all(torch.equal(value, before[name]) for name, value in bench.weights().items()),
        "after a test, parameters must hold what training saw before",
    )
    for stored in bench.chip.stored:
        read = stored.array.read(bench.chip.now)
        expect(read.shape == stored.parameter.shape, f"read() of {stored.name} must give the weights' shape")
        expect(
            stored.array.restless or torch.equal(read, stored.parameter.detach()),
            f"{stored.name}: reading twice without noise or drift must give the same weights",
        )
    counts = [int(stored.array.wear.writes.sum()) for stored in bench.chip.stored]
    return f"{len(counts)} arrays, {sum(counts)} writes in one batch"


def _learn(subject: Subject, what: str, network: Network | None = None) -> None:
    """Take three steps; raises ContractError, naming `what`, if a weight is not finite after them."""
    try:
        bench = Bench(subject, network=network)
        with global_generators_untouched(f"{what}: the hardware"):
            for seed in range(3):
                bench.learn(small_batch(seed=seed))
        broken = [name for name, value in bench.weights().items() if not bool(torch.isfinite(value).all())]
    except (
        ArithmeticError,
        AttributeError,
        RuntimeError,
        TypeError,
        ValueError,
        KeyError,
        IndexError,
    ) as error:
        expect(False, f"{what}: raised {type(error).__name__}: {error}")
    expect(not broken, f"{what}: {', '.join(broken)} must stay finite")
