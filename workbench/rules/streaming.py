"""Run an online pass as a rule's settings ask: gradients once a sequence, or an update at every step."""

from __future__ import annotations

from collections.abc import Callable

from workbench.cost.memory import chunk_length
from workbench.errors import PluginError
from workbench.plugin import MemoryCost, Rule, SequenceBatch, StepResult
from workbench.rules.online import OnlinePass


def stream(
    rule: Rule, batch: SequenceBatch, online: OnlinePass, traces: Callable[[], int] | None = None
) -> tuple[StepResult, MemoryCost]:
    """Learn from `batch`; returns loss and scores without a graph, and what the largest chunk held, bytes.

    traces: tells the bytes of traces that a chunk has to carry, by which its length is chosen (see `chunk_length`).
    Raises PluginError if the rule is to update at every step and its context offers no way to.
    """
    config = rule.config
    update = None
    if config.update == "step":
        update = rule.context.update
        if update is None:
            raise PluginError("learner.update=step needs a trainer that can update within a sequence")
    steps, size = batch.inputs.shape[:2]
    result = online.learn(batch, chunk_length(rule.network, config, steps, size, traces), update)
    return result, online.peak
