"""N-delayed match-to-sample with growing N: is the last bit the one N - 1 steps before?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scenarios.memory_curriculum import CurriculumConfig, build_curriculum
from workbench.lazy import lazy_module
from workbench.plugin import Scenario
from workbench.tasks import ScenarioContext, TaskStream

if TYPE_CHECKING:
    import numpy as np

    from scenarios.memory_curriculum import Bits, Indices
else:
    np = lazy_module("numpy")


class NDMS(Scenario):
    """N-delayed match-to-sample: is the last bit of a binary stream the N-th from its end? N grows by task.

    Khajehabdollahi et al. 2024 (arXiv 2309.12927); scenarios/memory_curriculum.py says what is theirs and what ours.
    Task k compares x[T-1] with x[T-N], N = start + k (counted from the end as in their code: N = 2 are neighbours);
    streams of fair bits have random lengths of N + 2 to 4 N + 1 steps, and only the answer at the last step is scored.

    curriculum=single-head: only the task's own N is trained, on one readout that all N share; recurrent networks are
    known to forget the smaller N. curriculum=multi-head: all N so far are trained together, each on two outputs of
    its own, with fresh streams long enough for the largest. A spiking network sees no silent steps apart from the
    bit 0 with encoding=binary; encoding=one-hot gives both symbols a channel.
    """

    Config = CurriculumConfig
    default_epochs = 10
    default_batch_size = 64

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks, drawn from the seed."""
        return build_curriculum("n-dms", self.config, ask_match, fair=True, seed=context.seed)


def ask_match(
    bits: Bits, lengths: Indices, reach: int, labels: Indices, generator: np.random.Generator
) -> None:
    """Set the `reach`-th bit from the end to the last bit where `labels` is 1, to the other where it is 0."""
    rows = np.arange(len(bits))
    bits[rows, lengths - reach] = bits[rows, lengths - 1] ^ (1 - labels).astype(np.uint8)
