"""Errors meant for people: what is wrong, where, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkbenchError(Exception):
    """A fault the user can mend. The command line prints its text without a traceback and exits with 2."""


class ConfigurationError(WorkbenchError):
    """A key, a value or a plug-in name that cannot be used; the text names the key and what is allowed."""


class PluginError(WorkbenchError):
    """A plug-in that is unknown, does not load, or breaks its contract."""


class DataError(WorkbenchError):
    """A data set that is missing, damaged, or not of the expected form; the text names the file."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None when nothing is near.

    >>> nearest("ostpt", ["bptt", "osttp", "replay"])
    'osttp'
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None
