"""Comparisons as tables that people read: in the terminal, in Markdown, in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from workbench.compare.comparison import Comparison
from workbench.compare.sheets import Sheet, sheets

WIDTH = 100
"""Columns of characters that a table takes at most where nothing says how many there are."""
_LONGEST_NAME = 36
_BETWEEN = 2
_LEADING = 2
"""Columns that are repeated when a table is split: the group's name and its seeds."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "–": "--",
    "µ": r"\textmu{}",
}


def terminal(comparisons: Sequence[Comparison], width: int = WIDTH) -> RenderableType:
    """Return tables for a console; one wider than `width` is split, the groups' names before each part."""
    parts: list[RenderableType] = []
    for sheet in _all_sheets(comparisons):
        parts += [Text(sheet.title, style="bold"), *map(_warning, sheet.warnings)]
        for columns in split(sheet, width):
            parts += [_rich_table(sheet, columns), Text()]
        parts += [Text(note, style="dim") for note in _marked(sheet, "*")]
        parts.append(Text())
    return Group(*parts[:-1])


def split(sheet: Sheet, width: int) -> list[list[int]]:
    """Return the columns of each part of a table, so that no part is wider than `width` unless one column is."""
    widths = [_width(sheet, column) for column in range(len(sheet.heads))]
    lead = min(widths[0], _LONGEST_NAME) + widths[1] + 2 * _BETWEEN
    parts: list[list[int]] = [[]]
    room = width - lead
    for column in range(_LEADING, len(sheet.heads)):
        if parts[-1] and room < widths[column] + _BETWEEN:
            parts.append([])
            room = width - lead
        parts[-1].append(column)
        room -= widths[column] + _BETWEEN
    return [[*range(_LEADING), *part] for part in parts]


def markdown(comparisons: Sequence[Comparison]) -> str:
    """Return tables in GitHub's Markdown; what is best is bold."""
    return "\n".join(line for sheet in _all_sheets(comparisons) for line in _markdown(sheet)).rstrip() + "\n"


def latex(comparisons: Sequence[Comparison]) -> str:
    r"""Return one `table` for each table, for the packages booktabs and textcomp; what is best is bold."""
    head = r"% needs \usepackage{booktabs} and \usepackage{textcomp}"
    return "\n\n".join([head, *(_latex(sheet) for sheet in _all_sheets(comparisons))]) + "\n"


def escaped_latex(text: str) -> str:
    r"""Return text with what LaTeX would take for commands escaped; a minus between digits is one.

    >>> escaped_latex("50 % of x_1 ± 2"), escaped_latex("-3.1 [-4, -2]")
    ('50 \\% of x\\_1 $\\pm$ 2', '$-$3.1 [$-$4, $-$2]')
    """
    found = "".join(_LATEX.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.])([-+])(?=\d)", r"$\1$", found)


def escaped_markdown(text: str) -> str:
    r"""Return text that Markdown shows as it is, within a table too.

    >>> escaped_markdown("a|b, hidden=[16], x_1*")
    'a\\|b, hidden=\\[16\\], x\\_1\\*'
    """
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", text)


def _all_sheets(comparisons: Sequence[Comparison]) -> Iterator[Sheet]:
    for comparison in comparisons:
        yield from sheets(comparison)


def _marked(sheet: Sheet, mark: str) -> list[str]:
    """Return the footnotes, the one about marked cells with the mark."""
    return [
        f"{mark} {note}" if note.startswith("Best of") else note.replace("marked:", f"{mark}:")
        for note in sheet.footnotes
    ]


def _warning(text: str) -> RenderableType:
    return Panel(Text(text, style="bold yellow"), border_style="yellow")


def _rich_table(sheet: Sheet, columns: Sequence[int]) -> Table:
    table = Table(
        box=SIMPLE_HEAD, show_edge=False, header_style="none", pad_edge=False, collapse_padding=True
    )
    for column in columns:
        head = "\n".join(sheet.heads[column]).rstrip()
        if column == 0:
            name = min(_width(sheet, 0), _LONGEST_NAME)
            table.add_column(head, min_width=name, max_width=name, overflow="fold")
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for row, cells in enumerate(sheet.rows):
        table.add_row(*(_rich_cell(sheet, row, column, cells[column]) for column in columns))
    return table


def _rich_cell(sheet: Sheet, row: int, column: int, cell: str) -> Text:
    if (row, column) in sheet.bold:
        return Text(f"{cell}*", style="bold green")
    # The mark's place stays free, so that digits stand below each other.
    return Text(f"{cell} " if any(place == column for _, place in sheet.bold) else cell)


def _width(sheet: Sheet, column: int) -> int:
    marked = any(place == column for _, place in sheet.bold)
    texts = [*sheet.heads[column], *(row[column] for row in sheet.rows)]
    return max(cell_len(text) for text in texts) + (1 if marked else 0)


def _markdown(sheet: Sheet) -> Iterator[str]:
    yield f"### {escaped_markdown(sheet.title)}"
    yield ""
    for warning in sheet.warnings:
        yield f"> **{escaped_markdown(warning)}**"
        yield ""
    heads = [f"{title} [{unit}]" if unit else title or "group" for title, unit in sheet.heads]
    yield "| " + " | ".join(escaped_markdown(head) for head in heads) + " |"
    yield "|" + "|".join(" --- " if column == 0 else " ---: " for column in range(len(heads))) + "|"
    for row, cells in enumerate(sheet.rows):
        texts = [escaped_markdown(cell) for cell in cells]
        texts = [f"**{text}**" if (row, column) in sheet.bold else text for column, text in enumerate(texts)]
        yield "| " + " | ".join(texts) + " |"
    yield ""
    for note in _marked(sheet, "**Bold**"):
        yield f"- {note.replace('Bold** Best', 'Bold**: best')}"
    yield ""


def _latex(sheet: Sheet) -> str:
    heads = [f"{title} [{unit}]" if unit else title for title, unit in sheet.heads]
    lines = [r"\begin{table}", r"\centering"]
    caption = [f"{sheet.title}.", *sheet.warnings]
    lines += [rf"\caption{{{escaped_latex(' '.join(caption))}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule"]
    lines += [" & ".join(map(escaped_latex, heads)) + r" \\", r"\midrule"]
    for row, cells in enumerate(sheet.rows):
        texts = [escaped_latex(cell) for cell in cells]
        texts = [
            rf"\textbf{{{text}}}" if (row, column) in sheet.bold else text
            for column, text in enumerate(texts)
        ]
        lines.append(" & ".join(texts) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    notes = [escaped_latex(note) for note in _marked(sheet, "Bold:")]
    lines += [
        r"{\footnotesize " + " ".join(notes).replace("Bold: Best", "Bold: best") + r"\par}",
        r"\end{table}",
    ]
    return "\n".join(lines)
