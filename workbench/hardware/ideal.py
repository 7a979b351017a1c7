"""Ideal hardware: exact weights, exact updates; the reference for every device model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from workbench.plugin import Hardware, PluginConfig

if TYPE_CHECKING:
    from workbench.backbones.network import Network
    from workbench.randomness import RandomStreams


class IdealConfig(PluginConfig):
    """Ideal hardware has no settings."""


class Ideal(Hardware):
    """Floating-point weights read and written exactly."""

    Config: ClassVar[type[PluginConfig]] = IdealConfig

    def attach(self, network: Network, streams: RandomStreams) -> None:
        """Change nothing: this is the network as it was built."""
