"""Docstrings as Markdown: words escaped, so that `y*_t` stays itself; what is indented becomes a block of code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"([\\*_<>\[\]|~#])")
"""What would start emphasis, a tag, a link, a cell of a table, a strike-through or a heading."""


def escaped(text: str) -> str:
    r"""Return text that Markdown shows letter by letter; what stands between backticks stays code.

    >>> print(escaped("L_t = B_l y*_t `[B, C]`"))
    L\_t = B\_l y\*\_t `[B, C]`
    """
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece[:1] == "`" else _MARKS.sub(r"\\\1", piece) for piece in pieces)


def prose(docstring: str) -> str:
    """Return a docstring, cleaned of its indentation, as Markdown; blocks indented by four columns are code.

    Raises ValueError for a docstring that holds a fence or a line that Markdown would take for something else.
    """
    blocks: list[list[str]] = []
    for line in docstring.splitlines():
        code = line.startswith("    ")
        if line.strip() and (not blocks or _is_code(blocks[-1]) != code):
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
    return "\n\n".join(_block(block) for block in blocks)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table of Markdown; its last `numbers` columns are flush right."""
    align = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, align, *rows))


def _is_code(block: Sequence[str]) -> bool:
    return block[0].startswith("    ")


def _block(lines: Sequence[str]) -> str:
    text = "\n".join(lines).strip("\n")
    if "```" in text:
        raise ValueError("a docstring must not hold a fence of its own")
    if _is_code(lines):
        cut = "\n".join(line[4:] for line in text.splitlines())
        return f"```text\n{cut}\n```"
    for line in text.splitlines():
        if re.match(r"\s*(\+ |=+$|-+$|\d+[.)] )", line):
            raise ValueError(f"Markdown would take this line for a list or a heading: {line!r}")
    return escaped(text)
