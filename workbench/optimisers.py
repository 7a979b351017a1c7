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
        """Decay the weights that have a gradient, then step.

        Without momentum a step is one addition: where every time step is an update, PyTorch's way to it takes longer.
        """
        plain = closure is None and not any(group["momentum"] for group in self.param_groups)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    if self.decay:
                        parameter.mul_(1.0 - group["lr"] * self.decay)
                    if plain:
                        parameter.add_(parameter.grad, alpha=-group["lr"])
        return None if plain else super().step(closure)


class FusedAdamW(torch.optim.AdamW):
    """AdamW in one pass over each parameter's memory, for contiguous real parameters.

    PyTorch's loop over whole tensors takes a square root, a quotient and three sums, each of them written out.
    """

    def __init__(self, groups: list[dict[str, Any]], decay: float) -> None:
        super().__init__(groups, weight_decay=decay, fused=True)

    def step(self, closure: Any = None) -> Any:
        """Step, with gradients laid out as the parameters are: the fused kernel reads memory and not strides."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not parameter.grad.is_contiguous():
                    parameter.grad = parameter.grad.contiguous()
        return super().step(closure)


def build_optimiser(config: LearnerConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay is decoupled from the gradient for both kinds."""
    if config.optimiser == "adam":
        if all(_fusible(parameter) for group in groups for parameter in group["params"]):
            return FusedAdamW(groups, config.weight_decay)
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    return DecoupledSGD(groups, momentum=config.momentum, decay=config.weight_decay)


def _fusible(parameter: torch.Tensor) -> bool:
    return (
        parameter.is_floating_point()
        and parameter.is_contiguous()
        and parameter.device.type in ("cpu", "cuda")
    )
