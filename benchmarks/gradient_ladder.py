"""The gradient ladder: how far each rule's gradients are from back-propagation through time, over cells and depth.

    python -m benchmarks.gradient_ladder --write docs/gradient_ladder.md

Small random networks learn small random data in float64, and each rule's gradient is compared with the exact one:
autograd through the plain loop over `step` of every cell, under the loss of every step. For each block of a network
(a hidden layer; for `lru` a linear recurrent layer and the static layer that reads it) all gradients of its synapses
are taken as one vector: cosine, and relative error |g - g*| / |g*|; means over the seeds. "exact" stands where theory
says that the two agree, and then all parameters of the block do to 1e-9, cell parameters included: the tests hold the
table to it, in both directions, and to its committed numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.options import command_line
from workbench.backbones.network import Network
from workbench.neurons.cell import fold
from workbench.plugin import Backbone, Rule, RuleContext, SequenceBatch
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.rules.loss import sequence_loss

STEPS, BATCH, INPUTS, UNITS, CLASSES = 20, 4, 10, (12, 10), 4
SEEDS = (0, 1, 2)
EXACT = 1e-9
READOUTS = {"without memory": 0.0, "leaky, decay 0.9": 0.9}

_LIF: dict[str, Any] = {"decay": (0.7, 0.95), "surrogate": "fast-sigmoid", "sharpness": 2.0, "gain": 1.5}
_LIF |= {"readout_gain": 1.0, "readout_reads": "last"}
_SNU: dict[str, Any] = {"gain": 2.0, "recurrent_gain": 1.5}
_LRU: dict[str, Any] = {"min_radius": 0.5, "max_radius": 0.95, "max_phase": 3.0}


@dataclass(frozen=True)
class Rung:
    """A cell: a backbone with settings under which its units are active."""

    name: str
    backbone: str
    settings: dict[str, Any]

    @property
    def recurrent(self) -> bool:
        """Whether the hidden layers have recurrent synapses."""
        return bool(self.settings.get("recurrent", False))

    @property
    def remembers(self) -> bool:
        """Whether anything of a step reaches the next."""
        return self.recurrent or self.settings.get("decay") != 0

    @property
    def layers_a_block(self) -> int:
        """Layers of the network that make up one block."""
        return 2 if self.backbone == "lru" else 1


@dataclass(frozen=True)
class Entry:
    """One rule on one block: cosine and relative error of its synapses, and the largest error over all parameters."""

    rung: Rung
    readout: str
    depth: int
    block: int
    rule: str
    cosine: float
    error: float
    worst: float
    exact: bool
    """What theory says."""


def _rungs() -> Iterator[Rung]:
    for recurrent in (False, True):
        suffix = ", recurrent" if recurrent else ""
        flag = {"recurrent": recurrent}
        yield Rung(f"lif, soft reset{suffix}", "lif", {**_LIF, "reset": "soft", **flag})
        if not recurrent:
            yield Rung("lif, soft reset in the gradient", "lif", {**_LIF, "reset_gradient": "keep", **flag})
        yield Rung(
            f"lif, hard reset{suffix}", "lif", {**_LIF, "reset": "hard", "reset_gradient": "keep", **flag}
        )
        yield Rung(f"snu{suffix}", "snu", {**_SNU, **flag})
        yield Rung(f"ssnu{suffix}", "ssnu", {**_SNU, **flag})
        if not recurrent:
            yield Rung("ssnu, decay 0", "ssnu", {**_SNU, "decay": 0.0, **flag})
            yield Rung("lru", "lru", _LRU)


RUNGS = tuple(_rungs())
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "bptt": ("bptt", {"loss": "step"}),
    "sltt": ("sltt", {"chunk": 7}),
    "ottt": ("ottt", {"chunk": 7}),
    "ostl": ("ostl", {"traces": "diagonal", "chunk": 7}),
    "ostl, full traces": ("ostl", {"traces": "full", "chunk": 7}),
    "eprop, symmetric": ("eprop", {"feedback": "symmetric", "chunk": 7}),
    "osttp": ("osttp", {"chunk": 7}),
}
"""Columns: learner and settings; chunks shorter than the sequence, so that traces are carried."""


def exact_by_theory(rung: Rung, leak: float, depth: int, block: int, rule: str) -> bool:
    """Return whether the rule's gradient of a block equals that of back-propagation through time.

    Only the topmost block's can: below, what a layer with memory does with its input in later steps is left out.
    """
    if rule == "bptt":
        return True
    if not rung.remembers and leak == 0:
        top = block == depth - 1
        return rule in ("sltt", "ottt", "ostl", "ostl, full traces") or (rule == "eprop, symmetric" and top)
    if block < depth - 1:
        return False
    # The filter of a leaky readout reaches the layer that it reads, not the one below a static layer.
    within_reach = leak == 0 or rung.backbone != "lru"
    if rule == "ottt":
        linear = rung.backbone == "lru" or rung.name == "lif, soft reset"
        return linear and leak == 0
    if rule == "ostl, full traces":
        return within_reach
    if rule == "ostl":
        return within_reach and not rung.recurrent
    # e-prop carries errors through weights alone, and a static layer has a slope.
    return rule == "eprop, symmetric" and not rung.recurrent and rung.backbone != "lru"


class Ladder:
    """Makes networks, data and gradients, and compares them."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry or Registry.discover()

    def network(self, rung: Rung, leak: float, depth: int, seed: int) -> Network:
        """Return a float64 network of `depth` blocks."""
        kind = self.registry.load("backbone", rung.backbone)
        assert issubclass(kind, Backbone)
        config = kind.Config(**{**rung.settings, "hidden": UNITS[:depth], "readout_decay": leak})
        built: Network = kind(config).build(INPUTS, CLASSES, RandomStreams(seed).torch("initialisation"))
        return built.double()

    def learned(self, network: Network, batch: SequenceBatch, rule: str, seed: int) -> dict[str, Tensor]:
        """Return the rule's gradients by parameter name."""
        name, settings = RULES[rule]
        kind = self.registry.load("learner", name)
        assert issubclass(kind, Rule)
        made = kind(kind.Config(**settings))
        made.setup(network, RuleContext(RandomStreams(seed), network.classes, None))
        network.zero_grad()
        made.train_step(batch)
        return {
            key: value.grad.clone() for key, value in network.named_parameters() if value.grad is not None
        }

    def entries(self, rung: Rung, readout: str, depth: int) -> list[Entry]:
        """Return the entries of every rule and block of one network, means over the seeds."""
        leak = READOUTS[readout]
        sums: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
        for seed in SEEDS:
            network, batch = self.network(rung, leak, depth, seed), data(seed)
            exact = through_the_plain_loop(network, batch)
            for rule in RULES:
                found = self.learned(network, batch, rule, seed)
                for block in range(depth):
                    names = _of_block(network, rung, block)
                    sums.setdefault((block, rule), []).append(_compare(names, found, exact))
        return [
            Entry(
                rung,
                readout,
                depth,
                block,
                rule,
                cosine=sum(cosine for cosine, _, _ in values) / len(values),
                error=sum(error for _, error, _ in values) / len(values),
                worst=max(worst for _, _, worst in values),
                exact=exact_by_theory(rung, leak, depth, block, rule),
            )
            for (block, rule), values in sorted(sums.items(), key=lambda item: item[0][0])
        ]


def data(seed: int) -> SequenceBatch:
    """Return random spikes and targets."""
    generator = RandomStreams(seed).torch("data")
    spikes = (torch.rand(STEPS, BATCH, INPUTS, generator=generator) < 0.4).double()
    return SequenceBatch(spikes, torch.randint(CLASSES, (BATCH,), generator=generator))


def through_the_plain_loop(network: Network, batch: SequenceBatch) -> dict[str, Tensor]:
    """Return gradients by parameter name from autograd through `step` at every time step, no fused scan."""
    activity = batch.inputs
    for layer in network.layers:
        currents = layer.synapse(activity)
        state = layer.initial_state(BATCH, currents)
        _, activity = fold(layer.cell, layer.cell_parameters(), state, currents, layer.recurrent_weight())
    named = dict(network.named_parameters())
    gradients = torch.autograd.grad(sequence_loss(activity, batch, "step"), list(named.values()))
    return dict(zip(named, gradients, strict=True))


def _of_block(network: Network, rung: Rung, block: int) -> list[str]:
    """Return the names of a block's parameters."""
    first = block * rung.layers_a_block
    names: list[str] = []
    for index in range(first, first + rung.layers_a_block):
        layer: nn.Module = network.layers[index]
        names += [f"hidden.{index}.{name}" for name, _ in layer.named_parameters()]
    return names


def _compare(
    names: Sequence[str], found: dict[str, Tensor], exact: dict[str, Tensor]
) -> tuple[float, float, float]:
    """Return cosine and relative error over the synapses, and the largest relative error of any parameter."""
    weights = [name for name in names if name.endswith(".weight")]
    mine = torch.cat([found[name].flatten() for name in weights])
    true = torch.cat([exact[name].flatten() for name in weights])
    worst = max(float((found[name] - exact[name]).norm() / exact[name].norm()) for name in names)
    cosine = float(mine @ true / (mine.norm() * true.norm()))
    return cosine, float((mine - true).norm() / true.norm()), worst


def climb() -> list[Entry]:
    """Return all entries."""
    ladder = Ladder()
    return [
        entry
        for readout in READOUTS
        for rung in RUNGS
        for depth in (1, 2)
        for entry in ladder.entries(rung, readout, depth)
    ]


def text_of(entry: Entry) -> str:
    """Return the cell of the table: **exact**, or cosine and relative error to three decimals."""
    return "**exact**" if entry.exact else f"{entry.cosine:.3f} / {entry.error:.3f}"


def place_of(entry: Entry) -> str:
    """Return where the block stands: `1 of 2` is the lower of two."""
    return f"{entry.block + 1} of {entry.depth}"


_HEAD = f"""# The gradient ladder

How far each rule's gradients are from those of back-propagation through time.
`python -m benchmarks.gradient_ladder --write docs/gradient_ladder.md` writes this page, and
`tests/benchmarks/test_bench_gradient_ladder.py` reproduces it.

Random networks of one or two blocks ({UNITS[0]} units, then {UNITS[1]}), {INPUTS} inputs, {CLASSES} classes, \
{STEPS} steps, {BATCH} sequences, float64, {len(SEEDS)} seeds.
Reference: autograd through the plain loop over each cell's `step`, loss of every step. A pair of numbers is the cosine
and the relative error |g - g*| / |g*| of the gradients of a block's synapses, mean over the seeds. **exact**: theory
says equal, and the gradients of all parameters of the block, those of its cells included, agree to 1e-9 relative.
A block is a hidden layer; for `lru`, a linear recurrent layer and the static layer (gelu) that reads it. `1 of 2` is
the lower of two. Rules with traces ran in chunks of 7 steps.

- Below another layer with memory no online rule is exact: what the upper layer does with its input later is left out.
- `sltt` cuts every path through time: exact where there is none (`ssnu, decay 0`).
- `ostl` is exact for the topmost block without recurrent synapses, `ostl, full traces` with them too; a leaky readout
  is carried by the filter on the layer that it reads, which does not reach through a static layer (`lru`).
- `ottt` keeps the leak of the synapse's own units and nothing else: exact where that is all there is.
- `osttp` has a random signal, not a gradient: its cosine scatters about small values and its relative error tells a
  difference of scale before all else."""


def document(entries: Sequence[Entry]) -> str:
    """Return the page in Markdown."""
    lines = [_HEAD]
    for readout in READOUTS:
        lines += ["", f"## Readout {readout}", "", f"| cell | block | {' | '.join(RULES)} |"]
        lines.append("|---" * (2 + len(RULES)) + "|")
        rows: dict[tuple[str, str], list[str]] = {}
        for entry in entries:
            if entry.readout == readout:
                rows.setdefault((entry.rung.name, place_of(entry)), []).append(text_of(entry))
        lines += [f"| {cell} | {place} | {' | '.join(row)} |" for (cell, place), row in rows.items()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page, or write it to a file."""
    parse = command_line("gradient_ladder", __doc__)
    parse.add_argument(
        "--write", type=Path, metavar="FILE", help="write the page to FILE, docs/gradient_ladder.md say"
    )
    options = parse.parse_args(arguments)
    torch.set_num_threads(1)
    page = document(climb())
    if options.write is None:
        sys.stdout.write(page)
    else:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(page)


if __name__ == "__main__":
    main()
