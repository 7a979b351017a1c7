"""N-parity with growing N: is the number of ones among the last N bits odd?"""

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


class NParity(Scenario):
    """N-parity: at the end of a binary stream, is the number of ones among the last N odd? N grows by task.

    Khajehabdollahi et al. 2024 (arXiv 2309.12927); scenarios/memory_curriculum.py says what is theirs and what ours.
    Task k asks over N = start + k bits; streams have random lengths of N + 2 to 4 N + 1 steps, and only the answer at
    the last step is scored. The rate of ones is drawn for each stream, and one of the last N bits is flipped where
    the parity is not the label drawn, so that guessing gives one half.

    curriculum=single-head: only the task's own N is trained, on one readout that all N share; recurrent networks are
    known to forget the smaller N. curriculum=multi-head: all N so far are trained together, each on two outputs of
    its own, with fresh streams long enough for the largest.
    """

    Config = CurriculumConfig
    default_epochs = 10
    default_batch_size = 64

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks, drawn from the seed."""
        return build_curriculum("n-parity", self.config, ask_parity, fair=False, seed=context.seed)


def ask_parity(
    bits: Bits, lengths: Indices, reach: int, labels: Indices, generator: np.random.Generator
) -> None:
    """Flip one of the last `reach` bits, drawn at random, wherever their sum is not odd as `labels` says."""
    rows = np.arange(len(bits))
    last = lengths[:, None] - 1 - np.arange(reach)
    wrong = bits[rows[:, None], last].sum(axis=1) % 2 != labels
    place = lengths - 1 - generator.integers(0, reach, len(bits))
    bits[rows[wrong], place[wrong]] ^= 1
