"""Import a heavy module at its first use, and many modules without looking for garbage among them.

`workbench list` and `workbench show` read plug-in classes without paying seconds for torch. A plug-in file that
wants to be listed quickly writes

    if TYPE_CHECKING:
        import torch
    else:
        torch = lazy_module("torch")

and uses `torch` inside functions as usual. Unlike `importlib.util.LazyLoader` nothing enters `sys.modules` early.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    """Stands for a module until an attribute is read; found attributes are kept, so later reads cost nothing."""

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), attribute)
        setattr(self, attribute, value)
        return value


def lazy_module(name: str) -> Any:
    """Return a stand-in that imports `name` when it is first used.

    >>> decimal = lazy_module("decimal")
    >>> decimal.Decimal("1.5") * 2
    Decimal('3.0')
    """
    return _LazyModule(name)


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let no garbage be looked for: importing thousands of modules makes none, and looking takes a tenth of the time.

    The collector is as before when the context is left.
    """
    resting = not gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not resting:
            gc.enable()
