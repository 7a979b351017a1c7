"""Plain text for the terminal: tables, sizes, errors. Rich would double the time of `workbench list`."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

import typer


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None, lead: int | None = None
) -> str:
    """Return rows in aligned columns; the last column wraps at `width` characters.

    width: None for the terminal's width, or no wrapping at all where the output is not a terminal.
    lead: characters at which each of the other columns wraps, between words; None for never.

    >>> print(table(("name", "kind"), [("osttp", "learner"), ("lif", "backbone")]))
    NAME   KIND
    osttp  learner
    lif    backbone
    >>> print(table(("type", "default"), [("one | two | three", "one")], lead=9))
    TYPE       DEFAULT
    one | two  one
    | three
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    cells = [[text.upper() for text in header], *([" ".join(text.split()) for text in row] for row in rows)]
    leads = [[_wrapped(text, lead) for text in row[:-1]] for row in cells]
    widths = [max(len(line) for row in leads for line in row[column]) for column in range(len(header) - 1)]
    indent = sum(widths) + 2 * len(widths)
    lines: list[str] = []
    for row, before in zip(cells, leads, strict=True):
        # A last column of less than 20 characters would be a tower of single words.
        last = textwrap.wrap(row[-1], max(width - indent, 20)) or [""]
        for parts in zip_longest(*before, last, fillvalue=""):
            aligned = (text.ljust(size) + "  " for text, size in zip(parts[:-1], widths, strict=True))
            lines.append(("".join(aligned) + parts[-1]).rstrip())
    return "\n".join(lines)


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def size(count: float) -> str:
    """Return a number of bytes for people, in powers of 1000.

    >>> size(999), size(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def complain(text: str, label: str = "error", colour: str = typer.colors.RED) -> None:
    """Write each line of a message to standard error, behind a label that is coloured on a terminal."""
    plain = bool(os.environ.get("NO_COLOR")) or not sys.stderr.isatty()
    for line in text.splitlines() or [""]:
        head = f"{label}:" if plain else typer.style(f"{label}:", fg=colour, bold=True)
        print(f"{head} {line}", file=sys.stderr)
