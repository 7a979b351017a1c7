"""Which modifier works with which rule: every pair is run, on two tiny tasks, and either acts or says why it cannot.

    python -m benchmarks.combinations              print the tables
    python -m benchmarks.combinations --write      write them to docs/combinations.md
    python -m benchmarks.combinations --check      fail if that file says anything else

A modifier acts if the weights after the second task are finite and differ from those that the rule alone ends with. Two
tasks of 16 sequences, T = 6, one hidden layer of 8 units, default settings but for those in `TOUCHES`. In the class
setting the tasks have classes of their own and share the readout, and rules that can update within the sequence run
that way too; in the task setting both tasks have the same two classes, on the same inputs, with labels exchanged, so
that what they want is as far apart as it can be.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.options import command_line
from workbench.backbones.lif import LIFBackbone, LIFConfig
from workbench.errors import DataError, WorkbenchError
from workbench.plugin import Modifier, Plugin, Rule
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.streams import build_benchmark
from workbench.tasks import DatasetInfo, SequencePool, Setting, Task, TaskStream
from workbench.trainer import Trainer

DOCUMENT = Path(__file__).parents[1] / "docs" / "combinations.md"
SETTINGS: tuple[Setting, ...] = ("class", "task")
STEPS, CHANNELS, UNITS, SAMPLES = 6, 8, 8, 8
PACKAGE = "continual-workbench"

TOUCHES: dict[str, dict[str, dict[str, Any]]] = {
    "hlop": {"rule": {"optimiser": "sgd"}},
    "gpm": {"rule": {"optimiser": "sgd"}},
    "dormancy": {"modifier": {"period": 1, "threshold": 1.0}},
}
"""What the defaults would keep from acting on so small a run, or what a modifier asks of its rule."""

NOT_OFFERED = {
    "BiCPlugin": "puts another data set into the experience, which Avalanche's own benchmark builder forbids, and its "
    "bias layer lies outside the network, where nothing saves it",
    "CoPEPlugin": "replaces readout and loss by prototypes: a learner of its own, not a modifier of one",
    "CurrentDataFeCAMUpdate, MemoryFeCAMUpdate, FeCAMOracle": "need a model whose classifier is FeCAM's",
    "CurrentDataNCMUpdate, MemoryNCMUpdate, NCMOracle": "need a model whose classifier is the nearest class mean",
    "FeatureDistillationPlugin": "needs a model that keeps its features with their graph: no local rule has one",
    "FromScratchTrainingPlugin": "a baseline, for one parameter group alone: run each task on its own, or take gdumb",
    "GenerativeReplayPlugin, TrainGeneratorAfterExpPlugin": "need a generator of sequences, trained beside the network",
    "GSS_greedyPlugin": "a backward pass through time for every sample of every batch, which clears the gradients "
    "that a local rule has just written; its buffer knows neither task labels nor where a sample came from",
    "LFLPlugin": "needs a model with `get_features`, and freezes the readout after the first task: no new class",
    "MIRPlugin": "differentiates the rule's loss, which a local rule gives without a graph, and reads an endless "
    "loader that no checkpoint can hold; take replay",
    "RARPlugin": "traces the model to cut features out of it; a loop over time cannot be traced",
}
"""Avalanche's strategy plug-ins that are no modifiers here, and why."""


HEAD = """# Which modifier works with which rule

`learner=RULE+MODIFIER`, every pair run on two tiny tasks by `python -m benchmarks.combinations`, which writes this
page; a test compares them. *works*: the weights end finite and other than with the rule alone. *refused*: the run stops
with the reason given below. Settings are the defaults, but for hlop and gpm (`optimiser=sgd`) and dormancy (`period=1`,
`threshold=1`: the default period and threshold would reset nothing in so few steps).
"""
ELSEWHERE = (
    "EarlyStoppingPlugin, LRSchedulerPlugin and EvaluationPlugin belong to the trainer: `train.epochs`, "
    "`learner.schedule`, and the workbench's own metrics."
)
WORKS, NO_EFFECT = "works", "no effect"


@dataclass(frozen=True)
class Table:
    """Outcomes in one setting: rules across, modifiers down; `works`, `no effect`, or why not."""

    setting: Setting
    rules: tuple[str, ...]
    cells: dict[str, tuple[str, ...]] = field(default_factory=dict)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("combinations", __doc__)
    what = parse.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help=f"write {DOCUMENT.name}")
    what.add_argument("--check", action="store_true", help=f"compare with {DOCUMENT.name}")
    return parse


def two_tasks(setting: Setting) -> TaskStream:
    """Return two tasks of two classes, `SAMPLES` training sequences a class and half as many to test."""
    generator = np.random.default_rng(0)
    classes = 4 if setting == "class" else 2
    pools = []
    for copies in (SAMPLES, SAMPLES // 2):
        targets = np.tile(np.arange(classes), copies)
        rates = np.where(np.arange(CHANNELS) % classes == targets[:, None], 0.8, 0.1)[:, None, :]
        spikes = (generator.random((len(targets), STEPS, CHANNELS)) < rates).astype(np.uint8)
        pools.append(SequencePool(spikes, targets.astype(np.int64)))
    if setting == "task":  # The same sequences once more, with labels exchanged.
        twice = [
            (np.concatenate([p.inputs[:], p.inputs[:]]), np.concatenate([p.targets, 1 - p.targets]))
            for p in pools
        ]
        pools = [SequencePool(inputs, targets) for inputs, targets in twice]
    tasks = []
    for number in range(2):
        if setting == "class":
            names = (2 * number, 2 * number + 1)
            train, test = (np.flatnonzero(np.isin(pool.targets, names)) for pool in pools)
        else:
            names = (0, 1)
            train, test = (np.array_split(np.arange(len(pool.targets)), 2)[number] for pool in pools)
        tasks.append(Task(str(number), names, train, train[:0], test))
    info = DatasetInfo("made up", synthetic=True, digest="")
    return TaskStream(info, setting, pools[0], pools[1], tuple(tasks), tuple(map(str, range(classes))))


@dataclass(frozen=True)
class Variant:
    """A rule in a table's head: its label, class and settings."""

    label: str
    rule: type[Plugin]
    settings: Mapping[str, Any]


def variants(registry: Registry, setting: Setting) -> Iterator[Variant]:
    """Return every rule; in the class setting once more with updates within the sequence, where it can make them."""
    for name in own(registry, Rule):
        rule = registry.load("learner", name)
        yield Variant(name, rule, {})
        if setting == "class" and "update" in rule.Config.model_fields:
            yield Variant(f"{name} update=step", rule, {"update": "step"})


def own(registry: Registry, kind: type[Plugin]) -> list[str]:
    """Return the learners of one kind that this project brings along, by name."""
    ours = {one.name for one in registry.registrations if (one.kind, one.package) == ("learner", PACKAGE)}
    return [name for name in sorted(ours) if issubclass(registry.load("learner", name), kind)]


class Bench:
    """Runs pairs in one setting; what a rule alone ends with is computed once."""

    def __init__(self, setting: Setting) -> None:
        self.stream = two_tasks(setting)
        self.benchmark = build_benchmark(self.stream)
        self._alone: dict[tuple[str, str], torch.Tensor] = {}

    def outcome(self, name: str, modifier: type[Plugin], variant: Variant) -> str:
        """Return `works`, `no effect`, or the reason why the two refuse each other."""
        touches = TOUCHES.get(name, {})
        for_rule = touches.get("rule", {})
        config = variant.rule.Config(**variant.settings, **for_rule)
        key = (variant.label, repr(for_rule))
        if key not in self._alone:
            self._alone[key] = self.end(variant.rule(config), [])
        try:
            made = modifier(modifier.Config(**touches.get("modifier", {})))
            end = self.end(variant.rule(config), [made])
        except WorkbenchError as error:
            return str(error)
        if not bool(torch.isfinite(end).all()):
            return "leaves weights that are not finite"
        return NO_EFFECT if torch.equal(end, self._alone[key]) else WORKS

    def end(self, rule: Plugin, modifiers: list[Plugin]) -> torch.Tensor:
        """Return all parameters `[n]` after both tasks. Raises WorkbenchError where the parts cannot go together."""
        streams = RandomStreams(0)
        backbone = LIFBackbone(LIFConfig(hidden=(UNITS,), gain=2.0))
        network = backbone.build(self.stream.channels, self.stream.classes, streams.torch("initialisation"))
        trainer = Trainer(
            rule=rule,  # type: ignore[arg-type]
            modifiers=modifiers,  # type: ignore[arg-type]
            network=network,
            stream=self.stream,
            benchmark=self.benchmark,
            streams=streams,
            epochs=1,
            batch_size=8,
            device=torch.device("cpu"),
        )
        for task in range(len(self.stream.tasks)):
            trainer.train_task(task)
        trainer.evaluate_tasks(task)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def tables(registry: Registry) -> list[Table]:
    """Run every pair in both settings."""
    modifiers = {name: registry.load("learner", name) for name in own(registry, Modifier)}
    found = []
    for setting in SETTINGS:
        bench, chosen = Bench(setting), list(variants(registry, setting))
        table = Table(setting, tuple(variant.label for variant in chosen))
        for name, modifier in modifiers.items():
            table.cells[name] = tuple(bench.outcome(name, modifier, variant) for variant in chosen)
        found.append(table)
    return found


def document(found: Sequence[Table]) -> str:
    """Return the tables as Markdown: reasons numbered in the order in which they first occur."""
    reasons: list[str] = []
    lines = [HEAD]
    for table in found:
        lines += [f"## {table.setting.capitalize()} setting", ""]
        lines += ["| modifier | " + " | ".join(table.rules) + " |", "|---" * (len(table.rules) + 1) + "|"]
        for name, cells in table.cells.items():
            reasons += [cell for cell in dict.fromkeys(cells) if cell not in (WORKS, NO_EFFECT, *reasons)]
            told = [
                cell if cell in (WORKS, NO_EFFECT) else f"refused ({reasons.index(cell) + 1})"
                for cell in cells
            ]
            lines.append(f"| {name} | " + " | ".join(told) + " |")
        lines.append("")
    lines += ["## Reasons", "", "What the run says:", ""]
    lines += [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    lines += [
        "",
        "## Plug-ins of Avalanche that are no modifiers here",
        "",
        "| plug-in | why not |",
        "|---|---|",
    ]
    lines += [f"| {name} | {reason} |" for name, reason in NOT_OFFERED.items()]
    lines += ["", ELSEWHERE, ""]
    return "\n".join(lines)


def recorded(text: str) -> list[Table]:
    """Return the tables that `document` wrote, without running anything. Raises DataError if it did not."""
    try:
        body, rest = text.removeprefix(HEAD).split("## Reasons")
        reasons = dict(re.findall(r"^(\d+)\. (.+)$", rest, flags=re.MULTILINE))
        found = []
        for part in body.split("## ")[1:]:
            title, *lines = part.splitlines()
            head, _, *rows = (line.strip("| ").split(" | ") for line in lines if line.startswith("|"))
            cells = {
                row[0]: tuple(
                    reasons[cell[9:-1]] if cell.startswith("refused (") else cell for cell in row[1:]
                )
                for row in rows
            }
            found.append(Table(title.split()[0].lower(), tuple(head[1:]), cells))  # type: ignore[arg-type]
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{DOCUMENT}: damaged; run python -m benchmarks.combinations --write") from error
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all pairs, then print, write or compare; returns the exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        text = document(tables(Registry.discover()))
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.write:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text)
    elif not options.check:
        print(text)
    elif not DOCUMENT.exists() or DOCUMENT.read_text() != text:
        print(
            f"{DOCUMENT} says something else; run python -m benchmarks.combinations --write", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
