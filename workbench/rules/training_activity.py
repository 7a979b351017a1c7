"""What passes through layers while a rule trains, and nothing else: for modifiers that keep statistics of activity."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workbench.backbones.network import Activity, Layer

Hear = Callable[[int, Activity], None]
"""Called with a layer's number and a stretch of its training steps."""


class TrainingActivity:
    """Listens to layers until each has run the steps of the present batch, once.

    A layer does not know what it runs for. A rule runs every step of a training batch once, in one stretch or in
    chunks, before anything else can run: so the first T steps after `begin` are those, and whatever follows (an
    evaluation, a penalty's own pass) is not heard.
    """

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._left: dict[Layer, int] = {}

    def begin(self, layers: Sequence[Layer], steps: int) -> None:
        """Listen to the next `steps` steps of each layer."""
        self.end()
        self._left = dict.fromkeys(layers, steps)
        for layer in layers:
            layer.listeners.append(self._listen)

    @property
    def complete(self) -> bool:
        """Whether all steps of the batch were heard."""
        return not any(self._left.values())

    def end(self) -> None:
        """Stop listening."""
        for layer in self._left:
            if self._listen in layer.listeners:
                layer.listeners.remove(self._listen)
        self._left = {}

    def _listen(self, layer: Layer, activity: Activity) -> None:
        if self._left.get(layer, 0) > 0:
            self._left[layer] -= activity.outputs.shape[0]
            self._hear(list(self._left).index(layer), activity)
