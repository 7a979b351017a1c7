"""A page for every learner: what its docstring says, its settings, its memory, what it goes together with.

    python -m benchmarks.learner_pages              print the pages
    python -m benchmarks.learner_pages --write      write them to docs/learners
    python -m benchmarks.learner_pages --check      fail if these files say anything else

Memory is that of a reference run: `lif` with its default 512 and 256 units, 70 input channels, 20 classes, 100 steps,
batches of 32 (the size of split-shd), two tasks of 224 made-up sequences seen once. Which modifier works with which
rule is read from docs/combinations.md, which `python -m benchmarks.combinations` writes.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.combinations import DOCUMENT, TOUCHES, WORKS, Table, own, recorded
from benchmarks.markdown import escaped, prose, table
from benchmarks.options import command_line
from workbench.backbones.lif import LIFBackbone, LIFConfig
from workbench.config import Choice, ExperimentConfig, LearnerChoice
from workbench.errors import WorkbenchError
from workbench.experiment import Experiment
from workbench.fields import describe_fields
from workbench.plugin import Modifier, Plugin, PluginConfig, Rule, RuleContext
from workbench.randomness import RandomStreams
from workbench.registry import Registry, summary_of
from workbench.report.units import difference, size
from workbench.run import conduct
from workbench.sections import TrackConfig, TrainConfig
from workbench.tasks import DatasetInfo, SequencePool, Task, TaskStream

FOLDER = Path(__file__).parents[1] / "docs" / "learners"
INDEX = "README.md"
STEPS, BATCH, CHANNELS, CLASSES, SAMPLES = 100, 32, 70, 20, 224
LENGTHS = (25, 50, 100, 200, 400)
"""Sequence lengths T over which the formula is told."""

COMMANDS: dict[str, str] = {
    "hypernet": "learner=osttp+hypernet scenario.setting=task",
    "hlop": "learner=osttp+hlop scenario.setting=task",
    "gpm": "learner=osttp+gpm scenario.setting=task",
    "lwf": "learner=bptt+lwf",
}
"""What to type for a modifier that wants more than a rule in front of it."""

REMARKS = {
    "cwr-star": "The formula is that of the first task. From the second on what lies below the readout is frozen, and "
    "the optimiser holds moments of the readout alone.",
}
"""Why a measurement is far from its formula."""

HOOKS = {
    "before_task": "when a task begins",
    "before_batch": "before each batch",
    "after_gradients": "on the gradients, before each update",
    "after_update": "after each update",
    "after_task": "when a task is over",
    "before_evaluation": "before each evaluation",
}
"""Where a modifier may act, as its page says it."""

NOTE = "<!-- Written by `python -m benchmarks.learner_pages --write`: change {source} instead. -->"


@dataclass(frozen=True)
class Memory:
    """Bytes by category of one reference run, and of the formula at other lengths T (rules)."""

    formula: Mapping[str, int]
    measured: Mapping[str, int]
    lengths: Mapping[int, int]


def stream(samples: int = SAMPLES, steps: int = STEPS) -> TaskStream:
    """Return two tasks of ten classes each, `samples` training sequences a task, of random spikes."""
    generator = np.random.default_rng(0)
    pools = []
    for count in (samples, CLASSES // 2):
        targets = np.concatenate([np.arange(count) % 10, 10 + np.arange(count) % 10]).astype(np.int64)
        spikes = (generator.random((2 * count, steps, CHANNELS)) < 0.1).astype(np.uint8)
        pools.append(SequencePool(spikes, targets))
    tasks = []
    for number in range(2):
        classes = tuple(range(10 * number, 10 * number + 10))
        train, test = (np.flatnonzero(np.isin(pool.targets, classes)) for pool in pools)
        tasks.append(Task(str(number), classes, train, train[:0], test))
    info = DatasetInfo("made up", synthetic=True, digest="")
    return TaskStream(info, "class", pools[0], pools[1], tuple(tasks), tuple(map(str, range(CLASSES))))


def experiment(registry: Registry, name: str, steps: int = STEPS) -> Experiment:
    """Return the reference run of a learner, not yet begun; a modifier comes with its default rule."""
    kind = registry.load("learner", name)
    modifiers = [name] if issubclass(kind, Modifier) else []
    rule_name = kind.default_rule if issubclass(kind, Modifier) else name
    rule_kind = registry.load("learner", rule_name)
    rule_config = rule_kind.Config(**TOUCHES.get(name, {}).get("rule", {}))
    choices = tuple(Choice(one, registry.load("learner", one).Config()) for one in modifiers)
    made, streams, network_config = stream(steps=steps), RandomStreams(0), LIFConfig()
    config = ExperimentConfig(
        scenario=Choice("made-up", PluginConfig()),
        learner=LearnerChoice("+".join([rule_name, *modifiers]), Choice(rule_name, rule_config), choices),
        backbone=Choice("lif", network_config),
        hardware=Choice("ideal", PluginConfig()),
        train=TrainConfig(epochs=1, batch_size=BATCH, evaluate="current"),
        track=TrackConfig(mlflow=False),
        seed=0,
        device="cpu",
    )
    network = LIFBackbone(network_config).build(CHANNELS, CLASSES, streams.torch("initialisation"))
    return Experiment(
        config,
        made,
        network,
        rule_kind(rule_config),  # type: ignore[arg-type]
        [registry.load("learner", one.name)(one.config) for one in choices],  # type: ignore[misc]
        streams,
        torch.device("cpu"),
    )


def memory(registry: Registry, name: str) -> Memory:
    """Run the reference run and return what it held, beside what the formula says."""
    run = experiment(registry, name)
    with tempfile.TemporaryDirectory() as folder:
        found = conduct(run, Path(folder) / "run")["memory"]
    lengths = {}
    if not run.modifiers:
        for steps in LENGTHS:
            lengths[steps] = run.rule.memory(steps, BATCH).total
    return Memory(found["formula"], found["measured"], lengths)


def formula(registry: Registry, name: str, steps: int = STEPS) -> int:
    """Return the bytes of a rule's formula at the reference size, without running it."""
    run = experiment(registry, name, steps)
    run.rule.setup(run.network, RuleContext(run.streams, run.stream.classes, update=lambda: None))
    return run.rule.memory(steps, BATCH).total


def command(name: str, kind: type[Plugin]) -> str:
    """Return what to type to run a learner."""
    learner = f"learner=osttp+{name}" if issubclass(kind, Modifier) else f"learner={name}"
    return f"workbench run scenario=split-digits {COMMANDS.get(name, learner)}"


def page(name: str, kind: type[Plugin], found: Memory, tables: Sequence[Table]) -> str:
    """Return the page of one learner."""
    module = inspect.getmodule(kind)
    assert module is not None
    source = f"learners/{Path(inspect.getfile(kind)).name}"
    parts = [
        f"# {name}",
        NOTE.format(source=source),
        escaped(summary_of(kind)),
        _facts(name, kind),
        f"```sh\n{command(name, kind)}\n```",
        "## What it does",
        prose(inspect.cleandoc(module.__doc__ or "")),
        f"Source: [{source}](../../{source}).",
        "## Settings",
        _settings(name, kind),
        "## Memory",
        _memory(name, kind, found),
        "## Together with",
        _together(name, kind, tables),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(name: str, kind: type[Plugin]) -> str:
    if issubclass(kind, Modifier):
        acts = [told for hook, told in HOOKS.items() if getattr(kind, hook) is not getattr(Modifier, hook)]
        if kind.avalanche_plugin is not Modifier.avalanche_plugin:
            acts.append("within a plug-in of Avalanche")
        alone = f"`learner={name}` alone is `learner={kind.default_rule}+{name}`."
        return f"A **modifier**: it acts {', '.join(acts)}. {alone}"
    assert issubclass(kind, Rule)
    steps = "update" in kind.Config.model_fields
    online = "It can update the weights at every time step (`learner.update=step`)." if steps else ""
    graph = "It needs the graph of the whole sequence." if kind.needs_graph else "It keeps no graph."
    exact = "How far its gradient is from the exact one: [gradient ladder](../gradient_ladder.md)."
    return " ".join(part for part in ("A **rule**.", graph, online, exact) if part)


def _settings(name: str, kind: type[Plugin]) -> str:
    fields = describe_fields(kind.Config, f"learner.{name}" if issubclass(kind, Modifier) else "learner")
    if not fields:
        return "None."
    rows = [
        (
            f"`{field.key}`",
            escaped(field.type),
            f"`{field.shown_default}`",
            escaped(field.range),
            escaped(field.description),
        )
        for field in fields
    ]
    return table(("key", "type", "default", "range", "meaning"), rows)


def _memory(name: str, kind: type[Plugin], found: Memory) -> str:
    learner = name if issubclass(kind, Rule) else f"{getattr(kind, 'default_rule', '')}+{name}"
    rows = [
        (category, size(count), size(found.measured[category]), difference(count, found.measured[category]))
        for category, count in found.formula.items()
        if count or found.measured[category]
    ]
    head = (
        f"`{learner}` on the [reference run](README.md#reference-run), as the learner's formula says and as measured "
        "on live tensors:"
    )
    parts = [head, table(("category", "formula", "measured", "difference"), rows, numbers=3)]
    if name in REMARKS:
        parts.append(REMARKS[name])
    if found.lengths:
        parts += [
            "The formula over the length T of a sequence, same batch:",
            table(
                [f"T = {steps}" for steps in found.lengths],
                [[size(count) for count in found.lengths.values()]],
                numbers=len(found.lengths),
            ),
        ]
    return "\n\n".join(parts)


def _together(name: str, kind: type[Plugin], tables: Sequence[Table]) -> str:
    lines = []
    for one in tables:
        place = f"In the {one.setting} setting"
        if issubclass(kind, Modifier):
            lines += _outcomes(place, "rule", dict(zip(one.rules, one.cells[name], strict=True)))
            continue
        for column, label in enumerate(one.rules):
            if label.split()[0] == name:
                with_it = label.removeprefix(name)
                outcomes = {modifier: cells[column] for modifier, cells in one.cells.items()}
                lines += _outcomes(
                    place + (f", `learner.{with_it.strip()}`" if with_it else ""), "modifier", outcomes
                )
    return "\n".join([*lines, "", "All pairs: [combinations](../combinations.md)."])


def _outcomes(place: str, kind: str, outcomes: Mapping[str, str]) -> list[str]:
    """Return lines of a list: all but those that are refused, and why these are."""
    reasons: dict[str, list[str]] = {}
    for other, cell in outcomes.items():
        if cell != WORKS:
            reasons.setdefault(cell, []).append(f"`{other}`")
    if not reasons:
        return [f"- {place}: works with every {kind}."]
    refused = [f"  - {', '.join(others)}: {escaped(cell)}" for cell, others in reasons.items()]
    return [f"- {place}: works with every {kind} but", *refused]


def index(kinds: Mapping[str, type[Plugin]], found: Mapping[str, Memory]) -> str:
    """Return the page that lists all learners."""
    parts = ["# Learners", NOTE.format(source="benchmarks/learner_pages.py")]
    parts.append(
        "`learner=RULE+MODIFIER+...`: one rule, which turns a batch into gradients, and any number of modifiers, "
        "which change what happens around it. Every page tells the equations, settings, memory, and what goes "
        "together. Concepts: [concepts.md](../concepts.md); a learner of your own: [plug_in.md](../plug_in.md)."
    )
    for title, base in (("Rules", Rule), ("Modifiers", Modifier)):
        rows = [
            (f"[`{name}`]({name}.md)", escaped(summary_of(kind)), size(found[name].formula["total"]))
            for name, kind in kinds.items()
            if issubclass(kind, base)
        ]
        parts += [f"## {title}", table((title[:-1].lower(), "", "memory for learning"), rows, numbers=1)]
    parts += [
        "## Reference run",
        "Memory is that of one made-up run, *not* of a result: `lif` with its default 512 and 256 units, "
        f"{CHANNELS} input channels, {CLASSES} classes, {STEPS} steps, batches of {BATCH} sequences (the size of "
        f"`split-shd`), two tasks of {SAMPLES} random sequences seen once. A modifier is measured with its default "
        "rule, whose memory is included. The formula stands in the learner's `memory`; the measurement reads live "
        "tensors.",
    ]
    return "\n\n".join(parts) + "\n"


def pages(registry: Registry) -> dict[str, str]:
    """Return the text of every page by file name."""
    kinds = {
        name: registry.load("learner", name) for base in (Rule, Modifier) for name in own(registry, base)
    }
    tables = recorded(DOCUMENT.read_text())
    found = {name: memory(registry, name) for name in kinds}
    texts = {f"{name}.md": page(name, kind, found[name], tables) for name, kind in kinds.items()}
    return {INDEX: index(kinds, found), **texts}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pages, then print, write or compare them; returns the exit code."""
    parse = command_line("learner_pages", __doc__)
    what = parse.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="write docs/learners")
    what.add_argument("--check", action="store_true", help="compare with docs/learners")
    options = parse.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        texts = pages(Registry.discover())
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    there = {path.name: path for path in FOLDER.glob("*.md")}
    if options.write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (FOLDER / name).write_text(text)
        for name in there.keys() - texts.keys():
            there[name].unlink()
    elif not options.check:
        print("\n".join(texts.values()))
    else:
        old = [name for name, text in texts.items() if name not in there or there[name].read_text() != text]
        old += sorted(there.keys() - texts.keys())
        if old:
            told = "run python -m benchmarks.learner_pages --write"
            print(f"{FOLDER} is out of date: {', '.join(old)}; {told}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
