"""What people read: units, digits, widths, marks, and text that Markdown and LaTeX take for text."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from fixtures.compared import write_run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from workbench.compare.comparison import Comparison, Wanted, compare
from workbench.compare.sheets import number, sheets, unit_of
from workbench.compare.tables import escaped_latex, escaped_markdown, latex, markdown, split, terminal

COSTS = {
    "energy": {"forward": 1.2e-7, "learning": 3.4e-7, "total": 4.6e-7},
    "operations": {"forward": {"mac": 1e6, "ac": 2e6}, "learning": {"mac": 3e6, "ac": 0}, "total": 6e6},
    "writes": {
        "updates": 90,
        "parameters": 500,
        "total": 45_000,
        "per_sample": 1125.0,
        "per_parameter": 90.0,
    },
}
NOISE = [0.011, -0.007, 0.004, -0.013, 0.002]


def made(folder: Path, wanted: Wanted | None = None, seeds: int = 5, **changed: object) -> list[Comparison]:
    for learner, rate in (("bptt", 0.8), ("sltt", 0.6), ("osttp", 0.4)):
        for seed in range(seeds):
            acc = rate + NOISE[(seed + ord(learner[0])) % 5]
            write_run(folder / f"{learner}-{seed}", learner, seed, acc=acc, **COSTS, **changed)
    return compare([folder], wanted)


def shown(comparisons: list[Comparison], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, legacy_windows=False)
    console.print(terminal(comparisons, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(label))
    return re.split(r"\s{2,}", line.strip())


def test_the_headline_fits_a_hundred_columns_and_marks_the_best(tmp_path: Path) -> None:
    text = shown(made(tmp_path))
    assert max(map(len, text.splitlines())) <= 100
    assert row(text, "bptt")[:3] == ["bptt", "5", "79.9 ± 1.2*"]
    assert row(text, "sltt")[2] == "59.9 ± 1.2"
    assert "6.00" in row(text, "bptt")
    assert "460" in row(text, "bptt")
    for said in ("Student's t", "* Best of its column", "Holm", "paired studentised bootstrap"):
        assert said in text


def test_everything_fits_too_in_several_tables_with_names_before_each(tmp_path: Path) -> None:
    text = shown(made(tmp_path, Wanted(("all",), reference="bptt")))
    assert max(map(len, text.splitlines())) <= 100
    assert len(re.findall(r"^osttp", text, re.MULTILINE)) > 4
    assert len(re.findall(r"(?<!M)AC, learning", text)) == 2


def test_long_names_are_folded_not_cut(tmp_path: Path) -> None:
    for index, width in enumerate(([16] * 12, [32] * 12)):
        write_run(tmp_path / str(index), config={"backbone": {"hidden": width}})
    text = shown(compare([tmp_path]))
    assert max(map(len, text.splitlines())) <= 100
    joined = "".join(line[:36].strip() for line in text.splitlines()).replace(" ", "")
    assert "bptt,hidden=[" + ",".join(["16"] * 12) + "]" in joined


def test_absent_values_are_dashes_and_zeros_are_zeros(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "bptt", fwt=None, bwt=0.0)
    write_run(tmp_path / "b", "sltt", fwt=0.1)
    text = shown(compare([tmp_path], Wanted(("fwt", "bwt", "memory_replay", "energy"))))
    assert row(text, "bptt") == ["bptt", "1", "–", "0.0", "0", "–"]
    assert row(text, "sltt") == ["sltt", "1", "10.0", "-40.0", "0", "–"]
    assert "A single seed has no interval" in text
    assert "±" not in text.replace("± half", "")


def test_a_value_that_some_seeds_lack_says_how_many_have_it(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=0, fwt=None)
    write_run(tmp_path / "b", seed=1, fwt=0.1)
    text = shown(compare([tmp_path], Wanted(("fwt",))))
    assert row(text, "bptt") == ["bptt", "2", "10.0 (1)"]
    assert "(n): only n of the seeds have this value." in text


def test_differences_show_their_sign_and_interval(tmp_path: Path) -> None:
    text = shown(made(tmp_path, Wanted(("acc", "memory"), reference="bptt")))
    after = text[text.index("difference to bptt") :]
    assert re.fullmatch(r"-20\.0 \[-\d+\.\d, -\d+\.\d\]\*", row(after, "sltt")[2])
    assert row(after, "sltt")[3] == "0"
    assert "bptt  " not in after


def test_synthetic_and_mixed_data_are_said_in_every_format(tmp_path: Path) -> None:
    data = {"name": "beeps", "synthetic": True, "digest": "b", "notice": "Made by a machine."}
    found = made(tmp_path, dataset=data)
    assert "SYNTHETIC DATA (beeps)" in shown(found)
    assert "> **SYNTHETIC DATA (beeps): Made by a machine.**" in markdown(found)
    assert r"SYNTHETIC DATA (beeps): Made by a machine." in latex(found)


def test_markdown_is_a_table_with_as_many_cells_in_each_row(tmp_path: Path) -> None:
    text = markdown(made(tmp_path, Wanted(("acc", "energy"))))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in lines] == [5] * 5
    assert lines[0] == r"| group | seeds | ACC \[%\] | energy \[nJ\] |"
    assert lines[2].startswith("| bptt | 5 | **79.9 ± 1.2** |")
    assert "- **Bold**: best of its column" in text


def test_latex_is_a_booktabs_table(tmp_path: Path) -> None:
    text = latex(made(tmp_path, Wanted(("acc", "bwt"))))
    assert r"bptt & 5 & \textbf{79.9 $\pm$ 1.2} & $-$40.0 \\" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrr}"):
        assert text.count(rule) == 1
    assert text.isascii()
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"(?<!\\)%", text)) == 1


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_latex_escapes_leave_no_command_of_the_text(text: str) -> None:
    found = escaped_latex(text)
    bare = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater)\{\}|\\[&%$#_{}]", "", found
    )
    bare = re.sub(r"\$[-+]\$", "", bare)
    assert not set(bare) & set("\\&%$#_{}~^<>")


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_markdown_escapes_can_be_undone_and_leave_no_bare_bar(text: str) -> None:
    found = escaped_markdown(text)
    assert re.sub(r"\\([\\|*_`<\[\]])", r"\1", found) == text
    assert re.search(r"(?<!\\)(\\\\)*\|", found) is None


@pytest.mark.parametrize("width", [40, 60, 100, 300])
def test_a_split_table_has_each_column_once(tmp_path: Path, width: int) -> None:
    (sheet,) = sheets(made(tmp_path, Wanted(("all",)))[0])
    parts = split(sheet, width)
    assert all(part[:2] == [0, 1] and len(part) > 2 for part in parts)
    assert [column for part in parts for column in part[2:]] == list(range(2, len(sheet.heads)))


@pytest.mark.parametrize(
    ("kind", "values", "unit"),
    [
        ("bytes", [500.0], "B"),
        ("bytes", [150_000.0, 2e6, 160_000.0], "KiB"),
        ("joules", [2e-12], "pJ"),
        ("joules", [5e-15], "pJ"),
        ("joules", [3.0], "J"),
        ("seconds", [0.3], "ms"),
        ("seconds", [90.0], "s"),
        ("seconds", [1200.0], "min"),
        ("count", [9_999.0], ""),
        ("count", [12_000.0], "thousand"),
        ("percent", [], "%"),
    ],
)
def test_a_column_has_one_unit(kind: str, values: list[float], unit: str) -> None:
    assert unit_of(kind, values)[1] == unit  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [(1234.5, 0.0, "1,234"), (0.0, 0.0, "0"), (0.5, 0.0004, "0.5000"), (9.0, 2.0, "9.00")],
)
def test_numbers_have_the_digits_they_deserve(value: float, spread: float, text: str) -> None:
    assert number(value, "number", spread=spread) == text


def test_small_negative_numbers_are_no_negative_zero() -> None:
    assert number(-0.01, "percent") == "0.0"
    assert number(-0.01, "percent", sign=True) == "0.0"
    assert number(0.26, "points", sign=True) == "+0.3"
