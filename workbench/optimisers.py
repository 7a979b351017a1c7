"""The optimisers that turn gradients into steps, with weight decay decoupled from the gradient."""

from __future__ import annotations

from typing import Any

import torch

from workbench.plugin import LearnerConfig


class DecoupledSGD(torch.optim.SGD):
    """SGD whose weight decay stays out of the momentum v: theta <- (1 - lr decay) theta - lr v.

    Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 1 (SGDW).
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float, decay: float) -> None:
        super().__init__(groups, momentum=momentum)
        self.decay = decay

    def step(self, closure: Any = None) -> Any:
        """Decay the weights that have a gradient, then step."""
        if self.decay:
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        if parameter.grad is not None:
                            parameter.mul_(1.0 - group["lr"] * self.decay)
        return super().step(closure)


def build_optimiser(config: LearnerConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay is decoupled from the gradient for both kinds."""
    if config.optimiser == "adam":
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    return DecoupledSGD(groups, momentum=config.momentum, decay=config.weight_decay)
