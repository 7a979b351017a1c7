"""Plain text for the terminal: tables, sizes, errors. Rich would double the time of `workbench list`."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

import typer


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows in aligned columns; the last column wraps at `width` characters.

    width: None for the terminal's width, or no wrapping at all where the output is not a terminal.

    >>> print(table(("name", "kind"), [("osttp", "learner"), ("lif", "backbone")]))
    NAME   KIND
    osttp  learner
    lif    backbone
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    cells = [[text.upper() for text in header], *([" ".join(text.split()) for text in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header) - 1)]
    indent = sum(widths) + 2 * len(widths)
    lines: list[str] = []
    for row in cells:
        lead = "".join(text.ljust(size) + "  " for text, size in zip(row[:-1], widths, strict=True))
        # A last column of less than 20 characters would be a tower of single words.
        wrapped = textwrap.wrap(row[-1], max(width - indent, 20)) or [""]
        lines += [(lead + wrapped[0]).rstrip(), *(" " * indent + line for line in wrapped[1:])]
    return "\n".join(lines)


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
