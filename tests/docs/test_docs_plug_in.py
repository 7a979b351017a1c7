"""The plug-ins of docs/plug_in.md, taken from the page and installed: listed, held to their contracts, and run."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.checks import check_hardware, check_learner
from workbench.config import resolve
from workbench.diagnose import alignment, exact_gradients
from workbench.experiment import run_experiment
from workbench.plugin import GROUPS, RuleContext, SequenceBatch
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.tasks import ScenarioContext

PAGE = (Path(__file__).parents[2] / "docs" / "plug_in.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- plugin: (\S+) -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
OURS = "my-plugins"
SMALL = [
    "scenario=row-digits",
    "scenario.tasks=2",
    "backbone.hidden=[32]",
    "learner.lr=1e-2",
    "train.epochs=5",
]
SMALL += ["device=cpu", "threads=1", "track.mlflow=false"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Return what is installed, the page's package with it."""
    [project] = [tomllib.loads(block) for block in blocks("toml")]
    folder = tmp_path_factory.mktemp("plug_in")
    assert {f"{name}.py" for name in project["tool"]["setuptools"]["py-modules"]} == set(FILES)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    information = folder / "my_plugins-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {OURS}\nVersion: 1.0\n")
    lines = []
    for group, points in project["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield Registry.discover()
        for name in FILES:
            sys.modules.pop(name.removesuffix(".py"), None)


def plugin(registry, kind, name, **settings):
    loaded = registry.load(kind, name)
    return loaded(loaded.Config(**settings))


def test_there_is_one_of_every_kind_and_each_is_listed(registry):
    entries = [entry for entry in registry.entries() if entry.package == OURS]
    assert {entry.kind for entry in entries} == set(GROUPS)
    assert len(entries) == len(FILES) == 5
    for entry in entries:
        assert (entry.status, entry.reason) == ("ok", "")
        assert entry.summary


def test_listing_them_imports_nothing_heavy(registry):
    for name, text in FILES.items():
        heavy = re.findall(
            r"^(?:import|from) (torch|numpy|sklearn|workbench\.(?!plugin|tasks|rules\.settings|hardware\.settings)\S*)",
            text,
            re.M,
        )
        assert heavy == [], name


def test_rule_and_modifier_keep_their_contracts_on_every_backbone(registry):
    results = check_learner("sign-feedback+regenerate", registry)
    assert [(result.name, result.detail) for result in results if not result.passed] == []
    [seen] = [result.detail for result in results if result.name == "backbones"]
    assert "adaptive" in seen


def test_the_rules_hidden_gradients_are_traces_times_the_sign_of_the_readout(registry):
    """With feedback weights equal to the readout's (all of one size, times scale 1) the rule is exact for one layer."""
    network = (
        plugin(registry, "backbone", "adaptive", hidden=(12,))
        .build(8, 3, torch.Generator().manual_seed(0))
        .double()
    )
    network.readout.decay.zero_()
    with torch.no_grad():
        network.readout.synapse.weight.copy_(network.readout.synapse.weight.sign())
    rule = plugin(registry, "learner", "sign-feedback", scale=1.0, chunk=4)
    batch = learned(rule, network)
    exact = exact_gradients(rule, batch)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, exact[name], rtol=1e-9, atol=1e-12)


def learned(rule, network):
    generator = torch.Generator().manual_seed(1)
    batch = SequenceBatch(
        (torch.rand(15, 4, 8, generator=generator) < 0.5).to(torch.uint8), torch.tensor([0, 1, 2, 0])
    )
    rule.setup(network, RuleContext(RandomStreams(0), network.classes))
    rule.train_step(batch)
    return batch


def test_the_modifier_pulls_towards_the_first_weights(registry):
    modifier = plugin(registry, "learner", "regenerate", strength=0.25)
    rule = plugin(registry, "learner", "sign-feedback")
    rule.network = torch.nn.Linear(2, 1, bias=False)
    first = rule.network.weight.detach().clone()
    modifier.before_task(rule, 0)
    with torch.no_grad():
        rule.network.weight.add_(3.0)
    modifier.before_task(rule, 1)
    rule.network.weight.grad = torch.ones(1, 2)
    modifier.after_gradients(rule, None)
    torch.testing.assert_close(rule.network.weight.grad, torch.full((1, 2), 1.0 + 2 * 0.25 * 3.0))
    assert torch.equal(modifier.state_dict()["weight"], first)


@pytest.mark.parametrize("learner", ["bptt", "ostl", "osttp"])
def test_every_rule_trains_the_cell_that_defines_a_step_alone(registry, learner):
    network = plugin(registry, "backbone", "adaptive", hidden=(12,), beta=0.3).build(
        8, 3, torch.Generator().manual_seed(0)
    )
    rule = plugin(registry, "learner", learner)
    batch = learned(rule, network.double())
    assert 0.02 < network.run(batch.inputs).spikes[0].mean() < 0.9
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    cosines = alignment(network, exact_gradients(rule, batch))
    assert cosines["readout"] == pytest.approx(1.0)
    # Theory: one layer without recurrence, and OSTL carries the readout's leak too.
    assert (cosines["hidden_0"] == pytest.approx(1.0, abs=1e-9)) == (learner != "osttp")


def test_the_scenario_shows_each_image_once_row_by_row(registry):
    from sklearn.datasets import load_digits

    stream = plugin(registry, "scenario", "row-digits", tasks=2).build(ScenarioContext(0, Path()))
    images, labels = load_digits(return_X_y=True)
    assert (stream.steps, stream.channels, stream.classes, len(stream.tasks)) == (8, 8, 10, 2)
    used = [
        np.concatenate([getattr(task, part) for task in stream.tasks])
        for part in ("train", "validation", "test")
    ]
    assert sorted(np.concatenate(used)) == list(range(len(labels)))
    for task in stream.tasks:
        for part in (task.train, task.validation, task.test):
            assert set(labels[part]) == set(task.classes)
    np.testing.assert_array_equal(stream.training_pool.inputs[5].ravel() * 16, images[5])


def test_the_device_keeps_its_contract(registry):
    assert [result for result in check_hardware("mismatch", registry) if not result.passed] == []


def test_the_device_reads_its_own_cells_and_without_spread_is_ideal(registry):
    def network(spread):
        made = plugin(registry, "backbone", "adaptive", hidden=(6,)).build(
            8, 3, torch.Generator().manual_seed(0)
        )
        chips.append(plugin(registry, "hardware", "mismatch", spread=spread).attach(made, RandomStreams(3)))
        return made

    chips = []
    ideal, same, other = network(0.0), network(0.2), network(0.2)
    inputs = torch.rand(5, 2, 8, generator=torch.Generator().manual_seed(2))
    plain = plugin(registry, "backbone", "adaptive", hidden=(6,)).build(
        8, 3, torch.Generator().manual_seed(0)
    )
    assert torch.equal(ideal(inputs), plain(inputs))
    assert torch.equal(same(inputs), other(inputs))
    with torch.no_grad():
        for layer, stored in zip(plain.layers, chips[1].stored, strict=True):
            layer.synapse.weight.mul_(stored.array.cells)
    torch.testing.assert_close(same(inputs), plain(inputs))
    assert [name for name, _ in same.named_parameters()] == [name for name, _ in plain.named_parameters()]


@pytest.mark.parametrize(
    "choice",
    [
        "learner=bptt backbone.gain=1.5",
        "learner=sign-feedback+regenerate backbone=adaptive hardware=mismatch",
    ],
)
def test_they_run_together(registry, tmp_path, choice):
    settings = resolve([*choice.split(), *SMALL])
    results = run_experiment(settings, tmp_path / "run")
    assert results["status"] == "finished"
    # Chance is one in five when the first task is learned.
    assert results["R"][0][0] > 0.5


def test_commands_are_about_what_is_installed(registry):
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "run":
            resolve(words[1:])
        else:
            assert words[0] == "list" or words[-1] in {one.name for one in registry.registrations}
