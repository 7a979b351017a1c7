"""The setting `recurrent` of backbones with a recurrent synapse in some of their hidden layers."""

from __future__ import annotations

from collections.abc import Sequence


def recurrent_by_layer(recurrent: bool | Sequence[bool], layers: int) -> tuple[bool, ...]:
    """Return whether each of `layers` hidden layers is recurrent; ValueError if there is not one value for each.

    >>> recurrent_by_layer(True, 2)
    (True, True)
    """
    if isinstance(recurrent, bool):
        return (recurrent,) * layers
    if len(recurrent) != layers:
        raise ValueError(
            f"recurrent has {len(recurrent)} values for {layers} hidden layers; "
            "give one value for all, or one a layer"
        )
    return tuple(recurrent)
