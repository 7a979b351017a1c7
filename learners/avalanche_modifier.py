"""The seam to Avalanche's strategy plug-ins: each becomes a modifier, `learner=osttp+replay`.

A plug-in that adds to `strategy.loss` works with local rules too: the trainer lets the rule write its gradients, then
runs the penalty's own backward pass, and both add up in `.grad`.
"""

from __future__ import annotations

import warnings
from typing import Any

from workbench.plugin import Modifier


class AvalancheModifier(Modifier):
    """A modifier whose work is done by one Avalanche strategy plug-in, made once by `make`."""

    _plugin: Any = None

    def make(self) -> Any:
        """Return a new Avalanche plug-in with this modifier's settings."""
        raise NotImplementedError

    def avalanche_plugin(self) -> Any:
        """Return the plug-in, the same one at every call."""
        if self._plugin is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._plugin = self.make()
        return self._plugin
