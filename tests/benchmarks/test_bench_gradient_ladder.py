"""The gradient ladder: exact where theory says so and nowhere else, and the committed table reproduced."""

import re
from pathlib import Path

import pytest

from benchmarks.gradient_ladder import (
    EXACT,
    READOUTS,
    RULES,
    RUNGS,
    Entry,
    Ladder,
    document,
    main,
    place_of,
    text_of,
)

PAGE = Path(__file__).parents[2] / "docs" / "gradient_ladder.md"


def committed() -> dict[tuple[str, str, str], list[str]]:
    """Return the rows of the committed table by readout, cell and block."""
    rows, readout = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## Readout "):
            readout = line.removeprefix("## Readout ")
        elif line.startswith("| ") and not line.startswith("| cell"):
            cell, place, *texts = (part.strip() for part in line.strip("|").split("|"))
            rows[readout, cell, place] = texts
    return rows


def numbers(text: str) -> list[float]:
    return [float(part) for part in re.findall(r"-?\d+\.\d+", text)]


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_rules_are_exact_where_theory_says_so_and_the_table_is_reproduced(rung):
    ladder, table = Ladder(), committed()
    for readout in READOUTS:
        for depth in (1, 2):
            for entry in ladder.entries(rung, readout, depth):
                where = f"{entry.rule} on {rung.name}, block {place_of(entry)}, readout {readout}"
                assert (entry.worst < EXACT) == entry.exact, f"{where}: {entry.worst}"
                printed = table[readout, rung.name, place_of(entry)][list(RULES).index(entry.rule)]
                assert ("exact" in printed) == entry.exact, where
                assert numbers(printed) == pytest.approx(numbers(text_of(entry)), abs=2e-3), where


def test_the_page_holds_every_row_once_and_says_so_in_its_columns():
    rows = committed()
    blocks = ("1 of 1", "1 of 2", "2 of 2")
    assert set(rows) == {
        (readout, rung.name, block) for readout in READOUTS for rung in RUNGS for block in blocks
    }
    assert all(len(texts) == len(RULES) for texts in rows.values())
    assert PAGE.read_text().count(f"| cell | block | {' | '.join(RULES)} |") == len(READOUTS)


def test_document_prints_pairs_of_numbers_and_exact():
    entries = [
        Entry(RUNGS[0], "without memory", 1, 0, rule, 0.98765, 0.12345, 0.2, exact=rule == "bptt")
        for rule in RULES
    ]
    row = f"| {RUNGS[0].name} | 1 of 1 | **exact** | 0.988 / 0.123 |"
    assert row in document(entries)


def test_help_tells_what_is_compared(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "gradient ladder" in capsys.readouterr().out
