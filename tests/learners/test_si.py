"""Synaptic intelligence: the path integral by hand, the penalty by autograd, and Avalanche's own once it is mended."""

import pytest
import torch
from fixtures.small import task_stream, trainer

from learners.si import SI
from workbench.checks import whole_runs
from workbench.checks.subject import Subject
from workbench.plugin import Modifier
from workbench.registry import Registry

BOTH = pytest.mark.parametrize("learner", ["bptt", "osttp"])


def si(**settings):
    return SI(SI.Config(**settings))


class Recorder(Modifier):
    """Writes down gradients and weights around every update."""

    def __init__(self):
        super().__init__(self.Config())
        self.steps = []

    def after_gradients(self, rule, batch):
        self.gradients = {name: p.grad.double().clone() for name, p in rule.network.named_parameters()}
        self.before = {name: p.detach().double().clone() for name, p in rule.network.named_parameters()}

    def after_update(self, rule, batch):
        moves = {name: p.detach().double() - self.before[name] for name, p in rule.network.named_parameters()}
        self.steps.append((self.gradients, moves))


@pytest.mark.parametrize(
    ("learner", "update"), [("bptt", "sequence"), ("osttp", "sequence"), ("osttp", "step")]
)
def test_importance_is_the_path_integral_over_the_squared_move(learner, update):
    recorder, modifier = Recorder(), si(damping=1e-3)
    settings = {} if learner == "bptt" else {"update": update}
    made = trainer(learner, modifiers=[recorder, modifier], epochs=2, settings=settings)
    start = {name: p.detach().double().clone() for name, p in made.network.named_parameters()}
    made.train_task(0)
    assert len(recorder.steps) == 6 * (1 if update == "sequence" else 5)
    for name, end in made.network.named_parameters():
        path = sum(-gradients[name] * moves[name] for gradients, moves in recorder.steps)
        whole = end.detach().double() - start[name]
        expected = path.clamp(min=0) / (whole**2 + 1e-3)
        assert expected.max() > 0
        torch.testing.assert_close(modifier.importance[name].double(), expected, rtol=1e-3, atol=1e-6)


@BOTH
def test_the_penalty_is_not_zero_and_its_gradient_is_autograds(learner):
    modifier = si(strength=3.0)
    made = trainer(learner, modifiers=[modifier], epochs=1)
    made.train_task(0)
    modifier.before_task(made.rule, 1)
    parameters = dict(made.network.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
            parameter.grad = torch.ones_like(parameter)
    penalty = sum(
        3.0 * (modifier.importance[name] * (parameter - modifier.anchor[name]) ** 2).sum()
        for name, parameter in parameters.items()
    )
    assert penalty.item() > 0
    slopes = torch.autograd.grad(penalty, list(parameters.values()))
    modifier.after_gradients(made.rule, None)
    for parameter, slope in zip(parameters.values(), slopes, strict=True):
        torch.testing.assert_close(parameter.grad, 1.0 + slope)
    # The path integral is the rule's own: what came in, without the penalty.
    modifier.path = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.sub_(0.5)
    modifier.after_update(made.rule, None)
    for path in modifier.path.values():
        torch.testing.assert_close(path, torch.full_like(path, 0.5))


def test_the_path_is_avalanches_once_that_keeps_copies(monkeypatch):
    """Of the first task, where there is no penalty yet: later Avalanche counts the penalty's gradient in."""
    from avalanche.training.plugins import SynapticIntelligencePlugin

    def extract(model, target, excluded):
        for name, parameter in model.named_parameters():
            target[name].data = parameter.detach().flatten().clone()

    def trajectories():
        plugin = SynapticIntelligencePlugin(si_lambda=1.0)
        trainer("bptt", plugins=[plugin], epochs=2).train_task(0)
        return {name: entry.data for name, entry in plugin.syn_data["trajectory"].items()}

    broken = trajectories()
    assert all(not path.any() for path in broken.values()), "Avalanche has been mended; use its plug-in"
    monkeypatch.setattr(SynapticIntelligencePlugin, "extract_weights", staticmethod(extract))
    modifier = si()
    trainer("bptt", modifiers=[modifier], epochs=2).train_task(0)
    for name, path in trajectories().items():
        ours = modifier.path[name.removeprefix("network.")]
        torch.testing.assert_close(-ours.flatten(), path, rtol=1e-4, atol=1e-8)


@BOTH
def test_a_strong_penalty_holds_the_weights(learner):
    moves = []
    for strength in (0.0, 1e3):
        made = trainer(learner, modifiers=[si(strength=strength)], epochs=4, settings={"lr": 0.02})
        made.train_task(0)
        before = torch.cat([p.detach().flatten().clone() for p in made.network.parameters()])
        made.train_task(1)
        moves.append((torch.cat([p.detach().flatten() for p in made.network.parameters()]) - before).norm())
    assert moves[1] < 0.7 * moves[0]


def test_importance_is_clipped_and_never_negative():
    free, clipped = si(), si(clip=1e-4)
    for modifier in (free, clipped):
        trainer("bptt", modifiers=[modifier]).train_task(0)
    highest = max(float(omega.max()) for omega in free.importance.values())
    assert highest > 1e-4
    assert all(float(omega.min()) >= 0 for omega in free.importance.values())
    assert max(float(omega.max()) for omega in clipped.importance.values()) == pytest.approx(1e-4)


def test_a_frozen_weight_is_no_fault():
    modifier = si()
    made = trainer("osttp", task_stream("task"), [modifier])
    made.network.hidden[0].synapse.weight.requires_grad_(False)
    made.train_task(0)
    made.train_task(1)
    assert all(torch.isfinite(p).all() for p in made.network.parameters())


@pytest.mark.parametrize("name", ["bptt+si", "osttp+si"])
def test_an_interrupted_run_resumes_bit_for_bit_and_memory_is_as_told(name):
    subject = Subject.find(name, Registry.discover())
    assert whole_runs.resume(subject)
    assert whole_runs.memory_formula(subject)
