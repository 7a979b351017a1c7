"""Checks of single training steps."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from workbench.backbones.network import Network
from workbench.checks.subject import (
    BATCH,
    CLASSES,
    INPUTS,
    Bench,
    ContractError,
    Subject,
    differing,
    expect,
    global_generators_untouched,
    small_batch,
    small_network,
)
from workbench.errors import PluginError
from workbench.plugin import Backbone, SequenceBatch
from workbench.randomness import RandomStreams


def gradients_are_finite(subject: Subject) -> str:
    """Every parameter handed to the optimiser gets a finite gradient of its shape, the readout's not zero."""
    bench = Bench(subject)
    names = bench.trained()
    expect(bool(names), "parameter_groups() must name parameters of the network")
    _expect_learning(bench, small_batch())
    for name in names:
        expect(name in bench.gradients, f"{name} is in parameter_groups() and got no gradient")
    readout = [value for name, value in bench.gradients.items() if name.startswith("readout.synapse")]
    expect(any(bool((value != 0).any()) for value in readout), "the readout's gradient must not be zero")
    return f"{len(names)} parameters"


def one_sequence(subject: Subject) -> str:
    """A batch may hold one sequence."""
    _expect_learning(Bench(subject), small_batch(size=1))
    return "learned"


def one_step(subject: Subject) -> str:
    """A sequence may hold one time step."""
    _expect_learning(Bench(subject), small_batch(steps=1))
    return "learned"


def _expect_learning(bench: Bench, batch: SequenceBatch) -> None:
    """Run one batch and hold what comes back to its shape and to finite numbers."""
    loss, logits = bench.learn(batch)
    size, classes = len(batch.targets), bench.network.classes
    expect(tuple(loss.shape) == (), f"the loss must be a scalar, not of shape {tuple(loss.shape)}")
    expect(bool(torch.isfinite(loss)), f"the loss must be finite, not {float(loss)}")
    shape = tuple(logits.shape)
    expect(shape == (size, classes), f"logits must be [B, C] = {(size, classes)}, not {shape}")
    expect(not bool(logits.isnan().any()), "logits must not be nan")
    expect(
        bool(bench.gradients),
        "a training step must leave gradients in .grad, or apply them by context.update",
    )
    for name, gradient in bench.gradients.items():
        expect(bool(torch.isfinite(gradient).all()), f"the gradient of {name} must be finite")


def class_mask_is_respected(subject: Subject) -> str:
    """Classes outside the mask are neither chosen nor taught."""
    bench = Bench(subject)
    batch = small_batch(classes=2)
    mask = (torch.arange(CLASSES) < 2).expand(BATCH, -1)
    loss, logits = bench.learn(SequenceBatch(batch.inputs, batch.targets, mask))
    expect(bool(torch.isfinite(loss)), f"the loss under a class mask must be finite, not {float(loss)}")
    expect(int(logits.argmax(1).max()) < 2, "the highest score must lie inside class_mask")
    taught = bench.gradients.get("readout.synapse.weight")
    if taught is not None:
        expect(not bool(taught[2:].any()), "the readout of a class outside class_mask must get no gradient")
    return "kept"


def draws_from_its_streams_alone(subject: Subject) -> str:
    """The same seed gives the same gradients, whatever the global generators hold; none of them is touched."""
    found, states = [], []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(disturbance)
            network = small_network()
            with global_generators_untouched("setup() and a training step"):
                bench = Bench(subject, seed, network)
                state = {name: value.clone() for name, value in bench.rule.state_dict().items()}
                bench.learn(small_batch())
        found.append(bench.gradients)
        states.append(state)
    for one, what in ((states, "state"), (found, "gradients")):
        names = differing(one[0], one[1])
        expect(not names, f"the same seed must give the same {what}, bit for bit; {', '.join(names)} differ")
    random = bool(differing(states[0], states[2]) or differing(found[0], found[2]))
    return "another seed differs" if random else "draws nothing"


def nothing_leaks_between_batches(subject: Subject) -> str:
    """With the same weights and state, a batch gives the same gradients whatever batch came before."""
    if subject.modifier_classes:
        return "see the rule's own check"
    alone = Bench(subject)
    after = Bench(subject)
    state = {name: value.clone() for name, value in after.rule.state_dict().items()}
    weights = after.weights()
    alone.learn(small_batch())
    after.learn(small_batch(steps=7, size=3, seed=1))
    after.network.load_state_dict(weights, strict=False)
    after.rule.load_state_dict(state)
    after.optimiser.state.clear()
    after.learn(small_batch())
    names = differing(alone.gradients, after.gradients)
    expect(
        not names,
        "gradients must not depend on the batch before, except through weights and state_dict(); "
        f"{', '.join(names)} differ",
    )
    return "same gradients"


def state_round_trip(subject: Subject) -> str:
    """What state_dict() returns, saved and loaded into a new rule of another seed, makes the same next step."""
    if subject.modifier_classes:
        return "see resume"
    first = Bench(subject, seed=0)
    first.learn(small_batch(seed=1))
    state = first.rule.state_dict()
    strangers = [name for name, value in state.items() if not isinstance(value, Tensor)]
    expect(not strangers, f"state_dict() must hold tensors; {', '.join(strangers)} is none")
    file = io.BytesIO()
    torch.save([first.network.state_dict(), first.optimiser.state_dict(), state], file)
    file.seek(0)
    network, optimiser, loaded = torch.load(file, weights_only=True)
    second = Bench(subject, seed=1)
    second.network.load_state_dict(network)
    second.optimiser.load_state_dict(optimiser)
    second.rule.load_state_dict(loaded)
    for bench in (first, second):
        bench.learn(small_batch())
    names = differing(first.weights(), second.weights())
    expect(
        not names,
        f"state_dict() must hold everything that the next step depends on; after a reload {', '.join(names)} differ",
    )
    return f"{len(state)} tensors"


def every_backbone(subject: Subject) -> str:
    """A step works on every registered backbone, recurrent or not, one hidden layer or two."""
    tried = []
    for name in subject.registry.names("backbone"):
        try:
            plugin = subject.registry.load("backbone", name)
        except PluginError:
            continue  # ContractError or ambiguous: not this learner's fault.
        assert issubclass(plugin, Backbone)
        for label, network in variants(name, plugin):
            try:
                _expect_learning(Bench(subject, network=network), small_batch())
            except ContractError as broken:
                raise ContractError(f"backbone {label}: {broken}") from broken
            except Exception as error:
                raise ContractError(f"backbone {label}: raised {type(error).__name__}: {error}") from error
            tried.append(label)
    return ", ".join(tried) or "none is registered"


def variants(name: str, plugin: type[Backbone]) -> list[tuple[str, Network]]:
    """Return small networks of a backbone: with and without recurrence, one layer and two, as far as it has these."""
    known = plugin.Config.model_fields
    wanted: list[dict[str, object]] = [{"hidden": (8,)}, {"hidden": (8, 6)}]
    choices = [{key: value for key, value in one.items() if key in known} for one in wanted]
    if "recurrent" in known:
        choices = [{**one, "recurrent": flag} for one in choices for flag in (False, True)]
    networks = []
    for choice in choices if any(choices) else [{}]:
        generator = RandomStreams(0).torch("initialisation")
        given = " ".join(f"{key}={value}" for key, value in choice.items())
        networks.append(
            (f"{name} {given}".strip(), plugin(plugin.Config(**choice)).build(INPUTS, CLASSES, generator))
        )
    return networks
