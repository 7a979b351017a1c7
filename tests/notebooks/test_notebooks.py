"""Every notebook runs from top to bottom, is stored without outputs, and shows what its text promises."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS_PER_CELL = 240


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return each notebook with the outputs of a run in an empty folder. Skips without the extra `notebook`."""
    with warnings.catch_warnings():
        # Jupyter's packages deprecate parts of one another.
        warnings.simplefilter("ignore")
        nbformat = pytest.importorskip("nbformat")
        nbclient = pytest.importorskip("nbclient")
        pytest.importorskip("ipykernel")
        folder = tmp_path_factory.mktemp("notebooks")
        with pytest.MonkeyPatch.context() as patch:
            # The kernel is a process of its own: it imports the checkout that is tested, on one thread.
            patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
            patch.setenv("IPYTHONDIR", str(folder / "ipython"))
            patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
            patch.delenv("MPLBACKEND", raising=False)
            done = {}
            for path in NOTEBOOKS:
                notebook = nbformat.read(path, as_version=4)
                resources = {"metadata": {"path": str(folder)}}
                client = nbclient.NotebookClient(
                    notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=resources
                )
                client.execute()
                done[path.stem] = notebook
    return done


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook: Any) -> str:
    return "".join(output.text for output in outputs(notebook) if output.get("name") == "stdout")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.timeout(600)
def test_first_steps_compares_three_learners(executed: dict[str, Any]) -> None:
    notebook = executed["01_first_steps"]
    text = printed(notebook)
    assert "learner.chnk: unknown key; did you mean learner.chunk?" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if " ACC " in line}
    accuracy = {name: float(words[words.index("ACC") + 1]) for name, words in lines.items()}
    assert list(accuracy) == ["bptt", "osttp", "osttp+replay"]
    # What its text says: one readout forgets, stored samples help.
    assert accuracy["osttp+replay"] > accuracy["osttp"] + 0.1
    assert max(accuracy["bptt"], accuracy["osttp"]) < 0.5


@pytest.mark.timeout(600)
def test_first_steps_draws_its_figures_and_warns_of_nothing(executed: dict[str, Any]) -> None:
    shown = outputs(executed["01_first_steps"])
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    assert [output.text for output in shown if output.get("name") == "stderr"] == []
