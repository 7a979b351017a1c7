"""Run an online pass as a rule's settings ask: gradients once a sequence, or an update at every step."""

from __future__ import annotations

from workbench.errors import PluginError
from workbench.plugin import MemoryCost, Rule, SequenceBatch, StepResult
from workbench.rules.online import OnlinePass


def stream(rule: Rule, batch: SequenceBatch, online: OnlinePass) -> tuple[StepResult, MemoryCost]:
    """Learn from `batch`; returns loss and scores without a graph, and what the largest chunk held, bytes.

    Raises PluginError if the rule is to update at every step and its context offers no way to.
    """
    config = rule.config
    update = None
    if config.update == "step":
        update = rule.context.update
        if update is None:
            raise PluginError("learner.update=step needs a trainer that can update within a sequence")
    result = online.learn(batch, config.steps_at_once, update)
    return result, online.peak
