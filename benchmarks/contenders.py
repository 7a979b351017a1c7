"""Everyone who takes the same training step: our learners, the hand-written loops, the peers, from the same weights.

Our learners are given the input as the workbench's loader delivers it, uint8 `[T, B, N]`; the loops and the peers are
given the same numbers as floats, converted beforehand.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from benchmarks.naive_traces import Form, TraceStep
from benchmarks.options import LearnerChoice
from benchmarks.peers import PEERS
from benchmarks.plain_loop import CellLoop, HoistedLoop, PlainLoop, PlainStep
from benchmarks.workload import LearnerStep, Sizes, build_network, configured, spikes
from workbench.config import ExperimentConfig
from workbench.errors import ConfigurationError

LOOP, HOISTED = "torch-loop", "hoisted-loop"

BACKBONES: dict[str, dict[str, str]] = {
    # What `PlainLoop` computes. With this gain about 2 % of the units fire in a step, as in the input; random input
    # leaves smaller weights silent.
    "lif": {
        "backbone.decay": "0.95",
        "backbone.threshold": "1",
        "backbone.reset": "soft",
        "backbone.reset_gradient": "cut",
        "backbone.surrogate": "fast-sigmoid",
        "backbone.sharpness": "25",
        "backbone.readout_decay": "0.95",
        "backbone.readout_reads": "last",
        "backbone.bias": "false",
        "backbone.gain": "2",
    },
    "snu": {"backbone.gain": "2", "backbone.readout_decay": "0.95"},
    "ssnu": {"backbone.readout_decay": "0.95"},
    "lru": {"backbone.readout_decay": "0.95"},
}
"""Settings of each backbone besides its defaults."""

TOLERANCE = 1e-4
BPTT = LearnerChoice("bptt", "bptt")


class Contenders:
    """Training steps of one workload: same weights, same batch. Raises ConfigurationError for `lru` with recurrence."""

    def __init__(self, sizes: Sizes, backbone: str = "lif", recurrent: bool = False) -> None:
        self.sizes, self.backbone, self.recurrent = sizes, backbone, recurrent
        self.inputs, self.targets = spikes(sizes)
        self.network = build_network(self.config(BPTT), sizes.inputs, sizes.classes)

    @cached_property
    def floats(self) -> Tensor:
        """The inputs as numbers rather than counts, `[T, B, N]` float32."""
        return self.inputs.float()

    def config(self, choice: LearnerChoice) -> ExperimentConfig:
        """Return the configuration of a learner; its settings outdo the workload's. Raises ConfigurationError."""
        backbone = {"backbone": self.backbone, **BACKBONES[self.backbone]}
        if self.backbone != "lru":
            backbone["backbone.recurrent"] = str(self.recurrent).lower()
        elif self.recurrent:
            raise ConfigurationError(
                "--recurrent: lru has no recurrent synapses; its units are recurrent themselves"
            )
        # bptt takes the loss that the loop takes; other rules have one of their own.
        own = {"learner.loss": "sum"} if choice.rule == "bptt" else {}
        return configured(
            choice.rule, self.sizes.hidden, {**backbone, **own, **choice.overrides(self.sizes.steps)}
        )

    def learner(self, choice: LearnerChoice) -> LearnerStep:
        """Return a training step of one of our rules. Raises ConfigurationError."""
        return LearnerStep(self.config(choice), self.sizes, self.inputs, self.targets)

    def loop(self) -> PlainStep:
        """Return a training step of the hand-written loop."""
        module = PlainLoop(self.network) if self.backbone == "lif" else CellLoop(self.network)
        return PlainStep(module, self.floats, self.targets)

    def hoisted_loop(self) -> PlainStep:
        """Return a training step of the hand-written loop with its input products outside."""
        return PlainStep(HoistedLoop(self.network), self.floats, self.targets)

    def peer(self, name: str) -> PlainStep:
        """Return a training step of a neighbouring library; feed-forward or recurrent `lif` alone."""
        return PlainStep(PEERS[name].build(self.network), self.floats, self.targets)

    def naive(self, form: Form) -> TraceStep:
        """Return a training step of OSTTP with its traces renewed at every step."""
        return TraceStep(self.learner(LearnerChoice("osttp", "osttp")), self.floats, form)

    def first_losses(self) -> tuple[list[float], list[float]]:
        """Return the first three losses of the loop and of bptt. Raises AssertionError if they differ."""
        loop, ours = self.loop(), self.learner(BPTT)
        pairs = [(loop(), ours()) for _ in range(3)]
        worst = max(abs(a - b) for a, b in pairs)
        if not worst < TOLERANCE:
            raise AssertionError(
                f"loop and bptt do not compute the same: losses {pairs} differ by {worst:.2g}"
            )
        return [a for a, _ in pairs], [b for _, b in pairs]
