"""Every notebook runs from top to bottom on a small budget, is stored as a real run left it, and keeps its word."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS_PER_CELL = 400
BUDGETS = {
    "02_your_own_learner": "EPOCHS = 2",
    "03_forgetting_and_memory": "LEARNERS = ['bptt', 'osttp+replay']\nSEEDS = 2\nEPOCHS = 1",
    "04_on_a_chip": "LEARNERS = ['osttp', 'sltt']\nDEVICES = ['pcm', 'quantised']\nSEEDS = 1\nEPOCHS = 1\nSTEPS = 4\n"
    "BITS = [3, 8]",
}
"""What takes the place of a notebook's cell of parameters, so that its run takes less than a minute."""
LARGEST = 400_000
"""Bytes of a stored notebook, its pictures included."""


def run(path: Path, folder: Path) -> Any:
    """Return a notebook with the outputs of a run in an empty folder. Skips without the extra `notebook`."""
    with warnings.catch_warnings():
        # Jupyter's packages deprecate parts of one another.
        warnings.simplefilter("ignore")
        nbformat = pytest.importorskip("nbformat")
        nbclient = pytest.importorskip("nbclient")
        pytest.importorskip("ipykernel")
        with pytest.MonkeyPatch.context() as patch:
            # The kernel is a process of its own: it imports the checkout that is tested, on one thread.
            patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
            patch.setenv("IPYTHONDIR", str(folder / "ipython"))
            patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
            patch.delenv("MPLBACKEND", raising=False)
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if "parameters" in cell.metadata.get("tags", ()):
                    cell.source = BUDGETS[path.stem]
            resources = {"metadata": {"path": str(folder)}}
            client = nbclient.NotebookClient(
                notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=resources
            )
            client.execute()
            return notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Return what runs a notebook, each once."""
    done: dict[str, Any] = {}

    def once(name: str) -> Any:
        if name not in done:
            done[name] = run(ROOT / "notebooks" / f"{name}.ipynb", tmp_path_factory.mktemp(name))
        return done[name]

    return once


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook: Any) -> str:
    return "".join(output.text for output in outputs(notebook) if output.get("name") == "stdout")


def code_cells(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_one_run_left_it(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    text = path.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    # Nothing of the machine that it ran on, no warning, no error.
    pictures = re.compile(r'"image/png": "[^"]*"')
    assert re.findall(r"(?<![\w.:/\\<])/\w+/\w+", pictures.sub("", text)) == []
    shown = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert {output["output_type"] for output in shown} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name") != "stderr" for output in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_to_files(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", "\n".join(texts)):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("name", BUDGETS)
def test_a_notebook_that_has_a_budget_has_one_cell_of_parameters(name: str) -> None:
    [cell] = [
        cell
        for cell in code_cells(ROOT / "notebooks" / f"{name}.ipynb")
        if "parameters" in cell["metadata"].get("tags", ())
    ]
    stored = {line.split(" = ")[0] for line in cell["source"]}
    assert stored == {line.split(" = ")[0] for line in BUDGETS[name].splitlines()}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "figures"),
    [("01_first_steps", 3), ("02_your_own_learner", 2), ("03_forgetting_and_memory", 3), ("04_on_a_chip", 4)],
)
def test_a_notebook_draws_its_figures_and_warns_of_nothing(
    executed: Callable[[str], Any], name: str, figures: int
) -> None:
    shown = outputs(executed(name))
    assert sum("image/png" in output.get("data", {}) for output in shown) == figures
    assert [output.text for output in shown if output.get("name") == "stderr"] == []


@pytest.mark.timeout(900)
def test_first_steps_compares_three_learners(executed: Callable[[str], Any]) -> None:
    text = printed(executed("01_first_steps"))
    assert "learner.chnk: unknown key; did you mean learner.chunk?" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if " ACC " in line}
    accuracy = {name: float(words[words.index("ACC") + 1]) for name, words in lines.items()}
    assert list(accuracy) == ["bptt", "osttp", "osttp+replay"]
    # What its text says: one readout forgets, stored samples help.
    assert accuracy["osttp+replay"] > accuracy["osttp"] + 0.1
    assert max(accuracy["bptt"], accuracy["osttp"]) < 0.5


@pytest.mark.timeout(900)
def test_a_learner_of_ones_own_is_exact_keeps_its_contract_and_a_careless_one_does_not(
    executed: Callable[[str], Any],
) -> None:
    text = printed(executed("02_your_own_learner"))
    [apart] = re.findall(r"largest difference from autograd: (\S+)", text)
    assert float(apart) < 1e-12
    kept, careless = text.split("ok     defaults")
    assert "FAILED" not in kept
    assert kept.count("ok     ") == 14
    assert "FAILED random streams" in careless
    cosines = {
        way: float(value)
        for way, value in re.findall(r"^(\w+) +test accuracy.*end (\S+)$", text, re.MULTILINE)
    }
    assert cosines["exact"] == 1.0
    assert 1.0 > cosines["sign"] > cosines["random"] > 0.0


@pytest.mark.timeout(900)
def test_forgetting_and_memory_sweeps_and_compares(executed: Callable[[str], Any]) -> None:
    notebook = executed("03_forgetting_and_memory")
    assert "{'finished': 4}" in printed(notebook)
    [table] = [
        output.data["text/markdown"]
        for output in outputs(notebook)
        if "text/markdown" in output.get("data", {})
    ]
    rows = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")}
    assert {"bptt", "osttp+replay"} <= rows
    assert "forgetting" in table


@pytest.mark.timeout(900)
def test_on_a_chip_judges_every_pair_and_judges_again(executed: Callable[[str], Any]) -> None:
    notebook = executed("04_on_a_chip")
    text = printed(notebook)
    assert "4 pairs judged from 6 runs, 0 not finished" in text
    first, again = (
        output.data["text/markdown"]
        for output in outputs(notebook)
        if "text/markdown" in output.get("data", {})
    )
    answers = {"feasible", "feasible with reservations", "not feasible", "unknown"}
    for table in (first, again):
        assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["`osttp`", "`sltt`"]
        told = re.findall(r"\*\*(.*?)\*\*", table)
        assert len(told) == 4
        assert set(told) <= answers
    # At the lowest figures phase-change memory does not last, at the highest it does; static memory always.
    assert first.count("endurance") == 2
    assert "endurance" not in again
    # What its text says of rules and of ways to write.
    assert "osttp  local" in text
    assert "sltt   reads weights backwards" in text
    means = [float(one) for one in re.findall(r"writes +([\d.]+) writes", text)]
    assert len(means) == 3
    assert means[2] > 10 * means[1]
