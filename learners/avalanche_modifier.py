"""The seam to Avalanche's strategy plug-ins: each becomes a modifier, `learner=osttp+replay`.

A plug-in that adds to `strategy.loss` works with local rules too: the trainer lets the rule write its gradients, then
runs the penalty's own backward pass, and both add up in `.grad`. A plug-in that changes the gradients of a batch does
so after the native modifiers, and cannot work with a rule that updates within the sequence.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workbench.errors import PluginError
from workbench.plugin import Modifier

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.backbones.network import Network


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


def tables_state(plugin: Any, tables: Iterable[str]) -> dict[str, Tensor]:
    """Return Avalanche's tables of numbers by parameter as tensors, `table/parameter`; a table may not be there yet."""
    return {
        f"{table}/{name}": entry.data.clone()
        for table in tables
        for name, entry in (getattr(plugin, table) or {}).items()
    }


def load_tables(plugin: Any, state: Mapping[str, Tensor], tables: Iterable[str]) -> None:
    """Restore what `tables_state` returned."""
    from avalanche.training.utils import ParamData

    for table in tables:
        names = {key.split("/", 1)[1]: value for key, value in state.items() if key.split("/", 1)[0] == table}
        if names:
            found = {
                name: ParamData(name, value.shape, init_tensor=value.clone(), device=value.device)
                for name, value in names.items()
            }
            setattr(plugin, table, found)


def refuse_updates_within(trainer: Any, name: str) -> None:
    """Raise PluginError if the rule has applied this batch's gradients before the plug-in could change them."""
    if trainer._updated_within:
        raise PluginError(
            f"{name} changes the gradient of a whole batch, and this rule updates the weights within the sequence; "
            "let it update once a sequence (learner.update=sequence), or take replay, ewc or si"
        )


def refuse_prediction(trainer: Any, name: str) -> None:
    """Raise PluginError if the scenario has a target for every step instead of a class for each sequence."""
    if trainer.stream.predicts_steps:
        raise PluginError(
            f"{name} works with one class a sequence, and this scenario has a target for every step; "
            "take replay, si, mas, agem or gem"
        )


@contextmanager
def unheard(network: Network) -> Iterator[None]:
    """Let no listener of the layers hear what runs in this context: passes that are not part of the training."""
    kept = [layer.listeners for layer in network.layers]
    for layer in network.layers:
        layer.listeners = []
    try:
        yield
    finally:
        for layer, listeners in zip(network.layers, kept, strict=True):
            layer.listeners = listeners
