"""Settings that rules share, and nothing heavy: `workbench list` reads this."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workbench.plugin import LearnerConfig


class OnlineConfig(LearnerConfig):
    """Settings of a rule that learns while a sequence streams through the network."""

    update: Literal["sequence", "step"] = Field(
        "sequence", description="apply gradients once a sequence, or at every time step (fully online)"
    )
    chunk: int = Field(
        25, ge=1, description="steps handled at once; changes speed and memory, not the gradient"
    )

    @property
    def steps_at_once(self) -> int:
        """Steps handled at once: one if weights change at every step."""
        return 1 if self.update == "step" else self.chunk
