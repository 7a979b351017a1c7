"""Annealed gradient noise (Neelakantan et al. 2015, arXiv 1511.06807).

    g_t <- g_t + N(0, sigma_t^2)        sigma_t^2 = eta / (1 + t)^gamma

for every entry of every gradient g, but of classes that do not compete in the batch; t counts updates from 0. Form,
gamma = 0.55 and eta in {0.01, 0.3, 1.0} are quoted from memory of the paper and were not checked against it. Ours: t
starts again with every task by default (`restart=task`), since a stream of tasks has no end towards which noise could
fade; a rule that updates within a sequence is disturbed at each of its updates. The noise does not depend on the size
of the gradient: with Adam, which divides by that size, a small eta is a lot of noise for weights with small gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workbench.lazy import lazy_module
from workbench.plugin import Modifier, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from workbench.plugin import Rule, SequenceBatch
else:
    torch = lazy_module("torch")


class GradientNoiseConfig(PluginConfig):
    """Settings of annealed gradient noise."""

    eta: float = Field(0.01, ge=0, description="variance of the noise at the first update")
    gamma: float = Field(0.55, ge=0, description="exponent of its decay; 0: it does not fade")
    restart: Literal["task", "never"] = Field(
        "task", description="count updates anew in every task, or over the whole stream"
    )


class GradientNoise(Modifier):
    """Annealed Gaussian noise on every gradient, whatever rule it comes from (Neelakantan et al. 2015)."""

    Config: ClassVar[type[PluginConfig]] = GradientNoiseConfig
    config: GradientNoiseConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._drawn = 0
        """Updates so far, over all tasks: names the random stream."""
        self._first = 0
        """Value of `_drawn` at which t is 0."""

    def before_task(self, rule: Rule, task: int) -> None:
        """Begin to count anew (restart=task)."""
        if self.config.restart == "task":
            self._first = self._drawn

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Add noise to every gradient there is."""
        deviation = self.deviation(self._drawn - self._first)
        if deviation > 0:
            generator = rule.context.streams.torch(f"gradient-noise/{self._drawn}")
            readout = {id(parameter) for parameter in rule.network.readout.parameters()}
            for parameter in rule.network.parameters():
                if parameter.grad is not None:
                    noise = torch.randn(parameter.shape, generator=generator).to(parameter.grad)
                    if batch.class_mask is not None and id(parameter) in readout:
                        # Other tasks' classes get no gradient, hence no noise: it would wash them out.
                        noise[~batch.class_mask.any(0).to(noise.device)] = 0.0
                    parameter.grad.add_(noise, alpha=deviation)
        self._drawn += 1

    def deviation(self, update: int) -> float:
        """Return sigma_t of update t.

        >>> round(GradientNoise(GradientNoiseConfig(eta=0.04, gamma=1.0)).deviation(3), 3)
        0.1
        """
        deviation: float = (self.config.eta / (1.0 + update) ** self.config.gamma) ** 0.5
        return deviation

    def metrics(self) -> dict[str, float]:
        """Return the deviation of the next update's noise."""
        return {"gradient_noise/deviation": self.deviation(self._drawn - self._first)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the counters."""
        return {"counters": torch.tensor([self._drawn, self._first], dtype=torch.int64)}

    def load_state_dict(self, state: dict[str, Tensor], experiences: Sequence[Any]) -> None:
        """Restore the counters."""
        self._drawn, self._first = state["counters"].tolist()
