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
    chunk: int | None = Field(
        None,
        ge=1,
        description="steps handled at once, by default enough to hold as much as the traces they spare moving; "
        "changes speed and memory, not the gradient",
    )
